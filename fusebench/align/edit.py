"""Edit distance over encoded vocabularies: Myers' bit-parallel algorithm, with exact pruning.

Source: Myers 1999, "A fast bit-vector algorithm for approximate string matching based on dynamic
programming"; Hyyrö 2003 for the global (not the search) variant. Strings longer than 64 characters, which
are rare among tokens, take the plain dynamic programme.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64, UInt64
from numba import njit
from numpy import ndarray


@dataclass(frozen=True)
class Encoded:
    """Strings as numbers over one alphabet.

    Args:
        codes: all characters, end to end, as positions in the alphabet.
        starts: string i is `codes[starts[i]:starts[i + 1]]`.
        masks: a 64-bit set of each string's characters (alphabet positions folded into 64 bins).
        alphabet: number of different characters.
    """

    codes: Int32[ndarray, " character"]
    starts: Int64[ndarray, " string_boundary"]
    masks: UInt64[ndarray, " string"]
    alphabet: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(self, order: Int64[ndarray, " chosen"]) -> "Encoded":
        """Return the strings at `order`, in that order."""
        lengths = np.diff(self.starts)[order]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        index = np.repeat(self.starts[:-1][order] - starts[:-1], lengths) + np.arange(starts[-1])
        return Encoded(self.codes[index], starts, self.masks[order], self.alphabet)


def encode(*groups: Sequence[str]) -> list[Encoded]:
    """Return each group of strings as numbers over the alphabet of them all."""
    flat = [np.frombuffer("".join(g).encode("utf-32-le", "surrogatepass"), dtype=np.uint32) for g in groups]
    alphabet, codes = np.unique(np.concatenate(flat), return_inverse=True)
    codes = codes.reshape(-1).astype(np.int32)
    # Frequent characters get bins of their own, so that the sets tell strings apart as well as 64 bits can.
    rank = np.empty(len(alphabet), dtype=np.int64)
    rank[np.argsort(-np.bincount(codes, minlength=len(alphabet)), kind="stable")] = np.arange(len(alphabet))
    codes = rank[codes].astype(np.int32)
    found, at = [], 0
    for group, chars in zip(groups, flat, strict=True):
        own = codes[at : at + len(chars)]
        at += len(chars)
        starts = np.concatenate([[0], np.cumsum([len(s) for s in group])]).astype(np.int64)
        found.append(Encoded(own, starts, _masks(own, starts), len(alphabet)))
    return found


@njit(cache=True, nogil=True)
def _masks(codes, starts):  # type: ignore[no-untyped-def]
    found = np.zeros(len(starts) - 1, dtype=np.uint64)
    for i in range(len(starts) - 1):
        for at in range(starts[i], starts[i + 1]):
            found[i] |= np.uint64(1) << np.uint64(codes[at] & 63)
    return found


@njit(cache=True, nogil=True, inline="always")
def _popcount(x):  # type: ignore[no-untyped-def]
    # LLVM recognises this shape and emits the machine's own instruction.
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


@njit(cache=True, nogil=True)
def _myers(peq, length, codes, start, stop):  # type: ignore[no-untyped-def]
    """Return the edit distance of a pattern of 1 to 64 characters (as bit sets in `peq`) and `codes[start:stop]`."""
    pv = ~np.uint64(0)
    mv = np.uint64(0)
    score = length
    last = np.uint64(1) << np.uint64(length - 1)
    for at in range(start, stop):
        eq = peq[codes[at]]
        xv = eq | mv
        xh = (((eq & pv) + pv) ^ pv) | eq
        ph = mv | ~(xh | pv)
        mh = pv & xh
        if ph & last != 0:
            score += 1
        elif mh & last != 0:
            score -= 1
        ph = (ph << np.uint64(1)) | np.uint64(1)
        mh = mh << np.uint64(1)
        pv = mh | ~(xv | ph)
        mv = ph & xv
    return score


@njit(cache=True, nogil=True)
def _levenshtein(a, a0, a1, b, b0, b1):  # type: ignore[no-untyped-def]
    """Return the edit distance of `a[a0:a1]` and `b[b0:b1]` by the plain dynamic programme."""
    width = b1 - b0
    row = np.arange(width + 1)
    for i in range(a0, a1):
        diagonal = row[0]
        row[0] += 1
        for j in range(width):
            cost = diagonal if a[i] == b[b0 + j] else diagonal + 1
            diagonal = row[j + 1]
            row[j + 1] = min(cost, diagonal + 1, row[j] + 1)
    return row[width]


@njit(cache=True, nogil=True)
def _set_pattern(peq, codes, start, stop, on):  # type: ignore[no-untyped-def]
    for at in range(start, stop):
        if on:
            peq[codes[at]] |= np.uint64(1) << np.uint64(at - start)
        else:
            peq[codes[at]] = np.uint64(0)


@njit(cache=True, nogil=True)
def distances(  # type: ignore[no-untyped-def]
    s_codes, s_starts, s_masks, s_pick, t_codes, t_starts, t_masks, t_pick, alphabet, out
):
    """Fill `out[i, j]` with the edit distance of source string `s_pick[i]` and target string `t_pick[j]`."""
    peq = np.zeros(alphabet, dtype=np.uint64)
    for i in range(len(s_pick)):
        s = s_pick[i]
        s0, s1 = s_starts[s], s_starts[s + 1]
        length = s1 - s0
        short = 0 < length <= 64
        if short:
            _set_pattern(peq, s_codes, s0, s1, True)
        for j in range(len(t_pick)):
            t = t_pick[j]
            t0, t1 = t_starts[t], t_starts[t + 1]
            if s_masks[s] & t_masks[t] == 0:
                # No character in common: every position of the longer string costs one.
                out[i, j] = max(length, t1 - t0)
            elif short:
                out[i, j] = _myers(peq, length, t_codes, t0, t1)
            else:
                out[i, j] = _levenshtein(s_codes, s0, s1, t_codes, t0, t1)
        if short:
            _set_pattern(peq, s_codes, s0, s1, False)


@njit(cache=True, nogil=True)
def _shared_prefix(a, a0, a1, b, b0, b1):  # type: ignore[no-untyped-def]
    n = min(a1 - a0, b1 - b0)
    for i in range(n):
        if a[a0 + i] != b[b0 + i]:
            return i
    return n


@njit(cache=True, nogil=True)
def _fill_bounds(mask, t_masks, a, b, least, bounds):  # type: ignore[no-untyped-def]
    """Fill `bounds[a:b]`: no target is nearer than the characters one side lacks, nor than `least`."""
    floor = np.uint64(least)
    for t in range(a, b):
        other = t_masks[t]
        bounds[t] = max(_popcount(mask & ~other), _popcount(other & ~mask), floor)


@njit(cache=True, nogil=True)
def _search(  # type: ignore[no-untyped-def]
    s_codes, s0, s1, mask, peq, t_codes, t_starts, t_masks, t_rank, by_length, bounds, by_prefix
):
    """Return the nearest target of one source string, its distance and the number of targets at it.

    Round after round, the targets whose lower bound equals the round's number are compared; lengths that
    differ by more than that are not even looked at. A rival at the least distance has a bound of at most that
    distance, so when the rounds stop, every rival was seen.
    """
    length = s1 - s0
    longest = len(by_length) - 2
    short = 0 < length <= 64
    best = np.int64(1) << 40
    count, choice, prefix, gap = 0, -1, -1, 0
    words = bounds.view(np.uint64)
    low = high = by_length[min(length, longest + 1)]
    for bound in range(longest + length + 1):
        if bound > best:
            break
        new_low = by_length[min(max(length - bound, 0), longest + 1)]
        new_high = max(by_length[min(length + bound, longest) + 1], high)
        # Bounds are bytes; among the far ones (rare, very long tokens) a bound may be too small, never too large.
        _fill_bounds(mask, t_masks, new_low, low, min(bound, 254), bounds)
        _fill_bounds(mask, t_masks, high, new_high, min(bound, 254), bounds)
        low, high = new_low, new_high
        pattern = np.uint64(min(bound, 254)) * np.uint64(0x0101010101010101)
        for word in range(low >> 3, (high + 7) >> 3):
            # Eight bounds at a time: a zero byte in `same` is a bound of this round.
            same = words[word] ^ pattern
            if (same - np.uint64(0x0101010101010101)) & ~same & np.uint64(0x8080808080808080) == 0:
                continue
            for t in range(max(low, word * 8), min(high, word * 8 + 8)):
                if bounds[t] != min(bound, 254):
                    continue
                bounds[t] = 255
                t0, t1 = t_starts[t], t_starts[t + 1]
                if short:
                    distance = _myers(peq, length, t_codes, t0, t1)
                else:
                    distance = _levenshtein(s_codes, s0, s1, t_codes, t0, t1)
                if distance > best:
                    continue
                if distance < best:
                    best, count, choice, prefix, gap = distance, 0, -1, -1, 0
                count += 1
                shared = _shared_prefix(s_codes, s0, s1, t_codes, t0, t1) if by_prefix else 0
                off = abs(t1 - t0 - length) if by_prefix else 0
                if shared > prefix or (shared == prefix and (off < gap or (off == gap and t_rank[t] < t_rank[choice]))):
                    choice, prefix, gap = t, shared, off
    return choice, best, count


@njit(cache=True, nogil=True)
def nearest(  # type: ignore[no-untyped-def]
    s_codes,
    s_starts,
    s_masks,
    t_codes,
    t_starts,
    t_masks,
    t_rank,
    by_length,
    alphabet,
    by_prefix,
    first,
    last,
    chosen,
    best,
    ties,
):
    """Fill, for the source strings `first` up to `last`, the nearest target, its distance and its rivals.

    The targets must be sorted by length, those of length n at `by_length[n]:by_length[n + 1]`; `t_rank` is
    their place in the target's own order, lower is better.
    """
    peq = np.zeros(alphabet, dtype=np.uint64)
    # Whole words of eight, so that they can be compared eight at a time.
    bounds = np.full((len(t_masks) + 7) // 8 * 8, 255, dtype=np.uint8)
    for s in range(first, last):
        s0, s1 = s_starts[s], s_starts[s + 1]
        short = 0 < s1 - s0 <= 64
        if short:
            _set_pattern(peq, s_codes, s0, s1, True)
        chosen[s], best[s], ties[s] = _search(
            s_codes, s0, s1, s_masks[s], peq, t_codes, t_starts, t_masks, t_rank, by_length, bounds, by_prefix
        )
        if short:
            _set_pattern(peq, s_codes, s0, s1, False)
