"""Keys and values of rows behind common prefixes: each prefix once, and of each row only what follows it."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

ROOM = 64
"""Columns that a buffer has at first for new tokens."""


Seen = tuple[Bool[Tensor, "row query prefix"] | None, Bool[Tensor, "row query key"] | None]
"""Which keys of its prefix, and which own ones, a row's query may see; None where it may see all."""


@dataclass
class Segment:
    """Rows next to each other that begin with one prefix.

    Args:
        layers: keys and values of the prefix, [1, kv_head, prefix, size] each; none where there is no prefix.
        rows: how many rows.
    """

    layers: list[tuple[Tensor, Tensor]]
    rows: int

    @property
    def length(self) -> int:
        """Return the prefix's length in tokens."""
        return self.layers[0][0].shape[2] if self.layers else 0


class PrefixCache:
    """Keys and values of common prefixes, once each, and of what follows them, by row.

    Args:
        layers: of the prefix; see `Segment`.
        mask: 1 where a row has a token, [row, token]: the prompts after the prefix, padded on the left.
    """

    def __init__(self, layers: list[tuple[Tensor, Tensor]], mask: Int[Tensor, "row token"]) -> None:
        self.segments = [Segment(layers, len(mask))]
        self.padding = (1 - mask).sum(1)
        self.used = 0
        self.room = mask.shape[1] + ROOM
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}
        self._seen: dict[tuple[int, int | None], Seen] = {}

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the columns seen so far, padding and the longest prefix included."""
        return max(segment.length for segment in self.segments) + self.used

    def next_positions(self) -> Int[Tensor, " row"]:
        """Return the place in its text of each row's next token."""
        return self._prefix_lengths() + self.used - self.padding

    def update(self, key: Tensor, value: Tensor, layer_idx: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Return all keys and values of the rows, without the prefix, after the new ones are put in."""
        end = self.used + key.shape[2]
        for store, new in ((self.keys, key), (self.values, value)):
            old = store.get(layer_idx)
            if old is None or old.shape[2] < end:
                self.room = max(self.room, end)
                grown = new.new_empty(new.shape[0], new.shape[1], self.room, new.shape[3])
                if old is not None:
                    grown[:, :, : self.used] = old[:, :, : self.used]
                store[layer_idx] = old = grown
            old[:, :, self.used : end] = new
        return self.keys[layer_idx][:, :, :end], self.values[layer_idx][:, :, :end]

    def advance(self, tokens: int) -> None:
        """Count the tokens of a forward pass that is over."""
        self._seen = {}
        self.used += tokens
        if self.used == self.room:
            self.room *= 2

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Go on with these rows alone, in ascending order; columns that are padding in all of them go too."""
        self.padding = self.padding[rows]
        lead = int(self.padding.min())
        self.padding -= lead
        for store in (self.keys, self.values):
            for layer, old in store.items():
                kept = old.new_empty(len(rows), *old.shape[1:])
                kept[:, :, : self.used - lead] = old[rows, :, lead : self.used]
                store[layer] = kept
        self.used -= lead
        ends = torch.tensor([segment.rows for segment in self.segments]).cumsum(0)
        counts = torch.bincount(torch.searchsorted(ends, rows.cpu(), right=True), minlength=len(ends)).tolist()
        self._set([Segment(old.layers, count) for old, count in zip(self.segments, counts, strict=True)])

    def join(self, other: "PrefixCache") -> None:
        """Take in the rows of another cache, behind the own ones."""
        used = max(self.used, other.used)
        self.room = max(self.room, other.room, used + 1)
        for mine, others in ((self.keys, other.keys), (self.values, other.values)):
            for layer, new in others.items():
                old = mine[layer]
                both = old.new_empty(len(old) + len(new), old.shape[1], self.room, old.shape[3])
                # Nothing looks at padding, but what weight 0 is multiplied with must be a number.
                both[: len(old), :, : used - self.used] = 0
                both[len(old) :, :, : used - other.used] = 0
                both[: len(old), :, used - self.used : used] = old[:, :, : self.used]
                both[len(old) :, :, used - other.used : used] = new[:, :, : other.used]
                mine[layer] = both
        self.padding = torch.cat([self.padding + (used - self.used), other.padding + (used - other.used)])
        self.used = used
        self._set([*self.segments, *other.segments])

    def _set(self, segments: list[Segment]) -> None:
        found: list[Segment] = []
        for segment in segments:
            if found and segment.rows and (found[-1].layers is segment.layers or not found[-1].length + segment.length):
                found[-1] = Segment(segment.layers, found[-1].rows + segment.rows)
            elif segment.rows:
                found.append(segment)
        self.segments = found
        self._seen = {}

    def _prefix_lengths(self) -> Int[Tensor, " row"]:
        lengths = torch.tensor([segment.length for segment in self.segments])
        counts = torch.tensor([segment.rows for segment in self.segments])
        return lengths.repeat_interleave(counts).to(self.padding.device)

    def seen(self, number: int, queries: int, window: int | None) -> Seen:
        """Return which keys of the prefix, and which own ones, the rows of a segment may see; layers ask the same."""
        if (number, window) not in self._seen:
            self._seen[number, window] = self._find_seen(number, queries, window)
        return self._seen[number, window]

    def _find_seen(self, number: int, queries: int, window: int | None) -> Seen:
        begin = sum(segment.rows for segment in self.segments[:number])
        segment = self.segments[number]
        padding = self.padding[begin : begin + segment.rows, None]
        end = self.used + queries
        windowed = window is not None and segment.length + end > window
        if queries == 1 and not windowed and not bool(padding.any()):
            return None, None
        column = torch.arange(end, device=padding.device)
        query = column[self.used :, None]
        # Padding sees itself, so that every softmax has something to go over.
        own = (column >= padding)[:, None, :] & (column <= query) | (column == query)
        if window is None or not windowed:
            return None, own
        place = segment.length + column - padding
        asking = place[:, self.used :, None]
        before = torch.arange(segment.length, device=padding.device)
        return asking - before < window, own & (asking - place[:, None, :] < window)
