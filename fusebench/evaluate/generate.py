"""Batched generation with stop strings: finished rows leave the batch, nothing is decoded that cannot matter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from fusebench.evaluate.forward import CausalModel, accepts


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen: greedily where the temperature is 0, else sampled from the top-p nucleus."""

    temperature: float = 0.0
    top_p: float = 1.0


class Stepper(Protocol):
    """A batch on its way: logits of the next token, one token at a time."""

    def begin(self, ids: Int[Tensor, "row token"], mask: Int[Tensor, "row token"]) -> Float[Tensor, "row vocab"]:
        """Return the logits after left-padded prompts."""

    def step(self, tokens: Int[Tensor, " row"]) -> Float[Tensor, "row vocab"]:
        """Return the logits after one more token per row."""

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Go on with these rows alone."""


class ModelStepper:
    """One transformers model with its key-value cache."""

    def __init__(self, model: CausalModel) -> None:
        self.model = model
        self.positions = accepts(model, "position_ids")
        self.keeps = accepts(model, "logits_to_keep")
        self.cache: Any = None
        self.mask: Tensor = torch.empty(0)

    def begin(self, ids: Int[Tensor, "row token"], mask: Int[Tensor, "row token"]) -> Float[Tensor, "row vocab"]:
        """Return the logits after left-padded prompts."""
        from transformers import DynamicCache

        self.cache = DynamicCache(config=self.model.config)
        self.mask = mask
        return self._forward(ids, (mask.cumsum(1) - 1).clamp(min=0))

    def step(self, tokens: Int[Tensor, " row"]) -> Float[Tensor, "row vocab"]:
        """Return the logits after one more token per row."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], 1)
        return self._forward(tokens[:, None], self.mask.sum(1, keepdim=True) - 1)

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Go on with these rows alone."""
        self.mask = self.mask[rows]
        self.cache.batch_select_indices(rows)

    def _forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        extra: dict[str, Any] = {"position_ids": positions} if self.positions else {}
        if self.keeps:
            extra["logits_to_keep"] = 1
        out = self.model(input_ids=ids, attention_mask=self.mask, past_key_values=self.cache, use_cache=True, **extra)
        return out.logits[:, -1].float()


class Stops:
    """Finds stop strings in what a row has generated, looking only where a new token could complete one.

    Args:
        tokenizer: decodes ids.
        vocabulary: width of the model's logits.
    """

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        self.tokenizer = tokenizer
        known = min(len(tokenizer), vocabulary)
        self.pieces = tokenizer.batch_decode([[n] for n in range(known)]) + [""] * max(0, vocabulary - known)
        self._marked: dict[str, ndarray] = {}

    def marks(self, stops: Sequence[str]) -> Bool[ndarray, " vocab"]:
        """Return which tokens can hold the last character of a stop string; half characters always can."""
        found = np.zeros(len(self.pieces), dtype=bool)
        for last in {stop[-1] for stop in stops if stop}:
            if last not in self._marked:
                self._marked[last] = np.fromiter(
                    (last in piece or "\ufffd" in piece for piece in self.pieces), dtype=bool, count=len(self.pieces)
                )
            found |= self._marked[last]
        return found

    def text(self, ids: Sequence[int]) -> str:
        """Return generated ids as text, special tokens left out."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))


def cut_at(text: str, stops: Sequence[str]) -> str:
    """Return the text before the first stop string."""
    for stop in stops:
        if stop:
            text = text.partition(stop)[0]
    return text


@torch.inference_mode()
def generate(
    stepper: Stepper,
    prompts: Sequence[Sequence[int]],
    *,
    stops: Stops,
    until: Sequence[str],
    end_ids: Sequence[int],
    pad_id: int,
    max_new: int,
    device: torch.device,
    decoding: Decoding | None = None,
    uniform: Float[ndarray, "row new"] | None = None,
) -> list[str]:
    """Return what follows each prompt, up to a stop string, an end token or `max_new` tokens.

    Args:
        stepper: the model, or several as one.
        prompts: token ids, at least one each.
        stops: the tokenizer's decoder.
        until: stop strings, not part of what is returned.
        end_ids: tokens that end a row.
        pad_id: any token id; padding is masked.
        max_new: tokens to generate at most.
        device: where the model is.
        decoding: greedy where None.
        uniform: numbers in [0, 1) that decide the sampling, so that a sample depends on its own seed alone, not on
            the batch it happens to be in.
    """
    decoding = decoding or Decoding()
    assert decoding.temperature == 0 or uniform is not None, "sampling needs its random numbers"
    length = max(len(p) for p in prompts)
    ids = torch.full((len(prompts), length), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, length - len(prompt) :] = torch.as_tensor(prompt)
        mask[row, length - len(prompt) :] = 1
    marks = stops.marks(until)
    ends = np.asarray(sorted(end_ids), dtype=np.int64)
    made = np.zeros((len(prompts), max_new), dtype=np.int64)
    texts = [""] * len(prompts)
    live = np.arange(len(prompts))
    logits = stepper.begin(ids.to(device), mask.to(device))
    for step in range(max_new):
        if decoding.temperature == 0:
            tokens = logits.argmax(1)
        else:
            assert uniform is not None
            tokens = _sample(logits, decoding, torch.from_numpy(uniform[live, step]).to(logits.device))
        new = tokens.cpu().numpy()
        made[live, step] = new
        ended = np.isin(new, ends)
        finished = ended | (step == max_new - 1)
        for place in np.flatnonzero(~finished & marks[new]):
            text = stops.text(made[live[place], : step + 1].tolist())
            finished[place] = any(stop in text for stop in until if stop)
        for place in np.flatnonzero(finished):
            upto = step if ended[place] else step + 1
            texts[live[place]] = cut_at(stops.text(made[live[place], :upto].tolist()), until)
        stay = np.flatnonzero(~finished)
        if len(stay) == 0:
            break
        if len(stay) < len(live):
            rows = torch.from_numpy(stay).to(device)
            stepper.keep(rows)
            live, tokens = live[stay], tokens[rows]
        logits = stepper.step(tokens)
    return texts


def _sample(
    logits: Float[Tensor, "row vocab"], decoding: Decoding, uniform: Float[Tensor, " row"]
) -> Int[Tensor, " row"]:
    """Return one token per row from the smallest set of tokens whose probability reaches top_p."""
    chances, order = (logits / decoding.temperature).softmax(1).sort(1, descending=True)
    total = chances.cumsum(1)
    inside = (total - chances) < decoding.top_p
    total = (chances * inside).cumsum(1)
    place = torch.searchsorted(total, (uniform.to(total.dtype) * total[:, -1])[:, None], right=True)
    last = inside.sum(1, keepdim=True) - 1
    return order.gather(1, torch.minimum(place, last))[:, 0]
