"""A source over the corpus: chunks of like length together, logits only as large as a slice of positions."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from fusebench.artifacts import DistributionsWriter, SparseDistributions, TokenTable
from fusebench.errors import ModelError
from fusebench.teach.topk import top_rows

LOGIT_BYTES = 1 << 28
"""Logits that live at a time, in float32."""

GROUP_TOKENS = 1 << 16
"""Chunks are sorted by length within groups of about so many tokens; a finished group is safe on disk."""

Rows = tuple[ndarray, ndarray, ndarray]


def capture(
    model: Any,
    tokens: TokenTable,
    out: Path,
    *,
    top_k: int,
    batch_tokens: int,
    progress: Callable[[int, int], None] | None = None,
) -> SparseDistributions:
    """Return the source's rows over its own tokens, in chunk order, with ln p of the actual next token (`gold`).

    Every chunk is read by itself from its first token. A row does not depend on the chunks it is batched with,
    up to rounding. An interrupted folder is continued after its last finished group.

    Args:
        model: a causal language model; put on the GPU where there is one.
        tokens: the corpus in the model's tokenizer.
        out: a (partial) folder of the run.
        top_k: entries per row; at most the vocabulary.
        batch_tokens: tokens per forward pass, padding counted.
        progress: called with tokens done and their total.

    Raises:
        ModelError: a chunk is longer than the model's context, or holds ids that the model does not have.
    """
    _check(model, tokens)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device).eval()
    k = min(top_k, int(model.config.get_text_config().vocab_size))
    out.mkdir(parents=True, exist_ok=True)
    writer = DistributionsWriter(out, tokens=tokens.tokenizer, vocab=tokens.tokenizer, k=k, shard_rows=1 << 62)
    reader = _Reader(model, device, k)
    total = int(tokens.offsets[-1])
    for start, stop in groups(tokens):
        if stop <= writer.done:
            continue
        assert start == writer.done, "groups are written whole"
        rows: dict[int, Rows] = {}
        for batch in batches(tokens, start, stop, batch_tokens):
            rows |= reader.read(tokens, batch)
            if progress is not None:
                progress(int(tokens.offsets[start]) + sum(len(r[0]) for r in rows.values()), total)
        for chunk in range(start, stop):
            writer.append(*rows[chunk])
        writer.flush()
    return writer.close()


def _check(model: Any, tokens: TokenTable) -> None:
    config = model.config.get_text_config()
    context = getattr(config, "max_position_embeddings", None) or getattr(config, "max_seq_len", None)
    longest = int(np.diff(tokens.offsets).max(initial=0))
    if context is not None and longest > context:
        raise ModelError(
            f"`{type(model).__name__}` takes {context} tokens, but a chunk has {longest}",
            why="its positions end there",
            fix="make `corpus.chunk_tokens` smaller",
        )
    largest = int(tokens.ids.max(initial=0))
    known = model.get_input_embeddings().weight.shape[0]
    if largest >= known:
        raise ModelError(
            f"`{type(model).__name__}` has {known} tokens, but its tokenizer gave id {largest}",
            why="tokenizer and model do not belong together",
            fix="give the folder the tokenizer that the model was trained with",
        )


def groups(tokens: TokenTable) -> Iterator[tuple[int, int]]:
    """Yield first chunk and last plus one of each group; the same on every run, so that a resumed one is equal."""
    start = 0
    while start < len(tokens):
        limit = tokens.offsets[start] + GROUP_TOKENS
        stop = max(start + 1, int(np.searchsorted(tokens.offsets, limit, side="right")) - 1)
        yield start, stop
        start = stop


def batches(tokens: TokenTable, start: int, stop: int, batch_tokens: int) -> Iterator[list[int]]:
    """Yield the group's chunks, longest first, at most `batch_tokens` with padding (one chunk may be more)."""
    lengths = np.diff(tokens.offsets[start : stop + 1])
    order = np.argsort(-lengths, kind="stable")
    at = 0
    while at < len(order):
        width = max(1, int(lengths[order[at]]))
        size = max(1, batch_tokens // width)
        yield (order[at : at + size] + start).tolist()
        at += size


class _Reader:
    """Forward passes of one model."""

    def __init__(self, model: Any, device: torch.device, k: int) -> None:
        self.model, self.device, self.k = model, device, k
        self.head = model.get_output_embeddings()
        self.body = model.base_model
        self.split: bool | None = None  # whether head(body(x)) is the model's logits; found out on the first batch

    @torch.inference_mode()
    def read(self, tokens: TokenTable, chunks: list[int]) -> dict[int, Rows]:
        """Return ids, log-probabilities and gold of each chunk of one batch."""
        lengths = np.diff(tokens.offsets)[chunks]
        width = max(1, int(lengths.max()))
        ids, mask = np.zeros((len(chunks), width), dtype=np.int64), np.zeros((len(chunks), width), dtype=bool)
        following = np.full((len(chunks), width), -1, dtype=np.int64)
        for row, (chunk, length) in enumerate(zip(chunks, lengths.tolist(), strict=True)):
            own = tokens.ids[tokens.span(chunk)]
            ids[row, :length], mask[row, :length] = own, True
            following[row, : max(0, length - 1)] = own[1:]
        inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask).long()}
        inputs = {name: value.to(self.device) for name, value in inputs.items()}
        real = torch.from_numpy(mask).to(self.device)
        after = torch.from_numpy(following).to(self.device)[real]
        parts = [top_rows(z, y, self.k) for z, y in self._logits(inputs, real, after)]
        found = [torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)]
        ends = np.cumsum(lengths)
        return {
            chunk: (
                found[0][end - length : end].astype(np.int32),
                found[1][end - length : end],
                found[2][end - length : end],
            )
            for chunk, end, length in zip(chunks, ends.tolist(), lengths.tolist(), strict=True)
        }

    def _logits(
        self, inputs: dict[str, Tensor], real: Tensor, after: Tensor
    ) -> Iterator[tuple[Float[Tensor, "token vocab"], Int[Tensor, " token"]]]:
        """Yield the logits of the real positions, slice by slice, with the tokens that follow."""
        vocabulary = int(self.model.config.get_text_config().vocab_size)
        if self.split is None:
            self.split = self._can_split(inputs)
        if self.split:
            hidden = self.body(**inputs, use_cache=False)[0][real]
            for part, follow in _slices(hidden, after, vocabulary):
                yield self.head(part), follow
            return
        # Without a separate head the batch itself is made small enough.
        rows = max(1, LOGIT_BYTES // (4 * vocabulary * real.shape[1]))
        counts = real.sum(1).cumsum(0).tolist()
        for first in range(0, len(real), rows):
            last = min(first + rows, len(real))
            here = {name: value[first:last] for name, value in inputs.items()}
            logits = self.model(**here, use_cache=False).logits[real[first:last]]
            yield logits, after[counts[first - 1] if first else 0 : counts[last - 1]]

    def _can_split(self, inputs: dict[str, Tensor]) -> bool:
        # Scaled or capped logits (Gemma 2, Cohere, Granite) are more than the head's output: compare, do not guess.
        if self.head is None or self.body is self.model:
            return False
        few = {name: value[:1, :16] for name, value in inputs.items()}
        whole = self.model(**few, use_cache=False).logits
        split = self.head(self.body(**few, use_cache=False)[0])
        return whole.shape == split.shape and torch.equal(whole, split)


def _slices(hidden: Tensor, after: Tensor, vocabulary: int) -> Iterator[tuple[Tensor, Tensor]]:
    step = max(1, LOGIT_BYTES // (4 * vocabulary))
    for first in range(0, len(hidden), step):
        yield hidden[first : first + step], after[first : first + step]
