"""Generation of rows that begin alike: the common prefix is read once and its keys and values are kept once.

Few-shot prompts of one task and samples of one prompt differ only in their last tokens. Attention over the prefix is
then one matrix product for all rows, and what is new has room in buffers that grow by doubling.

Source: Juravsky et al. 2024, "Hydragen: High-Throughput LLM Inference with Shared Prefixes" (arXiv:2402.05099). Here
the two parts share one softmax instead of being joined by their log-sum-exps: one new token a row makes few scores.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from fusebench.evaluate.forward import CausalModel, accepts, agree
from fusebench.evaluate.generate import ModelStepper, Stepper
from fusebench.evaluate.prefix_cache import PrefixCache, Seen

NAME = "fusebench_shared_prefix"
SCORES_AT_ONCE = 1 << 25
"""Attention scores held at a time (128 MiB in float32)."""
LAYERS = {"full_attention", "sliding_attention"}


class UnknownAttentionError(Exception):
    """The model's attention does something that is not computed here, such as sinks or a position bias."""


_active: ContextVar[PrefixCache] = ContextVar("prefix_cache")


def attend(
    module: Any,
    query: Float[Tensor, "row head query size"],
    key: Float[Tensor, "row kv_head key size"],
    value: Float[Tensor, "row kv_head key size"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "row query head size"], None]:
    """Return attention over the active cache's prefix and the rows' own keys, as transformers' interface wants it.

    Raises:
        UnknownAttentionError: the module asks for a term that is not known here.
    """
    unknown = [name for name in ("s_aux", "position_bias") if kwargs.get(name) is not None]
    if unknown or attention_mask is not None:
        raise UnknownAttentionError(", ".join(unknown) or "attention_mask")
    cache = _active.get()
    rows, heads, queries, size = query.shape
    scaled = query * (size**-0.5 if scaling is None else scaling)
    out = query.new_empty(rows, queries, heads, value.shape[3])
    end = 0
    for number, segment in enumerate(cache.segments):
        begin, end = end, end + segment.rows
        prefix = segment.layers[module.layer_idx] if segment.layers else None
        seen = cache.seen(number, queries, sliding_window)
        at_once = max(1, SCORES_AT_ONCE // (heads * queries * (segment.length + key.shape[2])))
        for at in range(begin, end, at_once):
            part = slice(at, min(at + at_once, end))
            before, own = (None if mask is None else mask[at - begin : part.stop - begin] for mask in seen)
            found = _attend(scaled[part], key[part], value[part], prefix, (before, own), softcap)
            out[part] = found.transpose(1, 2)
    return out, None


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prefix: tuple[Tensor, Tensor] | None,
    seen: Seen,
    softcap: float | None,
) -> Tensor:
    """Return attention of scaled queries over a prefix of all rows and over the rows' own keys, under one softmax."""
    rows, heads, queries, size = query.shape
    groups = key.shape[1]
    shared = heads // groups
    grouped = query.reshape(rows, groups, shared * queries, size)
    if prefix is None and softcap is None:
        mask = None if seen[1] is None else seen[1][:, None]
        if queries == 1:
            together = scaled_dot_product_attention(grouped, key, value, attn_mask=mask, scale=1.0)
            return together.reshape(rows, heads, queries, -1)
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
        return scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)
    shape = rows, groups, shared, queries, -1
    own = _masked((grouped @ key.transpose(2, 3)).view(shape), seen[1], softcap)
    top = own.amax(4, keepdim=True)
    if prefix is None:
        own = own.sub_(top).exp_()
        out = own.to(value.dtype).view(rows, groups, shared * queries, -1) @ value
        return (out.view(shape) / own.sum(4, keepdim=True)).to(value.dtype).view(rows, heads, queries, -1)
    # The prefix's scores are [group, row, ...]: one product for all rows.
    alike = groups, rows, shared, queries, -1
    together = grouped.transpose(0, 1).reshape(groups, rows * shared * queries, size)
    before = together @ prefix[0][0].transpose(1, 2)
    before = _masked(before.view(alike).transpose(0, 1), seen[0], softcap)
    top = torch.maximum(top, before.amax(4, keepdim=True))
    own, before = own.sub_(top).exp_(), before.sub_(top).exp_()
    total = own.sum(4, keepdim=True) + before.sum(4, keepdim=True)
    out = (own.to(value.dtype).view(rows, groups, shared * queries, -1) @ value).view(shape)
    weights = before.to(value.dtype).transpose(0, 1).reshape(groups, rows * shared * queries, -1)
    out = out + (weights @ prefix[1][0]).view(alike).transpose(0, 1)
    return (out / total).to(value.dtype).reshape(rows, heads, queries, -1)


def _masked(scores: Tensor, seen: Tensor | None, softcap: float | None) -> Tensor:
    """Return scores [row, group, shared, query, key] in float32, capped, the least where a key is not seen."""
    scores = scores.float()
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if seen is None:
        return scores
    return scores.masked_fill(~seen[:, None, None], torch.finfo(torch.float32).min)


class SharedPrefixStepper:
    """One transformers model whose rows share the keys and values of their common prefixes; rows may come and go."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.keeps = accepts(model, "logits_to_keep")
        self.cache: PrefixCache | None = None
        self._latest: tuple[Tensor, list[tuple[Tensor, Tensor]]] | None = None

    def begin(self, ids: Int[Tensor, "row token"], mask: Int[Tensor, "row token"]) -> Float[Tensor, "row vocab"]:
        """Return the logits after left-padded prompts."""
        self.cache = None
        return self.join(ids, mask, common_prefix(ids, mask))

    def join(
        self, ids: Int[Tensor, "row token"], mask: Int[Tensor, "row token"], common: int
    ) -> Float[Tensor, "row vocab"]:
        """Return the logits after left-padded prompts, which become the last rows; `common` first tokens are shared."""
        lengths = mask.sum(1)
        assert common < int(lengths.min()), "every row has a token of its own"
        longest = int(lengths.argmax())
        layers = self._prefix(ids[longest, ids.shape[1] - int(lengths[longest]) :][:common]) if common else []
        # What is left of each prompt, again padded on the left.
        lengths = lengths - common
        width = int(lengths.max())
        ids, mask = ids[:, -width:], (torch.arange(width, device=mask.device) >= width - lengths[:, None]).to(mask)
        cache = PrefixCache(layers, mask)
        logits = self._forward(cache, ids, common + (mask.cumsum(1) - 1).clamp(min=0))
        if self.cache is None:
            self.cache = cache
        else:
            self.cache.join(cache)
        return logits

    def step(self, tokens: Int[Tensor, " row"]) -> Float[Tensor, "row vocab"]:
        """Return the logits after one more token per row."""
        assert self.cache is not None
        return self._forward(self.cache, tokens[:, None], self.cache.next_positions()[:, None])

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Go on with these rows alone; with none, the next ones begin anew."""
        assert self.cache is not None
        if len(rows):
            self.cache.keep(rows)
        else:
            self.cache = None

    def _prefix(self, ids: Int[Tensor, " token"]) -> list[tuple[Tensor, Tensor]]:
        if self._latest is None or not torch.equal(self._latest[0], ids):
            self._latest = ids.clone(), self._read(ids)
        return self._latest[1]

    def _read(self, ids: Int[Tensor, " token"]) -> list[tuple[Tensor, Tensor]]:
        from transformers import DynamicCache

        # Without a config every layer keeps all its keys: a sliding window is a matter of the mask here.
        cache = DynamicCache()
        extra = {"logits_to_keep": 1} if self.keeps else {}
        self.model(input_ids=ids[None], past_key_values=cache, use_cache=True, **extra)
        return [(layer.keys, layer.values) for layer in cache.layers]

    def _forward(self, cache: PrefixCache, ids: Tensor, positions: Tensor) -> Tensor:
        extra = {"logits_to_keep": 1} if self.keeps else {}
        with _attention(self.model), _use(cache):
            out = self.model(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True, **extra)
        cache.advance(ids.shape[1])
        logits: Tensor = out.logits[:, -1].float()
        return logits


def common_prefix(ids: Int[Tensor, "row token"], mask: Int[Tensor, "row token"]) -> int:
    """Return how many first tokens all left-padded prompts share; each keeps at least its last one to itself."""
    lengths = mask.sum(1)
    shortest = int(lengths.min())
    start = ids.shape[1] - lengths
    heads = ids.gather(1, start[:, None] + torch.arange(shortest, device=ids.device))
    equal = (heads == heads[:1]).all(0).int().cumprod(0)
    return min(int(equal.sum()), shortest - 1)


@contextmanager
def _use(cache: PrefixCache) -> Iterator[None]:
    token = _active.set(cache)
    try:
        yield
    finally:
        _active.reset(token)


@contextmanager
def _attention(model: Any) -> Iterator[None]:
    """Let the model attend in our way while this lasts."""
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


_known: "WeakKeyDictionary[Any, bool]" = WeakKeyDictionary()


def stepper_of(model: Any) -> Stepper:
    """Return the fastest way to generate that agrees with the model's own forward pass."""
    if model not in _known:
        _known[model] = _fits(model) and _agrees(model)
    return SharedPrefixStepper(model) if _known[model] else ModelStepper(model)


def _fits(model: CausalModel) -> bool:
    """Return whether every layer is plain attention behind transformers' interface."""
    from transformers import AttentionInterface, PreTrainedModel

    if not isinstance(model, PreTrainedModel) or not model._can_set_attn_implementation():
        return False
    AttentionInterface.register(NAME, attend)
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or ()
    return accepts(model, "position_ids") and set(kinds) <= LAYERS


@torch.inference_mode()
def _agrees(model: Any) -> bool:
    """Return whether rows of unequal length behind a prefix get the log-probabilities that they get alone."""
    numbers = torch.arange(1, 14, device=model.device) % model.config.get_text_config().vocab_size
    rows = [numbers[:8], torch.cat([numbers[:6], numbers[8:13]])]
    width = max(map(len, rows))
    mask = torch.stack([torch.arange(width) >= width - len(row) for row in rows]).to(numbers)
    ids = torch.stack([torch.nn.functional.pad(row, (width - len(row), 0)) for row in rows])
    stepper = SharedPrefixStepper(model)
    try:
        first = stepper.begin(ids, mask)
        second = stepper.step(numbers[:2])
    except UnknownAttentionError:
        return False
    for number, row in enumerate(rows):
        whole = torch.cat([row, numbers[number : number + 1]])
        expected = model(whole[None]).logits[0, -2:].float().log_softmax(1)
        found = torch.stack([first[number], second[number]]).log_softmax(1)
        if not agree(found, expected, model.dtype):
            return False
    return True
