"""Fusion as a stage: several sources' aligned rows become one row per target position."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32
from numpy import ndarray

from fusebench.artifacts import (
    Blocks,
    Chunks,
    DistributionsWriter,
    FusionChoice,
    SpanTable,
    SparseDistributions,
    TokenTable,
)
from fusebench.artifacts.alignment import WITH_ROW
from fusebench.errors import ArtifactError
from fusebench.fuse.avg_ce import avg_ce_weights, mix
from fusebench.fuse.criteria import block_cross_entropy, chunk_sums
from fusebench.fuse.min_ce import min_ce_weights
from fusebench.fuse.temperature import apply_temperature
from fusebench.recipe import FuseSection

Source = tuple[SparseDistributions, SparseDistributions, TokenTable]
"""Aligned rows, teacher rows and own tokens of one source."""


def fuse(
    sources: Mapping[str, Source],
    blocks: Blocks,
    target_tokens: TokenTable,
    chunks: Chunks,
    section: FuseSection,
    out: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[SparseDistributions, FusionChoice]:
    """Return the fused rows (chunk order) and every source's share of every block; `out` receives both.

    `per: block`: the shares follow from each source's cross-entropy on the whole block. `per: token`: from
    -ln p(next gold token) of each source's ALIGNED row at the position; positions where a source has only a
    fallback row do not count for it, and where all have only that, the block's shares hold. Reported weights
    of a block are then the mean over its positions.

    Args:
        sources: name -> aligned rows, teacher rows, own tokens; in the recipe's order. Aligned rows whose
            folder has no span table (the target as a source of its own) are real rows throughout.
        blocks: the packing of the training data; chunks outside it are fused too, each as a block of its own.
        target_tokens: the positions.
        chunks: the text.
        section: the switches.
        out: a partial folder of a run.

    Raises:
        ArtifactError: a source's rows are of another tokenizer or of other chunks.

    Source: Wan et al. 2024, arXiv:2401.10491, section 3.3. Departs in the unit of the cross-entropy (bits per
    byte of text, by default), and adds the choice per token.
    """
    assert sources, "nothing to fuse"
    _check(sources, target_tokens, chunks)
    packing = _with_rest(blocks, len(chunks))
    sums = [chunk_sums(teacher, tokens, chunks, section.criterion) for _, teacher, tokens in sources.values()]
    entropy = np.stack([block_cross_entropy(s, packing, section.criterion) for s in sums], axis=1)
    by_block = _weights(entropy, section)
    of_chunk = np.empty(len(chunks), dtype=np.int64)
    of_chunk[packing.chunks] = np.repeat(np.arange(len(packing)), np.diff(packing.offsets))
    aligned = [a for a, _, _ in sources.values()]
    real = [_real_rows(a, target_tokens) for a in aligned]
    k = max(a.k for a in aligned)
    writer = DistributionsWriter(out, tokens=target_tokens.tokenizer, vocab=target_tokens.tokenizer, k=k)
    shares = np.zeros((len(chunks), len(sources)), dtype=np.float64)
    for chunk in range(len(chunks)):
        span = target_tokens.span(chunk)
        count = span.stop - span.start
        if section.per == "block" and chunk < writer.done:
            continue
        ids, rows = _stacked(aligned, chunk, k, section.temperature)
        weights = np.repeat(by_block[of_chunk[chunk]][None], count, axis=0)
        if section.per == "token":
            here = np.stack([r[span] for r in real], axis=1)
            weights = _token_weights(ids, rows, target_tokens.ids[span], here, weights, section)
            shares[chunk] = weights.sum(axis=0)
        if chunk >= writer.done:
            writer.append(*_combine(ids, rows, weights, k, section))
        if progress is not None:
            progress(chunk + 1, len(chunks))
    if section.per == "token":
        by_block = _mean_shares(shares, np.diff(target_tokens.offsets), packing)
    named = len(blocks)
    domains = [chunks.domains[int(blocks.members(b)[0])] for b in range(named)]
    choice = FusionChoice(list(sources), domains, entropy[:named], by_block[:named], section.criterion)
    choice.save(out)
    return writer.close(), choice


def _weights(entropy: Float64[ndarray, "block source"], section: FuseSection) -> Float64[ndarray, "block source"]:
    if section.rule == "avg_ce":
        return avg_ce_weights(entropy)
    return min_ce_weights(entropy, ties_to_last=section.criterion == "bfloat16_nats_per_token")


def _stacked(
    aligned: list[SparseDistributions], chunk: int, k: int, temperature: float
) -> tuple[Int32[ndarray, "source token k"], Float32[ndarray, "source token k"]]:
    """Return every source's rows of one chunk, at temperature, padded to k entries."""
    size = int(aligned[0].offsets[chunk + 1] - aligned[0].offsets[chunk])
    ids = np.zeros((len(aligned), size, k), dtype=np.int32)
    rows = np.full((len(aligned), size, k), -np.inf, dtype=np.float32)
    for number, source in enumerate(aligned):
        if size:
            own_ids, own = source.rows(chunk, chunk + 1)
            ids[number, :, : source.k], rows[number, :, : source.k] = own_ids, apply_temperature(own, temperature)
    return ids, rows


def _token_weights(
    ids: Int32[ndarray, "source token k"],
    rows: Float32[ndarray, "source token k"],
    tokens: Int32[ndarray, " token"],
    real: Bool[ndarray, "token source"],
    block: Float64[ndarray, "token source"],
    section: FuseSection,
) -> Float64[ndarray, "token source"]:
    """Return the sources' shares at every position, from the probability of the next gold token."""
    gold = np.append(tokens[1:], -1)
    hit = (ids == gold[None, :, None]) & (rows > -np.inf)
    chance = np.where(hit, np.exp(rows.astype(np.float64)), 0.0).sum(axis=2).T
    with np.errstate(divide="ignore"):
        entropy = -np.log(chance)
    decided = real.any(axis=1) & (gold >= 0)
    if section.rule == "min_ce":
        # A real row that lacks the gold token still beats a fallback row; the block's winner goes first.
        entropy = np.where(real, np.minimum(entropy, 1e6) - 1e-9 * block, np.inf)
        return np.where(decided[:, None], min_ce_weights(entropy), block)
    weights = np.where(real, avg_ce_weights(entropy), 0.0)
    total = np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return np.where(decided[:, None], weights / total, block)


def _combine(
    ids: Int32[ndarray, "source token k"],
    rows: Float32[ndarray, "source token k"],
    weights: Float64[ndarray, "token source"],
    k: int,
    section: FuseSection,
) -> tuple[Int32[ndarray, "token k"], Float32[ndarray, "token k"]]:
    if section.rule == "avg_ce":
        return mix(ids, rows, weights, k)
    winner, place = weights.argmax(axis=1), np.arange(ids.shape[1])
    return ids[winner, place], rows[winner, place]


def _mean_shares(
    shares: Float64[ndarray, "chunk source"], lengths: ndarray, packing: Blocks
) -> Float64[ndarray, "block source"]:
    """Return the mean share over each block's positions; an empty block gives all to the first source."""
    rows = np.stack([shares[packing.members(b)].sum(axis=0) for b in range(len(packing))])
    count = np.array([lengths[packing.members(b)].sum() for b in range(len(packing))], dtype=np.float64)
    rows[count == 0, 0] = 1.0
    return np.asarray(rows / np.maximum(count, 1.0)[:, None])


def _real_rows(aligned: SparseDistributions, target: TokenTable) -> Bool[ndarray, " target"]:
    if not (aligned.folder / "spans.safetensors").exists():
        return np.ones(len(target.ids), dtype=np.bool_)
    return np.asarray(np.isin(SpanTable.load(aligned.folder).outcomes, WITH_ROW))


def _with_rest(blocks: Blocks, chunks: int) -> Blocks:
    """Return the packing with every chunk that it leaves out appended as a block of its own."""
    rest = np.setdiff1d(np.arange(chunks, dtype=np.int64), blocks.chunks)
    offsets = np.concatenate([blocks.offsets, blocks.offsets[-1] + 1 + np.arange(len(rest))]).astype(np.int64)
    return Blocks(np.concatenate([blocks.chunks, rest]).astype(np.int64), offsets, blocks.block_tokens)


def _check(sources: Mapping[str, Source], target: TokenTable, chunks: Chunks) -> None:
    for name, (aligned, teacher, tokens) in sources.items():
        aligned.require(tokens=target.tokenizer, vocab=target.tokenizer)
        if not np.array_equal(aligned.offsets, target.offsets) or not len(teacher) == len(tokens) == len(chunks):
            raise ArtifactError(
                f"the rows of source `{name}` are of another corpus",
                why=f"they cover {len(aligned)} chunks of {int(aligned.offsets[-1])} positions, the target has "
                f"{len(target)} of {int(target.offsets[-1])}",
                fix="delete the run's `align` and `teach` folders; the next run makes them anew",
            )
