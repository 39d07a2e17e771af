"""Batched generation with stop strings: finished rows leave the batch, nothing is decoded that cannot matter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int8
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


@runtime_checkable
class JoiningStepper(Stepper, Protocol):
    """A batch into which new rows may come while the others are on their way."""

    def join(
        self, ids: Int[Tensor, "row token"], mask: Int[Tensor, "row token"], common: int
    ) -> Float[Tensor, "row vocab"]:
        """Return the logits after left-padded prompts, which become the last rows; `common` first tokens are shared."""


@dataclass(frozen=True)
class Group:
    """Prompts that begin alike.

    Args:
        numbers: which prompts.
        common: how many first tokens they share; 0 where they have nothing in common.
    """

    numbers: Sequence[int]
    common: int = 0


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
        self.tokenizer, self.vocabulary = tokenizer, vocabulary
        # -1: not looked at yet; 0, 1: whether the token can. Few tokens of a vocabulary are ever generated.
        self._can_end: dict[tuple[str, ...], ndarray] = {}

    def can_end(self, stops: Sequence[Sequence[str]], tokens: Int[ndarray, " row"]) -> Bool[ndarray, " row"]:
        """Return which tokens can hold the last character of one of their rows' stop strings; half ones always can."""
        found = np.zeros(len(tokens), dtype=bool)
        rows_of: dict[tuple[str, ...], list[int]] = {}
        for row, strings in enumerate(stops):
            rows_of.setdefault(tuple(strings), []).append(row)
        for strings, rows in rows_of.items():
            found[rows] = self._known(strings, tokens[rows])[tokens[rows]] == 1
        return found

    def _known(self, stops: tuple[str, ...], tokens: Int[ndarray, " some"]) -> Int8[ndarray, " vocab"]:
        """Return for each id whether it can end one of the stop strings, once these tokens are looked at."""
        known = self._can_end.setdefault(stops, np.full(self.vocabulary, -1, dtype=np.int8))
        new = np.unique(tokens[known[tokens] < 0])
        if len(new):
            last = {stop[-1] for stop in stops if stop} | {"\ufffd"}
            inside = [n for n in new.tolist() if n < len(self.tokenizer)]
            known[new] = 0
            known[inside] = [bool(last & set(piece)) for piece in self.tokenizer.batch_decode([[n] for n in inside])]
        return known

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
    until: Sequence[Sequence[str]],
    end_ids: Sequence[int],
    pad_id: int,
    max_new: int,
    device: torch.device,
    decoding: Decoding | None = None,
    uniform: Callable[[int], Float[ndarray, " new"]] | None = None,
    groups: Sequence[Group] | None = None,
    rows: int | None = None,
    done: Callable[[int, str], None] | None = None,
) -> list[str]:
    """Return what follows each prompt, up to a stop string, an end token or `max_new` tokens.

    Args:
        stepper: the model, or several as one; where it lets rows join, a finished row's place is filled.
        prompts: token ids, at least one each.
        stops: the tokenizer's decoder.
        until: for each prompt its stop strings, not part of what is returned.
        end_ids: tokens that end a row.
        pad_id: any token id; padding is masked.
        max_new: tokens to generate at most.
        device: where the model is.
        decoding: greedy where None.
        uniform: for a prompt's number, numbers in [0, 1) that decide the sampling, so that a sample depends on its
            own seed alone, not on the batch it happens to be in.
        groups: in which order prompts are taken; None is one group of all.
        rows: prompts at a time, at most; None is all.
        done: called with a prompt's number and what follows it, as soon as it is there.
    """
    decoding = decoding or Decoding()
    assert decoding.temperature == 0 or uniform is not None, "sampling needs its random numbers"
    queue = [Group(range(len(prompts)))] if groups is None else list(reversed(groups))
    size = rows or len(prompts)
    ends = np.asarray(sorted(end_ids), dtype=np.int64)
    texts = [""] * len(prompts)
    live = _Rows.of([], max_new, None)
    logits: Tensor | None = None
    while queue or len(live):
        while queue and _has_room(stepper, len(live), size):
            group = queue.pop()
            now, later = group.numbers[: size - len(live)], group.numbers[size - len(live) :]
            if later:
                queue.append(Group(later, group.common))
            ids, mask = (t.to(device) for t in _padded([prompts[n] for n in now], pad_id))
            if isinstance(stepper, JoiningStepper):
                new = stepper.join(ids, mask, group.common)
            else:
                new = stepper.begin(ids, mask)
            logits = new if logits is None else torch.cat([logits, new])
            live = live.with_more(_Rows.of(now, max_new, uniform if decoding.temperature else None))
        assert logits is not None
        if decoding.temperature == 0:
            tokens = logits.argmax(1)
        else:
            tokens = _sample(logits, decoding, torch.from_numpy(live.chance()).to(logits.device))
        chosen = tokens.cpu().numpy()
        live.put(chosen)
        ended = np.isin(chosen, ends)
        finished = ended | (live.age == max_new)
        may_end = stops.can_end([until[n] for n in live.numbers.tolist()], chosen)
        for place in np.flatnonzero(~finished & may_end).tolist():
            text = stops.text(live.tokens(place))
            finished[place] = any(stop in text for stop in until[live.numbers[place]] if stop)
        for place in np.flatnonzero(finished).tolist():
            made = live.tokens(place)
            number = int(live.numbers[place])
            texts[number] = cut_at(stops.text(made[:-1] if ended[place] else made), until[number])
            if done is not None:
                done(number, texts[number])
        stay = np.flatnonzero(~finished)
        if len(stay) < len(live):
            live = live.at(stay)
            kept = torch.from_numpy(stay).to(device)
            tokens = tokens[kept]
            if len(stay) or isinstance(stepper, JoiningStepper):
                stepper.keep(kept)
        logits = stepper.step(tokens) if len(stay) else None
    return texts


def _has_room(stepper: Stepper, live: int, size: int) -> bool:
    """Return whether new rows should come in: a few at a time, since reading a prompt makes the others wait."""
    return live == 0 or (isinstance(stepper, JoiningStepper) and size - live >= max(1, size // 4))


def _padded(prompts: Sequence[Sequence[int]], pad_id: int) -> tuple[Int[Tensor, "row token"], Int[Tensor, "row token"]]:
    """Return ids padded on the left, and 1 where a token is."""
    length = max(len(p) for p in prompts)
    ids = torch.full((len(prompts), length), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, length - len(prompt) :] = torch.as_tensor(prompt)
        mask[row, length - len(prompt) :] = 1
    return ids, mask


@dataclass
class _Rows:
    """The rows on their way: which prompt, how many tokens were made, which, and the numbers that decide sampling."""

    numbers: ndarray
    age: ndarray
    made: ndarray
    uniform: ndarray | None

    @classmethod
    def of(cls, numbers: Sequence[int], max_new: int, uniform: Callable[[int], ndarray] | None) -> "_Rows":
        count = len(numbers)
        chances = np.stack([uniform(n) for n in numbers]) if uniform is not None else None
        made = np.zeros((count, max_new), dtype=np.int64)
        return cls(np.asarray(numbers, dtype=np.int64), np.zeros(count, dtype=np.int64), made, chances)

    def __len__(self) -> int:
        return len(self.numbers)

    def with_more(self, new: "_Rows") -> "_Rows":
        parts = [self, new] if len(self) else [new]
        chances = [part.uniform for part in parts if part.uniform is not None]
        return _Rows(
            np.concatenate([part.numbers for part in parts]),
            np.concatenate([part.age for part in parts]),
            np.concatenate([part.made for part in parts]),
            np.concatenate(chances) if chances else None,
        )

    def at(self, places: ndarray) -> "_Rows":
        uniform = None if self.uniform is None else self.uniform[places]
        return _Rows(self.numbers[places], self.age[places], self.made[places], uniform)

    def put(self, tokens: ndarray) -> None:
        self.made[np.arange(len(self)), self.age] = tokens
        self.age += 1

    def tokens(self, place: int) -> list[int]:
        return list(self.made[place, : self.age[place]].tolist())

    def chance(self) -> ndarray:
        assert self.uniform is not None
        return np.asarray(self.uniform[np.arange(len(self)), self.age])


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
