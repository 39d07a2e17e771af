"""A source over the corpus: every chunk once, its rows kept in chunk order."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray

from fusebench.artifacts import DistributionsWriter, SparseDistributions, TokenTable
from fusebench.errors import ModelError
from fusebench.teach.topk import top_k_rows

GROUP_ROWS = 1 << 14
"""Chunks are sorted by length within groups of about so many rows; each group is safe on disk when it is done."""
LOGITS_BYTES = 1 << 28
"""Logits of one forward pass take about this much at most (one chunk may take more)."""


def capture(
    model: Any,
    tokens: TokenTable,
    out: Path,
    *,
    top_k: int,
    batch_tokens: int,
    progress: Callable[[int, int], None] | None = None,
) -> SparseDistributions:
    """Return the source's own top-k rows over all chunks; an interrupted folder is continued at its last group.

    Row t is the distribution over the token that FOLLOWS token t of the chunk, with the chunk's own tokens before it
    as the only context. A row depends neither on padding nor on the chunks that share its batch.

    Args:
        model: a causal language model of transformers, on the device it shall run on.
        tokens: the chunks in the model's own tokens.
        out: a partial folder of a run.
        top_k: entries kept per row (paper: 10).
        batch_tokens: padded tokens per forward pass; fewer where the logits would take too much room.
        progress: called with tokens done and tokens in all.

    Raises:
        ModelError: a chunk is longer than the model's context, an id is outside its embedding, or a logit is NaN.
    """
    _check_fits(model, tokens)
    if torch.cuda.is_available():
        model = model.to("cuda")
    model.eval()
    writer = DistributionsWriter(out, tokens=tokens.tokenizer, vocab=tokens.tokenizer, k=top_k, shard_rows=GROUP_ROWS)
    width = _width(model)
    room = max(1, min(batch_tokens, LOGITS_BYTES // (4 * width)))
    total = int(tokens.offsets[-1])
    while writer.done < len(tokens):
        first = writer.done
        last = _group_end(tokens.offsets, first)
        _capture_group(model, tokens, first, last, room, top_k, writer)
        writer.flush()
        if progress is not None:
            progress(int(tokens.offsets[last]), total)
    return writer.close()


def _group_end(offsets: Int64[ndarray, " chunk+1"], first: int) -> int:
    """Return the first chunk of the next group: at least one chunk, then as many as fit `GROUP_ROWS`."""
    end = int(np.searchsorted(offsets, offsets[first] + GROUP_ROWS, side="right")) - 1
    return min(max(end, first + 1), len(offsets) - 1)


def _capture_group(
    model: Any, tokens: TokenTable, first: int, last: int, room: int, top_k: int, writer: DistributionsWriter
) -> None:
    lengths = np.diff(tokens.offsets[first : last + 1])
    rows: dict[int, tuple[ndarray, ndarray, ndarray]] = {}
    for batch in _batches(lengths, room):
        rows |= _forward(model, [tokens.ids[tokens.span(first + int(c))] for c in batch], batch, top_k)
    for chunk in range(last - first):
        writer.append(*rows[chunk])


def _batches(lengths: Int64[ndarray, " chunk"], room: int) -> Iterator[Int64[ndarray, " member"]]:
    """Yield chunk numbers, like lengths together, at most `room` padded tokens a batch (one chunk always fits)."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, room // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size


def _forward(
    model: Any, sequences: list[ndarray], names: Int64[ndarray, " member"], top_k: int
) -> dict[int, tuple[ndarray, ndarray, ndarray]]:
    longest = max(map(len, sequences))
    ids = np.zeros((len(sequences), longest), dtype=np.int64)
    following = np.full((len(sequences), longest), -1, dtype=np.int64)
    mask = np.zeros((len(sequences), longest), dtype=np.int64)
    for place, sequence in enumerate(sequences):
        ids[place, : len(sequence)] = sequence
        following[place, : len(sequence) - 1] = sequence[1:]
        mask[place, : len(sequence)] = 1
    device = model.get_input_embeddings().weight.device
    real = torch.from_numpy(mask).to(device).bool()
    with torch.inference_mode():
        logits = model(input_ids=torch.from_numpy(ids).to(device), attention_mask=real.long(), use_cache=False).logits
        try:
            found = top_k_rows(logits[real], torch.from_numpy(following).to(device)[real], top_k)
        except ValueError as error:
            raise ModelError(
                f"`{type(model).__name__}` gives NaN for a chunk",
                why="its weights are damaged, or its numbers do not fit the dtype",
                fix="load it in another dtype with `models.NAME.dtype: float32`",
            ) from error
    ends = np.cumsum([len(s) for s in sequences])[:-1]
    columns = [np.split(part.numpy(), ends) for part in found]
    return {int(name): (columns[0][n], columns[1][n], columns[2][n]) for n, name in enumerate(names)}


def _width(model: Any) -> int:
    head = model.get_output_embeddings()
    return int(head.weight.shape[0]) if head is not None else int(model.config.vocab_size)


def _check_fits(model: Any, tokens: TokenTable) -> None:
    name = type(model).__name__
    context = getattr(model.config, "max_position_embeddings", None) or getattr(model.config, "max_seq_len", None)
    longest = int(np.diff(tokens.offsets).max(initial=0))
    if context is not None and longest > context:
        raise ModelError(
            f"`{name}` takes {context} tokens, but a chunk has {longest}",
            why="its positions end there",
            fix="make `corpus.chunk_tokens` smaller",
        )
    room = int(model.get_input_embeddings().weight.shape[0])
    highest = int(tokens.ids.max(initial=0))
    if highest >= room:
        raise ModelError(
            f"`{name}` has {room} token embeddings, but its tokenizer gives id {highest}",
            why="model and tokenizer do not belong together",
            fix="give the tokenizer that the model was trained with",
        )
