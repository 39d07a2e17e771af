"""How well each source knows each block: its cross-entropy, in a unit that is fair between tokenizers or not."""

from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from fusebench.artifacts import Blocks, Chunks, SparseDistributions, TokenTable

Criterion = Literal["bits_per_byte", "nats_per_token", "bfloat16_nats_per_token"]


def chunk_sums(
    teacher: SparseDistributions, tokens: TokenTable, chunks: Chunks, criterion: Criterion
) -> Float64[ndarray, "chunk 2"]:
    """Return, per chunk, what the source pays for the tokens it predicts and over how much: (cost, amount).

    Their quotient is the cross-entropy, and both add up over chunks. `bits_per_byte`: bits for the tokens of
    text, over the bytes that they cover; a first token that no position predicts (no BOS before it) counts on
    neither side. The two per-token units: nats over the number of predicted tokens, special ones included.

    Args:
        teacher: the source's own rows, at its own positions; `gold` holds ln p(next token).
        tokens: the source's tokens.
        chunks: the text.
        criterion: the unit.
    """
    teacher.require(tokens=tokens.tokenizer, vocab=tokens.tokenizer)
    found = np.zeros((len(tokens), 2), dtype=np.float64)
    for chunk in range(len(tokens)):
        span = tokens.span(chunk)
        if span.stop - span.start < 2:
            continue
        # gold[t] belongs to the token after t; the last one of a chunk has none.
        gold = teacher.gold(chunk, chunk + 1)[:-1]
        predicted = ~np.isnan(gold)
        if criterion == "bits_per_byte":
            predicted &= ~tokens.special[span][1:]
            unpredicted = 0 if tokens.special[span.start] else int(tokens.ends[span.start])
            bits = -gold[predicted].sum(dtype=np.float64) / np.log(2)
            found[chunk] = bits, len(chunks.texts[chunk].encode()) - unpredicted
        else:
            nats = -gold[predicted]
            if criterion == "bfloat16_nats_per_token":
                nats = bfloat16(nats)
            found[chunk] = nats.sum(dtype=np.float64), predicted.sum()
    return found


def block_cross_entropy(
    sums: Float64[ndarray, "chunk 2"], blocks: Blocks, criterion: Criterion
) -> Float64[ndarray, " block"]:
    """Return the cross-entropy of every block, lower is better; NaN where a block has nothing to predict.

    Args:
        sums: of `chunk_sums`.
        blocks: whole chunks packed together.
        criterion: the unit; `bfloat16_nats_per_token` rounds the mean to bfloat16, as the released code does.
    """
    running = np.concatenate([np.zeros((1, 2)), np.cumsum(sums[blocks.chunks], axis=0)])
    cost, amount = (running[blocks.offsets[1:]] - running[blocks.offsets[:-1]]).T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(amount > 0, cost / amount, np.nan)
    return bfloat16(mean.astype(np.float32)).astype(np.float64) if criterion == "bfloat16_nats_per_token" else mean


def bfloat16(values: Float32[ndarray, " value"]) -> Float32[ndarray, " value"]:
    """Return the values rounded to bfloat16 (nearest, ties to even), still held as float32."""
    bits = values.astype(np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return np.where(np.isfinite(values), rounded.view(np.float32), values).astype(np.float32)
