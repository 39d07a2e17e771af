"""Correction of p-values for the number of tests made."""

import numpy as np
from jaxtyping import Float64
from numpy import ndarray


def adjust(p: Float64[ndarray, " test"], correction: str) -> Float64[ndarray, " test"]:
    """Return adjusted p-values; NaN (no test was possible) stays NaN and does not count as a test.

    Args:
        p: p-values of one family of tests.
        correction: `holm` (Holm 1979, family-wise error) or `none`.

    Raises:
        ValueError: the correction is neither.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure". Equal to statsmodels'
    `multipletests`, which collects garbage on every call and so costs more than all other statistics together.
    """
    if correction not in ("holm", "none"):
        raise ValueError(f"correction is `holm` or `none`, not `{correction}`")
    out = np.array(p, dtype=np.float64)
    there = ~np.isnan(out)
    if correction == "holm" and there.any():
        out[there] = _holm(out[there])
    return out


def _holm(p: Float64[ndarray, " test"]) -> Float64[ndarray, " test"]:
    order = np.argsort(p, kind="stable")
    scaled = p[order] * np.arange(len(p), 0, -1)
    out = np.empty_like(p)
    # A test cannot be more significant than one with a smaller p-value.
    out[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return out
