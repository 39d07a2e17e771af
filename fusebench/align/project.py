"""Projection: a source's rows, carried to target positions and target ids."""

from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64
from numba import njit
from numpy import ndarray


@njit(cache=True, nogil=True)
def _insert(ids, row, filled, index, value, add):  # type: ignore[no-untyped-def]
    """Put one entry into a sorted row, or onto the entry that has its id; return the number of entries."""
    at = 0
    while at < filled and ids[at] != index:
        at += 1
    if at == filled:
        filled += 1
        ids[at], row[at] = index, value
    elif add:
        high, low = max(row[at], value), min(row[at], value)
        row[at] = high + np.log1p(np.exp(np.float64(low) - high))
    elif value > row[at]:
        row[at] = value
    # An entry only ever grows; equal ones stay in the order they came in.
    while at > 0 and row[at] > row[at - 1]:
        ids[at], ids[at - 1] = ids[at - 1], ids[at]
        row[at], row[at - 1] = row[at - 1], row[at]
        at -= 1
    return filled


@njit(cache=True, nogil=True)
def _project(  # type: ignore[no-untyped-def]
    s_ids, s_rows, pick, vocab, gold, add, renormalise, keep_empty, ids, rows, mass
):
    k = ids.shape[1]
    size = len(vocab)
    for p in range(len(pick)):
        filled = 0
        j = pick[p]
        if j >= 0:
            for c in range(s_ids.shape[1]):
                value = s_rows[j, c]
                if value == -np.inf or s_ids[j, c] >= size or vocab[s_ids[j, c]] < 0:
                    continue
                filled = _insert(ids[p], rows[p], filled, vocab[s_ids[j, c]], value, add)
        mass[p] = 0.0
        for c in range(filled):
            mass[p] += np.exp(np.float64(rows[p, c]))
        if filled == 0 and not (j >= 0 and keep_empty) and gold[p] >= 0:
            ids[p, 0], rows[p, 0] = gold[p], 0.0
            filled = 1
        elif renormalise and filled > 0:
            total = np.float32(np.log(mass[p]))
            for c in range(filled):
                rows[p, c] -= total
        for c in range(filled, k):
            ids[p, c], rows[p, c] = 0, -np.inf


def project(
    ids: Int32[ndarray, "source k"],
    rows: Float32[ndarray, "source k"],
    pick: Int64[ndarray, " target"],
    vocabulary: Int32[ndarray, " source_vocab"],
    gold: Int32[ndarray, " target"],
    *,
    collisions: Literal["sum", "max"],
    tail: Literal["keep", "renormalise"],
    keep_empty: bool = False,
) -> tuple[Int32[ndarray, "target k"], Float32[ndarray, "target k"], Float64[ndarray, " target"]]:
    """Return ids and natural-log probabilities at the target positions, and the probability that arrived there.

    The latter is the mapped mass before any renormalising, 0 where a row does not come from the source.

    A row's entries go to the target ids that stand for them; what has none goes to the tail, so that mapped
    mass + tail = 1 with `tail="keep"`. Entries that meet in one id are summed, or the larger one kept
    (the rest then joins the tail). `renormalise` scales the mapped mass to 1. Rows are sorted, largest first.

    Args:
        ids, rows: the source's rows; ids beyond the vocabulary map are unmapped.
        pick: source position of each target position, -1 where none was accepted.
        vocabulary: target id of each source id, -1 for none.
        gold: id of the one-hot row where there is no source row; -1 leaves the row empty (all mass tail).
        collisions, tail: the switches of the recipe.
        keep_empty: a source row without any mapped entry stays an empty row (the released code) instead of
            becoming a one-hot row.

    Source: Wan et al. 2024, section 3.2. Departs from the released code, which keeps the larger of two
    colliding entries and renormalises the mass outside the top-k away.
    """
    shape = (len(pick), ids.shape[1])
    out_ids, out_rows = np.empty(shape, dtype=np.int32), np.empty(shape, dtype=np.float32)
    mass = np.empty(len(pick), dtype=np.float64)
    flags = (collisions == "sum", tail == "renormalise", keep_empty)
    _project(ids, rows, pick, vocabulary, gold, *flags, out_ids, out_rows, mass)
    return out_ids, out_rows, mass
