"""Keys and values of a model whose rows change at their ends: texts that are tokenized anew after every step."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Int32, Int64
from numpy import ndarray
from torch import Tensor

from fusebench.evaluate.forward import CausalModel, accepts
from fusebench.evaluate.prefixes import common

FED = 2
"""Tokens that are fed at least, as logits are wanted after each of the last two."""


class MemberCache:
    """A batch of token sequences and the keys and values of the model that has read them.

    A row may go on with other tokens than it ended with; what it has in common with before is not read again. All
    rows are fed equally many tokens, so that each stays in one piece, the padding on its left: that holds for
    every kind of position (rotary, learned, ALiBi). A model that keeps anything but plain keys and values reads its
    rows anew each time.

    Args:
        model: a transformers model.
    """

    def __init__(self, model: CausalModel) -> None:
        self.model = model
        self.positions = accepts(model, "position_ids")
        self.keeps = accepts(model, "logits_to_keep")
        self.plain = _keeps_keys(model)
        self.cached: list[Int32[ndarray, " token"]] = []
        self.cache: Any = None
        self.width = 0

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Go on with these rows alone."""
        self.cached = [self.cached[int(row)] for row in rows]
        if not len(rows):
            self.cache = None
        if self.cache is not None:
            self.cache.batch_select_indices(rows)

    def join(self, other: "MemberCache") -> None:
        """Take in the rows of another cache of the same model, behind the own ones."""
        assert other.model is self.model, "two models"
        if self.cache is not None and other.cache is not None:
            width = max(self.width, other.width)
            for own, new in zip(self._layers(), other._layers(), strict=True):
                for name in ("keys", "values"):
                    parts = [
                        torch.nn.functional.pad(getattr(layer, name), (0, 0, width - columns, 0))
                        for layer, columns in ((own, self.width), (new, other.width))
                    ]
                    setattr(own, name, torch.cat(parts))
            self.width = width
        elif not self.cached:
            self.cache, self.width = other.cache, other.width
        self.cached += other.cached

    @torch.no_grad()
    def read(self, sequences: Sequence[Int32[ndarray, " token"]]) -> Float[Tensor, "row two vocab"]:
        """Return the logits after the last token but one and after the last, for every row of the batch.

        Args:
            sequences: all tokens of each row, at least one; of a row with one token only the last logits hold.
        """
        lengths = np.array([len(own) for own in sequences])
        if self.cache is None:
            # Nothing was read yet, or a model of this kind reads all anew.
            self.cached = [own[:0] for own in sequences]
        alike = np.array([common(old, new) for old, new in zip(self.cached, sequences, strict=True)])
        fed = int((lengths - np.minimum(alike, np.maximum(lengths - FED, 0))).max())
        kept = np.maximum(lengths - fed, 0)
        past = self._rearrange(kept)
        ids = np.zeros((len(sequences), fed), dtype=np.int64)
        mask = np.zeros((len(sequences), past + fed), dtype=np.int64)
        for row, (own, start) in enumerate(zip(sequences, kept, strict=True)):
            ids[row, fed - (len(own) - start) :] = own[start:]
            mask[row, past + fed - len(own) :] = 1
        device = self.model.device
        extra: dict[str, Any] = {"logits_to_keep": FED} if self.keeps else {}
        if self.positions:
            places = (mask.cumsum(1) - 1).clip(min=0)[:, past:]
            extra["position_ids"] = torch.from_numpy(places).to(device)
        if self.plain:
            extra["past_key_values"] = self.cache
        out = self.model(
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=torch.from_numpy(mask).to(device),
            use_cache=self.plain,
            **extra,
        )
        self.cached, self.width = list(sequences), past + fed
        logits: Tensor = out.logits[:, -FED:].float()
        return logits if logits.shape[1] == FED else torch.cat([logits, logits], 1)

    def _rearrange(self, kept: Int64[ndarray, " row"]) -> int:
        """Cut the cached rows to their first `kept` tokens, again flush right; return the columns that are left."""
        from transformers import DynamicCache

        past = int(kept.max())
        if past == 0:
            # Without a config every layer keeps all its keys: a sliding window is a matter of the mask here.
            self.cache = DynamicCache() if self.plain else None
            return 0
        before = np.array([len(own) for own in self.cached])
        shift = (self.width - before) - (past - kept)
        if (shift == shift[0]).all() and shift[0] >= 0:
            part = slice(int(shift[0]), int(shift[0]) + past)
            for layer in self._layers():
                layer.keys, layer.values = layer.keys[..., part, :], layer.values[..., part, :]
            return past
        column = torch.from_numpy(np.maximum(np.arange(past) + shift[:, None], 0)).to(self.model.device)
        for layer in self._layers():
            at = column[:, None, :, None]
            keys, values = layer.keys, layer.values
            layer.keys = keys.gather(2, at.expand(-1, keys.shape[1], -1, keys.shape[3]))
            layer.values = values.gather(2, at.expand(-1, values.shape[1], -1, values.shape[3]))
        return past

    def _layers(self) -> list[Any]:
        return [layer for layer in self.cache.layers if layer.is_initialized]


def _keeps_keys(model: CausalModel) -> bool:
    """Return whether the model's memory is the keys and values of its tokens, and nothing else."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    if not accepts(model, "past_key_values"):
        return False
    layers = DynamicCache(config=model.config).layers
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
