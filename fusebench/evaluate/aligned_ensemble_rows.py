"""A member's next-token logits after given token sequences."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64
from numpy import ndarray
from torch import Tensor

from fusebench.evaluate.forward import LOGITS_AT_ONCE, CausalModel, accepts, vocabulary_of

ROWS_AT_ONCE = 64
"""Sequences in a forward pass, at most."""


class MemberRows:
    """A model that is asked for its rows at chosen places of chosen sequences."""

    def __init__(self, model: CausalModel) -> None:
        self.model = model
        self.positions = accepts(model, "position_ids")
        self.keeps = accepts(model, "logits_to_keep")
        self.vocabulary = vocabulary_of(model)

    def rows(
        self,
        sequences: Sequence[Int32[ndarray, " token"]],
        sequence: Int64[ndarray, " asked"],
        position: Int64[ndarray, " asked"],
    ) -> Iterator[tuple[Int64[ndarray, " some"], Float[Tensor, "some two vocab"]]]:
        """Yield which of the asked rows, and the logits after the token before and after the token itself.

        A part of them comes at a time. Before the first token there are no logits; something else stands for them.

        Args:
            sequences: token ids, padded on the left for a forward pass.
            sequence, position: where each asked row is.
        """
        lengths = np.array([len(s) for s in sequences], dtype=np.int64)
        from_end = lengths[sequence] - position
        reach = np.zeros(len(sequences), dtype=np.int64)
        np.maximum.at(reach, sequence, from_end)
        for members in self._batches(reach, lengths):
            keep = min(int(reach[members].max()) + 1, int(lengths[members].max()))
            logits = self._forward([sequences[n] for n in members], keep)
            place = np.full(len(sequences), -1, dtype=np.int64)
            place[members] = np.arange(len(members))
            own = np.flatnonzero(place[sequence] >= 0)
            column = keep - from_end[own]
            both = np.stack([np.maximum(column - 1, 0), column], 1) + place[sequence[own]][:, None] * keep
            at = torch.from_numpy(both).to(logits.device)
            yield own, logits.reshape(-1, logits.shape[2])[at].float()

    def _batches(self, reach: Int64[ndarray, " sequence"], lengths: Int64[ndarray, " sequence"]) -> Iterator[list[int]]:
        batch: list[int] = []
        # Long ones first; those that need few logits together.
        for number in np.lexsort((-lengths, -reach)):
            wide = int(reach[batch[0]]) + 1 if batch else 0
            full = (len(batch) + 1) * wide * self.vocabulary > LOGITS_AT_ONCE
            if batch and (len(batch) == ROWS_AT_ONCE or full):
                yield batch
                batch = []
            batch.append(int(number))
        if batch:
            yield batch

    def _forward(self, sequences: Sequence[Int32[ndarray, " token"]], keep: int) -> Tensor:
        width = max(len(s) for s in sequences)
        ids = np.zeros((len(sequences), width), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, own in enumerate(sequences):
            ids[row, width - len(own) :] = own
            mask[row, width - len(own) :] = 1
        device = self.model.device
        extra: dict[str, Any] = {}
        if not mask.all():
            extra["attention_mask"] = torch.from_numpy(mask).to(device)
            if self.positions:
                extra["position_ids"] = torch.from_numpy((mask.cumsum(1) - 1).clip(min=0)).to(device)
        if self.keeps:
            extra["logits_to_keep"] = keep
        logits: Tensor = self.model(input_ids=torch.from_numpy(ids).to(device), use_cache=False, **extra).logits
        return logits[:, -keep:]
