"""A member's next-token logits after given token sequences."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64
from numpy import ndarray
from torch import Tensor

from fusebench.evaluate.ensembles.trees import Tree, grow
from fusebench.evaluate.forward import LOGITS_AT_ONCE, CausalModel, accepts, additive, vocabulary_of
from fusebench.evaluate.packed import packs, window_of

ROWS_AT_ONCE = 64
"""Sequences in a forward pass, at most."""
MASK_AT_ONCE = 1 << 24
"""Entries of the masks of trees in a forward pass, at most (64 MiB in float32)."""

Found = tuple[Int64[ndarray, " some"], Float[Tensor, "place vocab"], Int64[ndarray, "some two"]]


class MemberRows:
    """A model that is asked for its rows at chosen places of chosen sequences.

    Sequences that begin alike are read as a tree where the model's attention takes a mask of its own, tried once on a
    few tokens; else, and where a sliding window would matter, each is read by itself.
    """

    def __init__(self, model: CausalModel) -> None:
        self.model = model
        self.positions = accepts(model, "position_ids")
        self.keeps = accepts(model, "logits_to_keep")
        self.vocabulary = vocabulary_of(model)

    @cached_property
    def window(self) -> int:
        """Return the nodes that a tree may have; 0 where the model reads no trees."""
        with torch.no_grad():
            return window_of(self.model) if packs(self.model) else 0

    def rows(
        self,
        sequences: Sequence[Int32[ndarray, " token"]],
        sequence: Int64[ndarray, " asked"],
        position: Int64[ndarray, " asked"],
    ) -> Iterator[Found]:
        """Yield which of the asked rows, logits, and where among those the token before and the token itself are.

        A part of them comes at a time. Before the first token there are no logits; something else stands for them.

        Args:
            sequences: token ids.
            sequence, position: where each asked row is.
        """
        lengths = np.array([len(s) for s in sequences], dtype=np.int64)
        trees = grow([s for s in sequences if len(s) <= self.window], self.window) if self.window else []
        short = np.flatnonzero(lengths <= self.window)
        joined = [Tree(t.ids, t.depth, [int(short[n]) for n in t.numbers], t.paths) for t in trees if len(t.paths) > 1]
        inside = np.zeros(len(sequences), dtype=bool)
        inside[[n for tree in joined for n in tree.numbers]] = True
        yield from self._from_trees(joined, sequence, position)
        yield from self._from_rows(sequences, np.flatnonzero(~inside), lengths, sequence, position)

    def _from_rows(
        self,
        sequences: Sequence[Int32[ndarray, " token"]],
        numbers: Int64[ndarray, " alone"],
        lengths: Int64[ndarray, " sequence"],
        sequence: Int64[ndarray, " asked"],
        position: Int64[ndarray, " asked"],
    ) -> Iterator[Found]:
        from_end = lengths[sequence] - position
        reach = np.zeros(len(sequences), dtype=np.int64)
        np.maximum.at(reach, sequence, from_end)
        for members in self._batches(numbers, reach, lengths):
            keep = min(int(reach[members].max()) + 1, int(lengths[members].max()))
            logits = self._read([sequences[n] for n in members], keep)
            place = np.full(len(sequences), -1, dtype=np.int64)
            place[members] = np.arange(len(members))
            own = np.flatnonzero(place[sequence] >= 0)
            column = keep - from_end[own]
            both = np.stack([np.maximum(column - 1, 0), column], 1) + place[sequence[own]][:, None] * keep
            yield own, logits.flatten(0, 1), both

    def _batches(
        self,
        numbers: Int64[ndarray, " alone"],
        reach: Int64[ndarray, " sequence"],
        lengths: Int64[ndarray, " sequence"],
    ) -> Iterator[list[int]]:
        batch: list[int] = []
        # Long ones first; those that need few logits together.
        for number in numbers[np.lexsort((-lengths[numbers], -reach[numbers]))]:
            wide = int(reach[batch[0]]) + 1 if batch else 0
            full = (len(batch) + 1) * wide * self.vocabulary > LOGITS_AT_ONCE
            if batch and (len(batch) == ROWS_AT_ONCE or full):
                yield batch
                batch = []
            batch.append(int(number))
        if batch:
            yield batch

    def _read(self, sequences: Sequence[Int32[ndarray, " token"]], keep: int) -> Tensor:
        """Return the last `keep` logits of sequences padded on the left."""
        width = max(len(s) for s in sequences)
        ids = np.zeros((len(sequences), width), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, own in enumerate(sequences):
            ids[row, width - len(own) :] = own
            mask[row, width - len(own) :] = 1
        extra: dict[str, Any] = {}
        if not mask.all():
            extra["attention_mask"] = torch.from_numpy(mask).to(self.model.device)
            if self.positions:
                places = (mask.cumsum(1) - 1).clip(min=0)
                extra["position_ids"] = torch.from_numpy(places).to(self.model.device)
        return self._forward(ids, keep, extra)

    def _from_trees(
        self, trees: Sequence[Tree], sequence: Int64[ndarray, " asked"], position: Int64[ndarray, " asked"]
    ) -> Iterator[Found]:
        asked: dict[int, list[int]] = {}
        for number, own in enumerate(sequence):
            asked.setdefault(int(own), []).append(number)
        planned = [_Planned(tree, asked, position) for tree in trees]
        planned.sort(key=lambda plan: (len(plan.tree.ids), plan.keep), reverse=True)
        batch: list[_Planned] = []
        for plan in planned:
            keep = max((other.keep for other in [*batch, plan]), default=0)
            width = len(batch[0].tree.ids) if batch else 0
            full = (len(batch) + 1) * max(width**2 * LOGITS_AT_ONCE // MASK_AT_ONCE, keep * self.vocabulary)
            if batch and (len(batch) == ROWS_AT_ONCE or full > LOGITS_AT_ONCE):
                yield self._read_trees(batch)
                batch = []
            batch.append(plan)
        if batch:
            yield self._read_trees(batch)

    def _read_trees(self, batch: Sequence["_Planned"]) -> Found:
        width, keep = max(len(plan.tree.ids) for plan in batch), max(plan.keep for plan in batch)
        ids = np.zeros((len(batch), width), dtype=np.int64)
        places = np.zeros_like(ids)
        seen = np.zeros((len(batch), width, width), dtype=bool)
        found, columns = [], []
        for row, plan in enumerate(batch):
            first = width - len(plan.order)
            ids[row, first:], places[row, first:] = plan.tree.ids[plan.order], plan.tree.depth[plan.order]
            seen[row, first:, first:] = plan.tree.seen()[np.ix_(plan.order, plan.order)]
            found.append(plan.asked)
            columns.append(row * keep + keep - plan.from_end)
        device, dtype = self.model.device, getattr(self.model, "dtype", torch.float32)
        mask = additive(torch.from_numpy(seen).to(device), dtype)
        extra = {"attention_mask": mask, "position_ids": torch.from_numpy(places).to(device)}
        return np.concatenate(found), self._forward(ids, keep, extra).flatten(0, 1), np.concatenate(columns)

    def _forward(self, ids: Int64[ndarray, "row token"], keep: int, extra: dict[str, Any]) -> Tensor:
        if self.keeps:
            extra["logits_to_keep"] = keep
        tokens = torch.from_numpy(ids).to(self.model.device)
        with torch.no_grad():
            logits: Tensor = self.model(input_ids=tokens, use_cache=False, **extra).logits
        return logits[:, -keep:]


class _Planned:
    """A tree with its nodes in the order in which they are fed: those of whom logits are wanted come last."""

    def __init__(self, tree: Tree, asked: dict[int, list[int]], position: Int64[ndarray, " asked"]) -> None:
        self.tree = tree
        numbers, nodes = [], []
        for name, path in zip(tree.numbers, tree.paths, strict=True):
            own = np.array(asked[name], dtype=np.int64)
            at = position[own]
            numbers.append(own)
            nodes.append(np.stack([path[np.maximum(at - 1, 0)], path[at]], 1))
        both = np.concatenate(nodes)
        wanted = np.zeros(len(tree.ids), dtype=bool)
        wanted[both] = True
        self.keep = int(wanted.sum())
        self.order = np.argsort(wanted, kind="stable")
        from_end = np.empty(len(tree.ids), dtype=np.int64)
        from_end[self.order] = len(tree.ids) - np.arange(len(tree.ids))
        self.asked: Int64[ndarray, " some"] = np.concatenate(numbers)
        self.from_end: Int64[ndarray, "some two"] = from_end[both]
