"""Log-probabilities of given tokens, in batches by length; only the logits that are needed are computed."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from numpy import ndarray
from torch import Tensor

LOGITS_AT_ONCE = 1 << 26
"""Logits held at a time (256 MiB in float32): large vocabularies get smaller batches."""


class CausalModel(Protocol):
    """What scoring needs of a model: a transformers model, or an ensemble."""

    config: Any
    device: torch.device

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return an output with `logits`."""


@dataclass(frozen=True)
class Piece:
    """Token ids, of which those from `start` on are scored; `start` is at least 1."""

    ids: Sequence[int]
    start: int


def accepts(model: CausalModel, name: str) -> bool:
    """Return whether the model's forward takes an argument of that name."""
    forward = getattr(model, "forward", model.__call__)
    return name in inspect.signature(forward).parameters


def agree(found: Float[Tensor, "*place"], expected: Float[Tensor, "*place"], dtype: torch.dtype) -> bool:
    """Return whether log-probabilities found in two ways are the same up to the rounding of a model's number type."""
    allowed = 1e-3 if dtype in (torch.float32, torch.float64) else 0.2
    return bool((found - expected).abs().mean() < allowed)


@torch.inference_mode()
def score_plainly(
    model: CausalModel,
    pieces: Sequence[Piece],
    *,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Float64[ndarray, " piece"], Bool[ndarray, " piece"]]:
    """Return for each piece the natural-log probability of its scored tokens, and whether all are the likeliest.

    Each piece is a row, padded on the right, where a causal model does not see it. Logits are taken to float32
    before the softmax.

    Args:
        model: anything that maps ids [batch, token] to logits.
        pieces: of any lengths.
        batch_size: pieces at a time, at most.
        progress: called with (pieces done, pieces).
    """
    logprob = np.zeros(len(pieces))
    greedy = np.ones(len(pieces), dtype=bool)
    keeps = accepts(model, "logits_to_keep")
    asks = accepts(model, "wanted")
    order = sorted(range(len(pieces)), key=lambda n: len(pieces[n].ids), reverse=True)
    vocabulary = vocabulary_of(model)
    done = 0
    for members in _batches(order, pieces, batch_size, vocabulary):
        length = len(pieces[members[0]].ids)
        ids = np.zeros((len(members), length), dtype=np.int64)
        scored = np.zeros((len(members), length), dtype=bool)
        for row, number in enumerate(members):
            piece = pieces[number]
            ids[row, : len(piece.ids)] = piece.ids
            scored[row, piece.start : len(piece.ids)] = True
        tokens = torch.from_numpy(ids).to(model.device)
        wanted = torch.from_numpy(scored[:, 1:]).to(model.device)
        first = min(pieces[n].start for n in members) - 1
        if keeps:
            places = torch.arange(first, length - 1, device=model.device)
            logits = model(tokens[:, :-1], logits_to_keep=places, **({"wanted": wanted} if asks else {})).logits.float()
        else:
            logits = model(tokens[:, :-1]).logits[:, first:].float()
        gold = logits.gather(2, tokens[:, first + 1 :, None])[..., 0]
        mask = wanted[:, first:]
        likely = ((gold - logits.logsumexp(2)).double() * mask).sum(1)
        logprob[members] = likely.cpu().numpy()
        greedy[members] = ((gold >= logits.amax(2)) | ~mask).all(1).cpu().numpy()
        done += len(members)
        if progress is not None:
            progress(done, len(pieces))
    return logprob, greedy


def vocabulary_of(model: CausalModel) -> int:
    """Return the width of the model's logits."""
    config = model.config
    return int(getattr(config, "vocab_size", None) or config.get_text_config().vocab_size)


def context_of(model: CausalModel) -> int:
    """Return the longest input of a model in tokens; 2048 where its config does not say."""
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"):
        if (found := getattr(config, name, None)) is not None:
            return int(found)
    return 2048


def additive(allowed: Bool[Tensor, "row query key"], dtype: torch.dtype) -> Float[Tensor, "row 1 query key"]:
    """Return what is added to attention scores: 0 where a query may look, else the least number."""
    mask = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)[:, None]


def _batches(order: Sequence[int], pieces: Sequence[Piece], batch_size: int, vocabulary: int) -> Iterator[list[int]]:
    batch: list[int] = []
    kept = 0
    for number in order:
        piece = pieces[number]
        length = len(pieces[batch[0]].ids) if batch else len(piece.ids)
        wider = max(kept, length - piece.start)
        if batch and (len(batch) == batch_size or (len(batch) + 1) * wider * vocabulary > LOGITS_AT_ONCE):
            yield batch
            batch, wider = [], len(piece.ids) - piece.start
        batch.append(number)
        kept = wider
    if batch:
        yield batch
