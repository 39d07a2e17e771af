"""AvgCE: a mixture of all sources, the better ones weighing more."""

import numpy as np
from jaxtyping import Float32, Float64, Int32
from numba import njit
from numpy import ndarray


def avg_ce_weights(cross_entropy: Float64[ndarray, "block source"]) -> Float64[ndarray, "block source"]:
    """Return each source's share of the fused rows: softmax over the sources of exp(-cross-entropy); rows sum to 1.

    Args:
        cross_entropy: of each block (or token) under each source; NaN and infinity count as exp(-CE) = 0.

    Source: Wan et al. 2024, arXiv:2401.10491, section 3.3, AvgCE, and the released code. The inner exp keeps
    the weights within a factor of e of each other: AvgCE never leaves a source out.
    """
    known = np.where(np.isfinite(cross_entropy), cross_entropy, np.inf)
    weights = np.exp(np.exp(-known))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@njit(cache=True, nogil=True)
def _mix(ids, rows, weights, out_ids, out_rows):  # type: ignore[no-untyped-def]
    sources, count, k = ids.shape
    room = sources * k
    held = np.empty(room, dtype=np.int32)
    mass = np.empty(room, dtype=np.float64)
    for t in range(count):
        filled = 0
        for s in range(sources):
            for c in range(k):
                if rows[s, t, c] == -np.inf or weights[t, s] == 0.0:
                    continue
                index = ids[s, t, c]
                at = 0
                while at < filled and held[at] != index:
                    at += 1
                if at == filled:
                    held[at], mass[at] = index, 0.0
                    filled += 1
                mass[at] += weights[t, s] * np.exp(np.float64(rows[s, t, c]))
        # Insertion sort, largest first; equal ones stay in the order of the sources.
        for a in range(1, filled):
            own, value, at = held[a], mass[a], a
            while at > 0 and mass[at - 1] < value:
                held[at], mass[at] = held[at - 1], mass[at - 1]
                at -= 1
            held[at], mass[at] = own, value
        width = out_ids.shape[1]
        for c in range(width):
            if c < filled and mass[c] > 0.0:
                out_ids[t, c], out_rows[t, c] = held[c], np.log(mass[c])
            else:
                out_ids[t, c], out_rows[t, c] = 0, -np.inf


def mix(
    ids: Int32[ndarray, "source token k"],
    rows: Float32[ndarray, "source token k"],
    weights: Float64[ndarray, "token source"],
    k: int,
) -> tuple[Int32[ndarray, "token {k}"], Float32[ndarray, "token {k}"]]:
    """Return the k most probable tokens of each position's mixture, with their natural-log probabilities.

    Probabilities of one token add up over the sources; what is cut joins the tail, so that mass is conserved.

    Args:
        ids, rows: each source's rows over the target's ids; unused entries have log-probability -inf.
        weights: share of each source at each position; rows sum to 1.
        k: entries to keep.
    """
    out_ids = np.empty((ids.shape[1], k), dtype=np.int32)
    out_rows = np.empty((ids.shape[1], k), dtype=np.float32)
    _mix(ids, rows, weights, out_ids, out_rows)
    return out_ids, out_rows
