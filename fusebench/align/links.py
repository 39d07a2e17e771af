"""The links between two tokenizations of the same chunks, and which of them carry a source row."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int32, Int64
from numpy import ndarray

from fusebench.align.edit import Encoded, encode
from fusebench.align.sequence import dtw, offset
from fusebench.align.spelling import SPACE, Spelling, marker, raw_spellings
from fusebench.align.vocabulary import first_word_map
from fusebench.artifacts import OUTCOMES, SpanTable, TokenTable, VocabMap

EXACT, MAPPED, TIED, ONE_TO_MANY, FALLBACK = range(len(OUTCOMES))


@dataclass(frozen=True)
class Pair:
    """A target and a source vocabulary, and how their tokens correspond.

    Args:
        source, target: spelled vocabularies.
        vocabulary: the vocabulary map between them.
        spelling: `text`, or `raw` for the released code's comparison.
    """

    source: Spelling
    target: Spelling
    vocabulary: VocabMap
    spelling: Literal["text", "raw"] = "text"

    @cached_property
    def encoded(self) -> tuple[Encoded, Encoded]:
        """Return both vocabularies as the sequence alignment compares them: without their word markers."""
        if self.spelling == "raw":
            sides = [
                [t.replace(own, "") for t in raw_spellings(s)] if (own := marker(s)) else raw_spellings(s)
                for s in (self.source, self.target)
            ]
        else:
            sides = [[(t or "").replace(SPACE, "") for t in s.text] for s in (self.source, self.target)]
        source, target = encode(*sides)
        return source, target

    @cached_property
    def first_word(self) -> Int32[ndarray, " source_vocab"]:
        """Return the vocabulary map for the first token of a text; see `first_word_map`."""
        return first_word_map(self.source, self.target, self.vocabulary, self.spelling)

    @property
    def same(self) -> bool:
        """Return whether both sides are one tokenizer."""
        return bool(self.vocabulary.source_tokenizer == self.vocabulary.target_tokenizer != "")


@dataclass(frozen=True)
class Links:
    """What links found: the span table, and for every target position the source position it takes its row from.

    Args:
        spans: links and outcomes, positions counted within each chunk.
        pick: source position in the whole source table, -1 where there is no accepted row.
        opening: whether the row predicts the first token of a text, so that `Pair.first_word` maps its ids.
    """

    spans: SpanTable
    pick: Int64[ndarray, " target"]
    opening: Bool[ndarray, " target"]


def link(
    pair: Pair,
    source: TokenTable,
    target: TokenTable,
    sequence: Literal["dtw", "offset"],
    progress: Callable[[int, int], None] | None = None,
) -> Links:
    """Return the links between the two tokenizations, and which target positions get a source row.

    `dtw`: a target position linked to exactly one source position gets its row when the source token stands
    for the target token in the vocabulary map. `offset`: it gets the row of the source position that ends at
    the same byte. At the first word, where one tokenizer adds a space and the other does not, the space does
    not count. Special tokens take no part in either; they are linked by role, the last one before the text
    with the last one before the text, the first one after it with the first one after it.
    """
    if pair.same and np.array_equal(source.ids, target.ids) and np.array_equal(source.offsets, target.offsets):
        return _identity(target)
    if sequence == "offset":
        matched = _by_offset(source, target)
        counts = (matched >= 0).astype(np.int64)
        chunk = _chunk_of(target)
        indices = (matched - source.offsets[chunk])[matched >= 0]
    else:
        matched, counts, indices = _by_dtw(pair, source, target, progress)
    outcomes, accepted = _outcomes(pair, source, target, matched, counts, every=sequence == "offset")
    pick = np.where(accepted, matched, -1)
    pick, outcomes, counts, indices, opening = _specials(source, target, pick, outcomes, counts, indices)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    spans = SpanTable(indptr, indices.astype(np.int32), outcomes, target.offsets)
    return Links(spans, pick, opening)


def _identity(tokens: TokenTable) -> Links:
    """Return the links of a tokenization with itself: every position with itself, specials too."""
    count = len(tokens.ids)
    within = np.arange(count) - np.repeat(tokens.offsets[:-1], np.diff(tokens.offsets))
    outcomes = np.full(count, EXACT, dtype=np.uint8)
    spans = SpanTable(np.arange(count + 1, dtype=np.int64), within.astype(np.int32), outcomes, tokens.offsets)
    return Links(spans, np.arange(count, dtype=np.int64), np.zeros(count, dtype=np.bool_))


def _chunk_of(tokens: TokenTable) -> Int64[ndarray, " token"]:
    return np.repeat(np.arange(len(tokens)), np.diff(tokens.offsets))


def _by_offset(source: TokenTable, target: TokenTable) -> Int64[ndarray, " target"]:
    """Return the source position that ends at each target position's byte, -1 for none."""
    room = np.maximum(_longest(source), _longest(target)) + 1
    before = np.concatenate([[0], np.cumsum(room)])[:-1]
    ends = [t.ends.astype(np.int64) + np.repeat(before, np.diff(t.offsets)) for t in (source, target)]
    return offset(ends[0], ~source.special, ends[1], ~target.special)


def _longest(tokens: TokenTable) -> Int64[ndarray, " chunk"]:
    found = np.zeros(len(tokens), dtype=np.int64)
    filled = np.flatnonzero(np.diff(tokens.offsets))
    if len(filled):
        found[filled] = np.maximum.reduceat(tokens.ends.astype(np.int64), tokens.offsets[:-1][filled])
    return found


def _by_dtw(
    pair: Pair, source: TokenTable, target: TokenTable, progress: Callable[[int, int], None] | None
) -> tuple[Int64[ndarray, " target"], Int64[ndarray, " target"], Int64[ndarray, " link"]]:
    """Return the one linked source position (or -1), the number of links, and all links within the chunks."""
    matched = np.full(len(target.ids), -1, dtype=np.int64)
    counts = np.zeros(len(target.ids), dtype=np.int64)
    parts: list[ndarray] = []
    for chunk in range(len(target)):
        s, t = source.span(chunk), target.span(chunk)
        s_text, t_text = np.flatnonzero(~source.special[s]), np.flatnonzero(~target.special[t])
        path, _ = dtw(*pair.encoded, source.ids[s][s_text], target.ids[t][t_text])
        if len(path):
            own = np.bincount(path[:, 1], minlength=len(t_text))
            counts[t.start + t_text] = own
            first = np.concatenate([[0], np.cumsum(own)])[:-1]
            matched[t.start + t_text] = np.where(own == 1, s.start + s_text[path[first, 0]], -1)
            parts.append(s_text[path[:, 0]])
        if progress is not None:
            progress(chunk + 1, len(target))
    return matched, counts, np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _outcomes(
    pair: Pair,
    source: TokenTable,
    target: TokenTable,
    matched: Int64[ndarray, " target"],
    counts: Int64[ndarray, " target"],
    *,
    every: bool,
) -> tuple[ndarray, Bool[ndarray, " target"]]:
    """Return the outcome of each target position of text, and whether its match is accepted."""
    has = matched >= 0
    token = np.where(has, source.ids[matched], 0) if len(source.ids) else np.zeros(len(matched), dtype=np.int64)
    v = pair.vocabulary
    inside = has & (token < len(v.target))
    token = np.where(inside, token, 0)
    equal = inside & (v.target[token] == target.ids)
    distance, ties = v.distance[token], v.ties[token]
    at_first = _first_text(target) & has
    at_first[has] &= _first_text(source)[matched[has]]
    bare = at_first & inside & (pair.first_word[token] == target.ids)
    if pair.spelling == "raw":
        # The released code compares the prefixed string alone, when only the target's token is prefixed.
        prefixed = at_first & _lacks_space(pair, token, target.ids)
        equal = np.where(prefixed, bare, equal)
    exact = (equal & (distance == 0)) | bare
    outcomes = np.full(len(target.ids), FALLBACK, dtype=np.uint8)
    outcomes[counts > 1] = ONE_TO_MANY
    outcomes[equal] = np.where(ties[equal] > 1, TIED, MAPPED)
    if every:
        outcomes[has & ~equal] = MAPPED
    outcomes[exact] = EXACT
    return outcomes, (has if every else equal | bare)


def _lacks_space(
    pair: Pair, source_ids: Int64[ndarray, " target"], target_ids: Int32[ndarray, " target"]
) -> Bool[ndarray, " target"]:
    """Return where the target's token begins with a space and the source's does not."""
    if pair.source.prefixes or not pair.target.prefixes:
        return np.zeros(len(target_ids), dtype=np.bool_)
    spaced = [np.array([(t or "").startswith(SPACE) for t in s.text]) for s in (pair.source, pair.target)]
    return spaced[1][target_ids] & ~spaced[0][source_ids]


def _first_text(tokens: TokenTable) -> Bool[ndarray, " token"]:
    """Return which positions hold the first token of text of their chunk."""
    before = np.concatenate([[0], np.cumsum(~tokens.special)])
    within = before[:-1] - np.repeat(before[tokens.offsets[:-1]], np.diff(tokens.offsets))
    return (within == 0) & ~tokens.special


def _bounds(tokens: TokenTable) -> tuple[Int64[ndarray, " chunk"], Int64[ndarray, " chunk"]]:
    """Return the last special position before the text and the first one after it, -1 for none, per chunk."""
    lead, trail = np.full(len(tokens), -1, dtype=np.int64), np.full(len(tokens), -1, dtype=np.int64)
    text = np.flatnonzero(~tokens.special)
    if not len(text):
        return lead, trail
    chunk = _chunk_of(tokens)[text]
    which, first = np.unique(chunk, return_index=True)
    last = np.concatenate([first[1:], [len(text)]]) - 1
    first_text, last_text = text[first], text[last]
    lead[which] = np.where(first_text > tokens.offsets[which], first_text - 1, -1)
    trail[which] = np.where(last_text + 1 < tokens.offsets[which + 1], last_text + 1, -1)
    return lead, trail


def _specials(
    source: TokenTable,
    target: TokenTable,
    pick: Int64[ndarray, " target"],
    outcomes: ndarray,
    counts: Int64[ndarray, " target"],
    indices: Int64[ndarray, " link"],
) -> tuple[Int64[ndarray, " target"], ndarray, Int64[ndarray, " target"], Int64[ndarray, " link"], ndarray]:
    """Link the special tokens around the text by their side of it; the last value marks rows of a first token."""
    opening = np.zeros(len(target.ids), dtype=np.bool_)
    added_at: list[ndarray] = []
    added: list[ndarray] = []
    for side, (s, t) in enumerate(zip(_bounds(source), _bounds(target), strict=True)):
        both = (s >= 0) & (t >= 0)
        pick[t[both]], outcomes[t[both]], counts[t[both]] = s[both], EXACT, 1
        opening[t[both]] = side == 0
        added_at.append(t[both])
        added.append(s[both] - source.offsets[:-1][both])
    # `counts` was 0 at specials, so the new links go in front of the first link of a later position.
    new_at, new = np.concatenate(added_at), np.concatenate(added)
    order = np.argsort(new_at, kind="stable")
    old_counts = counts.copy()
    old_counts[new_at] = 0
    before = np.concatenate([[0], np.cumsum(old_counts)])[new_at]
    return pick, outcomes, counts, np.insert(indices, before[order], new[order]), opening
