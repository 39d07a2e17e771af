"""Correction of p-values for the number of tests made."""

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from statsmodels.stats.multitest import multipletests


def adjust(p: Float64[ndarray, " test"], correction: str) -> Float64[ndarray, " test"]:
    """Return adjusted p-values; NaN (no test was possible) stays NaN and does not count as a test.

    Args:
        p: p-values of one family of tests.
        correction: `holm` (Holm 1979, family-wise error) or `none`.

    Raises:
        ValueError: the correction is neither.
    """
    if correction not in ("holm", "none"):
        raise ValueError(f"correction is `holm` or `none`, not `{correction}`")
    out = np.array(p, dtype=np.float64)
    there = ~np.isnan(out)
    if correction == "holm" and there.any():
        out[there] = multipletests(out[there], method="holm")[1]
    return out
