"""From chunks to batches: packing into blocks, the order of blocks, and a data set that reads lazily."""

import hashlib
import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64
from numpy import ndarray
from torch import Tensor
from torch.utils.data import Dataset

from fusebench.artifacts import Blocks, SparseDistributions, TokenTable
from fusebench.errors import ArtifactError, RecipeError

IGNORED = -100
"""The target of a position that has none: the last token of a chunk, and padding."""

OPEN_BLOCKS = 512
"""Blocks that packing keeps open; more fill up better, and mix distant chunks."""

HELD_BYTES = 1 << 29
"""Fused rows up to this size are read once and held; larger ones are read from disk batch by batch."""


def pack(tokens: TokenTable, block_tokens: int, seed: int) -> Blocks:
    """Return whole chunks, in an order shuffled by `seed`, packed best-fit into blocks of at most `block_tokens`.

    Raises:
        RecipeError: a chunk is longer than a block, or there are none.
    """
    lengths = np.diff(tokens.offsets)
    if len(lengths) == 0:
        raise RecipeError("there are no chunks to train on", why="the corpus is empty", fix="give more text")
    if lengths.max() > block_tokens:
        raise RecipeError(
            f"`train.block_tokens` is {block_tokens}, but a chunk has {lengths.max()} tokens",
            why="chunks are packed whole",
            fix="make `train.block_tokens` at least `corpus.chunk_tokens`",
        )
    order = np.random.default_rng(seed).permutation(len(lengths))
    members: list[list[int]] = []
    open_blocks: list[tuple[int, int]] = []  # (space left, block), ascending
    for chunk in order.tolist():
        need = int(lengths[chunk])
        at = bisect_left(open_blocks, (need, -1))
        if at < len(open_blocks):
            space, block = open_blocks.pop(at)
        else:
            space, block = block_tokens, len(members)
            members.append([])
        members[block].append(chunk)
        if space - need > 0:
            insort(open_blocks, (space - need, block))
            if len(open_blocks) > OPEN_BLOCKS:
                open_blocks.pop(0)
    flat = np.fromiter((c for block in members for c in block), dtype=np.int64, count=len(order))
    offsets = np.cumsum([0] + [len(block) for block in members]).astype(np.int64)
    return Blocks(flat, offsets, block_tokens)


@dataclass(frozen=True)
class Order:
    """Which block is trained on when: the same for every method of the same blocks, seed and size of training.

    Args:
        blocks: block numbers, one after the other; every pass over them has another order, the first their own.
        batch_blocks: blocks per optimiser step; the last step may have fewer.
    """

    blocks: Int64[ndarray, " visit"]
    batch_blocks: int

    @property
    def steps(self) -> int:
        """Return the number of optimiser steps."""
        return math.ceil(len(self.blocks) / self.batch_blocks)

    def digest(self, blocks: Blocks) -> str:
        """Return a hash of the batches and their order."""
        digest = hashlib.sha256(f"{blocks.digest()} {self.batch_blocks}".encode())
        digest.update(np.ascontiguousarray(self.blocks).tobytes())
        return digest.hexdigest()


def order_of(blocks: Blocks, *, seed: int, batch_blocks: int, epochs: float, steps: int | None) -> Order:
    """Return the order of blocks for `steps` optimiser steps, or for `epochs` passes where `steps` is None."""
    visits = steps * batch_blocks if steps is not None else max(1, round(epochs * len(blocks)))
    passes = [np.arange(len(blocks), dtype=np.int64)]
    while sum(map(len, passes)) < visits:
        passes.append(np.random.default_rng([seed, len(passes)]).permutation(len(blocks)).astype(np.int64))
    return Order(np.concatenate(passes)[:visits], batch_blocks)


class BlockBatches(Dataset[dict[str, Tensor]]):
    """Blocks as tensors, in training order; one element is one visit of a block.

    A batch (`__getitems__`) holds, for B blocks of T tokens with k entries a row:

    - `input_ids` [B, T]; `targets` [B, T], the NEXT token within the same chunk, else `IGNORED`;
    - `position_ids` [B, T], which restart at every chunk where attention is blocked;
    - `segment_ids` [B, T], which chunk of the block; padding is a segment of its own;
    - `step_targets`, the number of targets of the whole optimiser step, by which its losses are divided;
    - where rows are given: `row_ids` [B, T, k] int32 and `row_logprobs` [B, T, k] float32.

    Args:
        tokens: the target's tokens.
        blocks: the packing.
        order: the visits.
        rows: fused or teacher rows at the target's positions, or None.
        pad_id: id put where a block is not full.
        restart: restart positions at every chunk.
    """

    def __init__(
        self,
        tokens: TokenTable,
        blocks: Blocks,
        order: Order,
        rows: SparseDistributions | None,
        *,
        pad_id: int,
        restart: bool,
    ) -> None:
        if rows is not None and not np.array_equal(rows.offsets, tokens.offsets):
            raise ArtifactError(
                f"rows in `{rows.folder}` have another number of positions than the tokens",
                why="they were made from other chunks or another tokenizer",
                fix="align and fuse them anew for this corpus",
            )
        self.tokens, self.blocks, self.order, self.rows = tokens, blocks, order, rows
        self.pad_id, self.restart = pad_id, restart
        lengths = np.diff(tokens.offsets)
        packed = np.concatenate([[0], np.cumsum(lengths[blocks.chunks])])
        self.block_tokens = np.diff(packed[blocks.offsets])
        with_targets = np.concatenate([[0], np.cumsum(np.maximum(lengths[blocks.chunks] - 1, 0))])
        targets = np.diff(with_targets[blocks.offsets])[order.blocks]
        starts = np.arange(0, len(order.blocks), order.batch_blocks)
        self.step_targets = np.add.reduceat(targets, starts)
        self._held: tuple[Int32[ndarray, "token k"], Float32[ndarray, "token k"]] | None = None
        if rows is not None and int(rows.offsets[-1]) * rows.k * 8 <= HELD_BYTES:
            self._held = rows.rows(0, len(rows))

    def __len__(self) -> int:
        return len(self.order.blocks)

    def tokens_by_step(self) -> Int64[ndarray, " step"]:
        """Return how many tokens have been trained on after each optimiser step, padding not counted."""
        seen = np.cumsum(self.block_tokens[self.order.blocks])
        ends = np.minimum(np.arange(1, self.order.steps + 1) * self.order.batch_blocks, len(seen)) - 1
        return seen[ends]

    def __getitem__(self, visit: int) -> dict[str, Tensor]:
        return self.__getitems__([visit])

    def __getitems__(self, visits: Sequence[int]) -> dict[str, Tensor]:
        """Return one batch, see the class."""
        numbers = self.order.blocks[np.asarray(visits)]
        members = [self.blocks.members(int(number)) for number in numbers]
        chunks = np.concatenate(members)
        lengths = np.diff(self.tokens.offsets)[chunks]
        block_of = np.repeat(np.arange(len(members)), [len(m) for m in members])
        # Where each chunk goes in its block, then where each token comes from and goes to.
        before = np.cumsum(lengths) - lengths
        first = np.searchsorted(block_of, np.arange(len(members)))
        within = before - before[first][block_of]
        position = ragged_arange(lengths)
        source = np.repeat(self.tokens.offsets[chunks], lengths) + position
        width = self.blocks.block_tokens
        place = np.repeat(block_of * width + within, lengths) + position
        shape = (len(members), width)
        batch = self._ids(source, place, shape, np.cumsum(lengths) - 1)
        batch |= self._layout(chunks, position, lengths, place, shape, block_of, first)
        batch["step_targets"] = torch.tensor(int(self.step_targets[visits[0] // self.order.batch_blocks]))
        if self.rows is not None:
            batch |= self._rows(chunks, source, place, shape)
        return batch

    def _ids(self, source: ndarray, place: ndarray, shape: tuple[int, int], ends: ndarray) -> dict[str, Tensor]:
        ids = np.full(shape, self.pad_id, dtype=np.int64)
        ids.flat[place] = self.tokens.ids[source]
        following = self.tokens.ids[np.minimum(source + 1, len(self.tokens.ids) - 1)].astype(np.int64)
        # The last token of a chunk is followed by another chunk's first: no target. Empty chunks have no end.
        following[np.unique(ends[ends >= 0])] = IGNORED
        targets = np.full(shape, IGNORED, dtype=np.int64)
        targets.flat[place] = following
        return {"input_ids": torch.from_numpy(ids), "targets": torch.from_numpy(targets)}

    def _layout(
        self,
        chunks: ndarray,
        position: ndarray,
        lengths: ndarray,
        place: ndarray,
        shape: tuple[int, int],
        block_of: ndarray,
        first: ndarray,
    ) -> dict[str, Tensor]:
        segments = np.full(shape, -1, dtype=np.int32)
        segments.flat[place] = np.repeat(np.arange(len(chunks)) - first[block_of], lengths)
        positions = np.broadcast_to(np.arange(shape[1], dtype=np.int64), shape).copy()
        if self.restart:
            padding = segments < 0
            positions -= np.where(padding, (~padding).sum(1, keepdims=True), 0)
            positions.flat[place] = position
        return {"position_ids": torch.from_numpy(positions), "segment_ids": torch.from_numpy(segments)}

    def _rows(self, chunks: ndarray, source: ndarray, place: ndarray, shape: tuple[int, int]) -> dict[str, Tensor]:
        assert self.rows is not None
        if self._held is not None:
            ids, logprobs = self._held[0][source], self._held[1][source]
        else:
            parts = [self.rows.rows(int(chunk), int(chunk) + 1) for chunk in chunks]
            ids, logprobs = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
        all_ids = np.zeros((shape[0] * shape[1], self.rows.k), dtype=np.int32)
        all_logprobs = np.full((shape[0] * shape[1], self.rows.k), -np.inf, dtype=np.float32)
        all_ids[place], all_logprobs[place] = ids, logprobs
        wide = (*shape, self.rows.k)
        return {
            "row_ids": torch.from_numpy(all_ids.reshape(wide)),
            "row_logprobs": torch.from_numpy(all_logprobs.reshape(wide)),
        }


def ragged_arange(lengths: Int64[ndarray, " run"]) -> Int64[ndarray, " item"]:
    """Return 0, 1, ... up to each length, one run after the other."""
    starts = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum()), dtype=np.int64) - np.repeat(starts, lengths)
