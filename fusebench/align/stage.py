"""Alignment as a stage: a source's teacher rows become rows at the target's positions, over the target's ids."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from fusebench.align.links import FALLBACK, ONE_TO_MANY, Links, Pair, link
from fusebench.align.project import project
from fusebench.align.spelling import spell
from fusebench.align.summary import summarise
from fusebench.align.vocabulary import map_vocabulary
from fusebench.artifacts import Chunks, DistributionsWriter, SpanTable, SparseDistributions, TokenTable, VocabMap
from fusebench.errors import ArtifactError
from fusebench.recipe import AlignSection

BATCH_TOKENS = 1 << 18
"""Target positions projected at a time; bounds memory, does not change results."""


def align_source(
    source_tokenizer: Any,
    target_tokenizer: Any,
    source_tokens: TokenTable,
    target_tokens: TokenTable,
    rows: SparseDistributions,
    section: AlignSection,
    out: Path,
    *,
    chunks: Chunks,
    vocab_map: VocabMap | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SparseDistributions:
    """Return the source's rows at target positions over target ids; row t again predicts what FOLLOWS token t.

    `out` receives the rows, the span table (links and outcome of every target position), the vocabulary map
    and `summary.json` (shares by outcome and kind of text, probability lost, worst tokens). A position
    without an accepted source row gets a one-hot row on the next gold token of the target
    (`fallback: next`), none at the end of a chunk, where nothing follows; `fallback: current` is the
    released code's off-by-one.

    Args:
        source_tokenizer, target_tokenizer: fast tokenizers.
        source_tokens, target_tokens: the same chunks under either.
        rows: the source's teacher rows.
        section: the switches.
        out: a partial folder of a run.
        chunks: the text, for error messages.
        vocab_map: a ready vocabulary map; None makes one.

    Raises:
        ArtifactError: the rows or tokens are of another tokenizer or of other chunks.
        ModelError: a tokenizer is not a fast one.
    """
    rows.require(tokens=source_tokens.tokenizer, vocab=source_tokens.tokenizer)
    _check_same_chunks(source_tokens, target_tokens, rows, chunks)
    known = vocab_map or map_vocabulary(
        source_tokenizer, target_tokenizer, section.vocabulary, section.ties, section.spelling
    )
    known.save(out)
    pair = Pair(spell(source_tokenizer), spell(target_tokenizer), known, section.spelling)
    # The links of a long corpus under dtw are the slow part; projecting is a small rest of the progress.
    found = link(pair, source_tokens, target_tokens, section.sequence, progress)
    writer = DistributionsWriter(out, tokens=target_tokens.tokenizer, vocab=target_tokens.tokenizer, k=rows.k)
    gold = fallback_gold(target_tokens, section)
    outcomes = found.spans.outcomes.copy()
    lost = taken = 0.0
    for start, stop in _batches(target_tokens):
        ids, logprobs, mass, taught = _project_chunks(
            pair, found, rows, source_tokens, target_tokens, gold, section, start, stop
        )
        used = mass > 0
        lost, taken = lost + float((taught - mass).sum()), taken + float(taught.sum())
        base = int(target_tokens.offsets[start])
        own = outcomes[base : base + len(used)]
        own[~used & (own != ONE_TO_MANY)] = FALLBACK
        for chunk in range(start, stop):
            if chunk >= writer.done:
                a, b = (int(target_tokens.offsets[c]) - base for c in (chunk, chunk + 1))
                writer.append(ids[a:b], logprobs[a:b])
    spans = SpanTable(found.spans.indptr, found.spans.indices, outcomes, found.spans.offsets)
    spans.save(out)
    share = lost / taken if taken else 0.0
    summarise(pair, replace(found, spans=spans), source_tokens, target_tokens, chunks.texts, share).save(out)
    return writer.close()


def fallback_gold(target: TokenTable, section: AlignSection) -> Int32[ndarray, " target"]:
    """Return the id of each position's one-hot row: the next token (or the current), -1 where a chunk ends."""
    if section.fallback == "current":
        return target.ids.astype(np.int32)
    gold = np.append(target.ids[1:], -1).astype(np.int32)
    ends = target.offsets[1:][np.diff(target.offsets) > 0] - 1
    gold[ends] = -1
    return gold


def _project_chunks(
    pair: Pair,
    found: Links,
    rows: SparseDistributions,
    source: TokenTable,
    target: TokenTable,
    gold: Int32[ndarray, " target"],
    section: AlignSection,
    start: int,
    stop: int,
) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Return, at the target positions of some chunks, ids, log-probabilities, mapped mass and the source's mass."""
    s_base, s_stop = int(source.offsets[start]), int(source.offsets[stop])
    t = slice(int(target.offsets[start]), int(target.offsets[stop]))
    if s_stop > s_base:
        ids, logprobs = rows.rows(start, stop)
    else:
        ids, logprobs = np.zeros((0, rows.k), dtype=np.int32), np.zeros((0, rows.k), dtype=np.float32)
    pick = np.where(found.pick[t] >= 0, found.pick[t] - s_base, -1)
    switches: dict[str, Any] = {
        "collisions": section.collisions,
        "tail": section.tail,
        "keep_empty": section.fallback == "current",
    }
    out = project(ids, logprobs, pick, pair.vocabulary.target, gold[t], **switches)
    opening = np.flatnonzero(found.opening[t])
    if len(opening):
        first = project(ids, logprobs, pick[opening], pair.first_word, gold[t][opening], **switches)
        for whole, part in zip(out, first, strict=True):
            whole[opening] = part
    whole_mass = np.exp(logprobs.astype(np.float64)).sum(axis=1)
    taught = np.where(pick >= 0, whole_mass[pick], 0.0) if len(whole_mass) else np.zeros(len(pick))
    return *out, taught


def _batches(target: TokenTable) -> list[tuple[int, int]]:
    """Return ranges of chunks of about `BATCH_TOKENS` target tokens."""
    cuts, start = [], 0
    for chunk in range(len(target)):
        if target.offsets[chunk + 1] - target.offsets[start] >= BATCH_TOKENS or chunk + 1 == len(target):
            cuts.append((start, chunk + 1))
            start = chunk + 1
    return cuts


def _check_same_chunks(source: TokenTable, target: TokenTable, rows: SparseDistributions, chunks: Chunks) -> None:
    sizes = {"source tokens": len(source), "target tokens": len(target), "rows": len(rows), "chunks": len(chunks)}
    if len(set(sizes.values())) > 1:
        raise ArtifactError(
            "alignment was given different corpora: " + ", ".join(f"{n} chunks of {name}" for name, n in sizes.items()),
            why="both tokenizations and the rows must be of the same chunks",
            fix="delete the run's `corpus` and `teach` folders; the next run makes them anew",
        )
    if not np.array_equal(rows.offsets, source.offsets):
        raise ArtifactError(
            f"the rows in `{rows.folder}` have other lengths than the source's tokens",
            why="they were captured on another tokenization",
            fix=f"delete the folder `{rows.folder}`; the next run makes it anew",
        )
