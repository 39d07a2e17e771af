"""MinCE: the rows of the source with the least cross-entropy."""

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray


def min_ce_weights(
    cross_entropy: Float64[ndarray, "block source"], *, ties_to_last: bool = False
) -> Float64[ndarray, "block source"]:
    """Return each source's share of the fused rows: 1 for the least cross-entropy of the block, else 0.

    Args:
        cross_entropy: of each block (or token) under each source, lower is better; NaN and infinity never win
            against a number. Where no source has a number, the first one is taken.
        ties_to_last: equal cross-entropies go to the later source (the released code) instead of the earlier.

    Source: Wan et al. 2024, arXiv:2401.10491, section 3.3, MinCE. Departs from the released code, which
    compares nats per token in bfloat16 and gives ties to the later source; both are switches of the recipe.
    """
    known = np.where(np.isfinite(cross_entropy), cross_entropy, np.inf)
    winner: Int64[ndarray, " block"] = known.argmin(axis=1)
    if ties_to_last:
        sources = known.shape[1]
        winner = np.where(np.isfinite(known.min(axis=1)), sources - 1 - known[:, ::-1].argmin(axis=1), winner)
    return np.eye(known.shape[1], dtype=np.float64)[winner]
