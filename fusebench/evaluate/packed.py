"""Log-probabilities of several continuations of one context: the context is read once.

A row holds the context and behind it all its continuations, each without its last token; a mask lets a continuation
see the context and itself, and its positions follow the context's. Contexts end in the same column, so that logits
are computed from there on alone. Continuations of one token need no column of their own.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Bool, Float64
from numpy import ndarray

from fusebench.evaluate.forward import (
    LOGITS_AT_ONCE,
    CausalModel,
    Piece,
    accepts,
    additive,
    agree,
    score_plainly,
    vocabulary_of,
)

Row = list[int]
"""Numbers of pieces that share their context."""


@torch.inference_mode()
def score(
    model: CausalModel,
    pieces: Sequence[Piece],
    *,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float64[ndarray, " piece"], Bool[ndarray, " piece"]]:
    """Return for each piece the natural-log probability of its scored tokens, and whether all are the likeliest.

    Pieces that share a context are packed where the model's attention takes a mask; it then agrees with plain
    scoring to rounding. Logits are taken to float32 before the softmax.

    Args:
        model: anything that maps ids [batch, token] to logits.
        pieces: of any lengths.
        batch_size: pieces at a time, at most.
        progress: called with (pieces done, pieces).
    """
    rows: dict[tuple[int, ...], Row] = {}
    for number, piece in enumerate(pieces):
        rows.setdefault(tuple(piece.ids[: piece.start]), []).append(number)
    packed = [row for row in rows.values() if len(row) > 1]
    if not packed or not packs(model):
        return score_plainly(model, pieces, batch_size=batch_size, progress=progress)
    window = window_of(model)
    packed = [row for row in packed if _length(row, pieces) <= window]
    logprob, greedy = np.zeros(len(pieces)), np.ones(len(pieces), dtype=bool)
    inside = {number for row in packed for number in row}
    alone = [number for number in range(len(pieces)) if number not in inside]
    done = len(alone)
    if alone:
        logprob[alone], greedy[alone] = score_plainly(model, [pieces[n] for n in alone], batch_size=batch_size)
    vocabulary = vocabulary_of(model)
    packed.sort(key=lambda row: (len(_context(row, pieces)), _length(row, pieces)), reverse=True)
    for batch in _batches(packed, pieces, batch_size, vocabulary):
        numbers = [number for row in batch for number in row]
        logprob[numbers], greedy[numbers] = _score_batch(model, batch, pieces)
        done += len(numbers)
        if progress is not None:
            progress(done, len(pieces))
    return logprob, greedy


def _context(row: Row, pieces: Sequence[Piece]) -> Sequence[int]:
    first = pieces[row[0]]
    return first.ids[: first.start]


def _tails(row: Row, pieces: Sequence[Piece]) -> int:
    """Return the columns of a row behind its context."""
    return sum(len(pieces[n].ids) - pieces[n].start - 1 for n in row)


def _length(row: Row, pieces: Sequence[Piece]) -> int:
    return len(_context(row, pieces)) + _tails(row, pieces)


def _batches(rows: Sequence[Row], pieces: Sequence[Piece], batch_size: int, vocabulary: int) -> Iterator[list[Row]]:
    batch: list[Row] = []
    count = widest = 0
    for row in rows:
        wider = max(widest, 1 + _tails(row, pieces))
        full = count + len(row) > batch_size or (len(batch) + 1) * wider * vocabulary > LOGITS_AT_ONCE
        if batch and full:
            yield batch
            batch, count, wider = [], 0, 1 + _tails(row, pieces)
        batch.append(row)
        count, widest = count + len(row), wider
    if batch:
        yield batch


def _score_batch(
    model: CausalModel, batch: Sequence[Row], pieces: Sequence[Piece]
) -> tuple[Float64[ndarray, " piece"], Bool[ndarray, " piece"]]:
    """Return the pieces' scores in the order in which the rows name them."""
    contexts = [_context(row, pieces) for row in batch]
    front = max(map(len, contexts))
    width = front + max(_tails(row, pieces) for row in batch)
    ids = np.zeros((len(batch), width), dtype=np.int64)
    places = np.zeros_like(ids)
    # Which text a column belongs to: 0 the context, 1, 2, ... a continuation, -1 padding.
    owner = np.full_like(ids, -1)
    wanted: list[tuple[int, int, int, int]] = []
    number = 0
    for line, (row, context) in enumerate(zip(batch, contexts, strict=True)):
        begin = front - len(context)
        ids[line, begin:front], owner[line, begin:front] = context, 0
        places[line, begin:front] = np.arange(len(context))
        at = front
        for turn, name in enumerate(row, start=1):
            tail = pieces[name].ids[pieces[name].start :]
            fed = len(tail) - 1
            ids[line, at : at + fed], owner[line, at : at + fed] = tail[:-1], turn
            places[line, at : at + fed] = len(context) + np.arange(fed)
            columns = [front - 1, *range(at, at + fed)]
            wanted += [(line, column - front + 1, gold, number) for column, gold in zip(columns, tail, strict=True)]
            at += fed
            number += 1
    device = model.device
    extra: dict[str, Any] = {"logits_to_keep": width - front + 1} if accepts(model, "logits_to_keep") else {}
    logits = model(
        torch.from_numpy(ids).to(device),
        attention_mask=additive(_allowed(torch.from_numpy(owner).to(device)), getattr(model, "dtype", torch.float32)),
        position_ids=torch.from_numpy(places).to(device),
        **extra,
    ).logits
    logits = logits[:, logits.shape[1] - (width - front + 1) :]
    lines, columns, gold, piece = torch.tensor(wanted, device=device).T
    chosen = logits[lines, columns].float()
    found = chosen.gather(1, gold[:, None])[:, 0]
    logprob = np.bincount(piece.cpu(), (found - chosen.logsumexp(1)).double().cpu(), minlength=number)
    missed = np.bincount(piece.cpu(), (found < chosen.amax(1)).double().cpu(), minlength=number)
    return logprob, missed == 0


def _allowed(owner: torch.Tensor) -> torch.Tensor:
    """Return which columns (last) a column may look at, [row, query, key]: those before it of its text and context."""
    query, key = owner[:, :, None], owner[:, None, :]
    causal = torch.ones(owner.shape[1], owner.shape[1], dtype=torch.bool, device=owner.device).tril()
    return causal & ((key == query) | ((key == 0) & (query > 0)))


def window_of(model: CausalModel) -> int:
    """Return the longest row for which a layer with a sliding window sees all that the mask shows."""
    config = model.config.get_text_config()
    return int(getattr(config, "sliding_window", None) or 1 << 30)


_known: "WeakKeyDictionary[Any, bool]" = WeakKeyDictionary()


def packs(model: Any) -> bool:
    """Return whether packed pieces score as they do alone, tried once on a few tokens."""
    from transformers import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        return False
    if model not in _known:
        _known[model] = (
            accepts(model, "position_ids") and model.config._attn_implementation in ("sdpa", "eager") and _agrees(model)
        )
    return _known[model]


def _agrees(model: Any) -> bool:
    numbers = [n % vocabulary_of(model) for n in range(1, 20)]
    rows = [(numbers[:6], [numbers[6:9], numbers[8:9], numbers[4:8]]), (numbers[10:13], [numbers[:2], numbers[5:8]])]
    pieces = [Piece([*context, *tail], len(context)) for context, tails in rows for tail in tails]
    batch = [[0, 1, 2], [3, 4]]
    found, _ = _score_batch(model, batch, pieces)
    expected, _ = score_plainly(model, pieces, batch_size=len(pieces))
    return agree(torch.from_numpy(found), torch.from_numpy(expected), model.dtype)
