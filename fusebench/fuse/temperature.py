"""Temperature of sparse rows."""

import numpy as np
from jaxtyping import Float32
from numpy import ndarray


def apply_temperature(rows: Float32[ndarray, "token k"], temperature: float) -> Float32[ndarray, "token k"]:
    """Return natural-log probabilities p^(1/T) / Z of each row, the tail taken as one more token.

    Only the tail's mass is known, not how it is spread, so it is heated as if it were one token: rows without
    a tail get the exact softmax(logits / T). One-hot and empty rows do not change.

    Args:
        rows: natural-log probabilities, -inf for unused entries.
        temperature: above 1 flattens, below 1 sharpens; 1 returns the rows untouched.
    """
    if temperature == 1.0:
        return rows
    heat = 1.0 / temperature
    mass = np.exp(rows.astype(np.float64)).sum(axis=1)
    # Rounding leaves a tail of about 1e-7 in full rows; heated by T = 4 that would become 2 %.
    tail = np.where(mass > 1.0 - 1e-6, 0.0, 1.0 - mass)
    total = np.exp(rows.astype(np.float64) * heat).sum(axis=1) + tail**heat
    return np.asarray(rows * heat - np.log(total)[:, None], dtype=np.float32)
