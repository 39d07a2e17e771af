"""Attention across the chunks of one block: open, or blocked by what the architecture understands."""

import inspect
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fusebench.errors import ModelError

WAYS = ("restarted positions", "mask", "open")
"""How a model is told about packed chunks, see `choose_way`."""


def model_inputs(model: Any, batch: dict[str, Tensor], way: str) -> dict[str, Any]:
    """Return the forward arguments for a batch of packed blocks.

    Args:
        model: a causal language model.
        batch: with `input_ids`, `position_ids`, `segment_ids`, all [block, token].
        way: one of `WAYS`.
    """
    inputs: dict[str, Any] = {"input_ids": batch["input_ids"], "use_cache": False}
    if _takes_positions(model):
        inputs["position_ids"] = batch["position_ids"]
    if way == "mask":
        inputs["attention_mask"] = block_mask(batch["segment_ids"], model.dtype)
    elif not _takes_positions(model):
        inputs["attention_mask"] = torch.ones_like(batch["input_ids"])
    return inputs


def _takes_positions(model: Any) -> bool:
    return "position_ids" in inspect.signature(model.forward).parameters


def block_mask(segment_ids: Int[Tensor, "block token"], dtype: torch.dtype) -> Float[Tensor, "block 1 token token"]:
    """Return the additive mask that lets a token see itself and what is before it in its own chunk."""
    length = segment_ids.shape[1]
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    causal = torch.ones(length, length, dtype=torch.bool, device=segment_ids.device).tril()
    mask = torch.zeros(same.shape, dtype=dtype, device=segment_ids.device)
    return mask.masked_fill_(~(same & causal), torch.finfo(dtype).min)[:, None]


def choose_way(model: Any, packed_attention: str) -> str:
    """Return how to tell `model` about packed chunks so that no chunk sees another; tried out on the model itself.

    Restarted position ids are preferred, because sliding windows survive them; an explicit mask serves where
    the architecture does not read packing out of positions (MPT).

    Args:
        model: a causal language model.
        packed_attention: `blocked` or `open`.

    Raises:
        ModelError: chunks see each other whichever way is used (recurrent and convolutional layers do that).
    """
    if packed_attention == "open":
        return "open"
    for way in WAYS[:2]:
        if (way == "mask" or _takes_positions(model)) and isolates(model, way):
            return way
    raise ModelError(
        f"`{type(model).__name__}` cannot keep packed chunks apart",
        why="its layers carry state from one chunk to the next",
        fix="set `train.packed_attention: open`",
    )


def isolates(model: Any, way: str) -> bool:
    """Return whether nothing of a block's first chunk reaches its second: the gradient between them is exactly 0.

    A gradient tells more than comparing outputs would: a freshly initialised model attends so evenly that
    another chunk changes its outputs by less than rounding does.
    """
    size, device = 6, next(model.parameters()).device
    vocabulary = model.get_input_embeddings().weight.shape[0]
    positions = torch.arange(2 * size, device=device)
    batch = {
        "input_ids": (positions * 7 % vocabulary)[None].expand(2, -1),
        "position_ids": (positions if way == "open" else positions % size)[None].expand(2, -1),
        "segment_ids": torch.tensor([0, 1], device=device).repeat_interleave(size)[None].expand(2, -1),
    }
    embedded: list[Tensor] = []

    def keep(module: Any, arguments: Any, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[-1]

    was_training = model.training
    model.eval()
    hook = model.get_input_embeddings().register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logits = model(**model_inputs(model, batch, way)).logits
            (gradient,) = torch.autograd.grad(logits[:, size:].float().square().sum(), embedded[0])
    except (RuntimeError, TypeError, ValueError):
        return False  # recurrent models take no four-dimensional mask
    finally:
        hook.remove()
        model.train(was_training)
    return bool((gradient[:, :size] == 0).all())
