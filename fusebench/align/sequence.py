"""Sequence alignment: which source positions stand for a target position.

Two ways. `dtw` is the paper's dynamic programme over edit distances of the tokens' spellings; `offset` says
that two positions correspond when they end at the same byte of the text.
"""

import numpy as np
from jaxtyping import Bool, Int32, Int64
from numba import njit
from numpy import ndarray

from fusebench.align.edit import Encoded, distances
from fusebench.errors import DataError

MAX_CELLS = 4_000_000_000
"""Cells of the dynamic programme that a text may need: one gigabyte, about 63,000 by 63,000 tokens."""


@njit(cache=True, nogil=True)
def _path(cost, rows, columns, links):  # type: ignore[no-untyped-def]
    """Fill `links` with the path from its end backwards; return its length and its cost.

    A cell's best predecessor is kept in two bits, four cells to a byte: 0 diagonal, 1 source, 2 target.
    """
    n, m = len(rows), len(columns)
    width = (m + 3) // 4
    came = np.empty((n, width), dtype=np.uint8)
    far = np.int32(1 << 29)
    above = np.full(m + 1, far, dtype=np.int32)
    here = np.empty(m + 1, dtype=np.int32)
    line = np.empty(m, dtype=np.int32)
    above[0] = 0
    for i in range(n):
        row = cost[rows[i]]
        for j in range(m):
            line[j] = row[columns[j]]
        here[0] = far
        left = far
        packed = np.uint8(0)
        for j in range(m):
            diagonal, up = above[j], above[j + 1]
            # Ties: diagonal before source before target, as numpy's argmin over [diagonal, up, left].
            best, step = diagonal, 0
            if up < best:
                best, step = up, 1
            if left < best:
                best, step = left, 2
            left = best + line[j]
            here[j + 1] = left
            packed |= np.uint8(step << ((j & 3) * 2))
            if (j & 3) == 3:
                came[i, j >> 2] = packed
                packed = np.uint8(0)
        if m & 3:
            came[i, width - 1] = packed
        above, here = here, above
    i, j, steps = n - 1, m - 1, 0
    while True:
        links[steps, 0], links[steps, 1] = i, j
        steps += 1
        if i == 0 and j == 0:
            break
        step = (came[i, j >> 2] >> ((j & 3) * 2)) & 3
        if step != 2:
            i -= 1
        if step != 1:
            j -= 1
    return steps, above[m]


def dtw(
    source: Encoded,
    target: Encoded,
    source_ids: Int32[ndarray, " source"],
    target_ids: Int32[ndarray, " target"],
) -> tuple[Int32[ndarray, "link 2"], int]:
    """Return the links (source position, target position) of the cheapest path, in order, and its cost.

    Every source and every target position is on the path, and the path never goes back. Cost of a link is
    the edit distance of the two tokens' spellings. Of equally cheap steps the diagonal one is taken, then the
    one along the source, then the one along the target.

    Args:
        source, target: the spelled vocabularies, encoded together.
        source_ids, target_ids: the two tokenizations of one text, special tokens left out.

    Raises:
        DataError: the text is too long for the quadratic table.

    Source: Wan et al. 2024, equation 7, and the released code's modified `simpledtw`; equal to it link by
    link. Departs in memory: two bits a cell, where the released code keeps three Python objects.
    """
    if not len(source_ids) or not len(target_ids):
        return np.zeros((0, 2), dtype=np.int32), 0
    if len(source_ids) * len(target_ids) > MAX_CELLS:
        raise DataError(
            f"a text of {len(target_ids):,} target and {len(source_ids):,} source tokens is too long for `dtw`",
            why=f"its table would take {len(source_ids) * len(target_ids) / 4e9:.1f} GB",
            fix="cut the text, or use `align.sequence: offset`, which is linear",
        )
    s_pick, rows = np.unique(source_ids, return_inverse=True)
    t_pick, columns = np.unique(target_ids, return_inverse=True)
    cost = np.empty((len(s_pick), len(t_pick)), dtype=np.int32)
    distances(
        *(source.codes, source.starts, source.masks, s_pick.astype(np.int64)),
        *(target.codes, target.starts, target.masks, t_pick.astype(np.int64)),
        source.alphabet,
        cost,
    )
    links = np.empty((len(source_ids) + len(target_ids), 2), dtype=np.int32)
    steps, total = _path(cost, rows.reshape(-1), columns.reshape(-1), links)
    return links[:steps][::-1].copy(), int(total)


@njit(cache=True, nogil=True)
def _match_ends(s_ends, s_use, t_ends, t_use, found):  # type: ignore[no-untyped-def]
    s, n = 0, len(s_ends)
    for t in range(len(t_ends)):
        found[t] = -1
        # Of several tokens that end at one byte, only the last has all the text before that byte behind it.
        if not t_use[t] or (t + 1 < len(t_ends) and t_use[t + 1] and t_ends[t + 1] == t_ends[t]):
            continue
        while s < n and (not s_use[s] or s_ends[s] < t_ends[t]):
            s += 1
        at = s
        while at < n and (not s_use[at] or s_ends[at] == t_ends[t]):
            if s_use[at]:
                found[t] = at
            at += 1


def offset(
    source_ends: Int64[ndarray, " source"],
    source_text: Bool[ndarray, " source"],
    target_ends: Int64[ndarray, " target"],
    target_text: Bool[ndarray, " target"],
) -> Int64[ndarray, " target"]:
    """Return for each target position the source position that ends at the same byte, or -1.

    Linear in the number of tokens. Ends must not decrease; chunks are aligned together by adding to each
    chunk's ends the bytes before it, with a gap of one. Special tokens (`*_text` false) take no part. Of
    several tokens that end at one byte (pieces of one character whose bytes the tokenizer does not tell
    apart, a dummy prefix) only the last counts: only after it has a model seen the text up to that byte.
    """
    found = np.empty(len(target_ends), dtype=np.int64)
    _match_ends(source_ends, source_text, target_ends, target_text, found)
    return found
