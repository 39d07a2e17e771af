"""Token sequences that begin alike as trees, so that a model reads every common beginning once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32, Int64
from numpy import ndarray

from fusebench.evaluate.prefixes import common, in_order

ROOM = 256
"""Tokens that a tree may have in any case; attention grows with their square."""


@dataclass(frozen=True)
class Tree:
    """Sequences joined at their beginnings.

    Args:
        ids: token of each node.
        depth: its place in every sequence that it is part of.
        numbers: of the sequences.
        paths: the nodes of each of them, in order.
    """

    ids: Int32[ndarray, " node"]
    depth: Int64[ndarray, " node"]
    numbers: list[int]
    paths: list[Int64[ndarray, " token"]]

    def seen(self) -> Bool[ndarray, "node node"]:
        """Return which nodes (second) lie on the way from the root to a node (first), itself with them."""
        found = np.zeros((len(self.ids), len(self.ids)), dtype=bool)
        for path in self.paths:
            found[np.ix_(path, path)] |= np.tri(len(path), dtype=bool)
        return found


def grow(sequences: Sequence[Int32[ndarray, " token"]], most: int) -> list[Tree]:
    """Return trees that hold every sequence once; one joins a tree with which it shares half of itself or more.

    Args:
        sequences: of at least one token.
        most: nodes of a tree at most, unless one sequence alone is longer.
    """
    trees: list[Tree] = []
    growing: list[tuple[list[ndarray], list[ndarray], list[int], list[ndarray]]] = []
    nodes = room = 0
    order = in_order(sequences)
    before: Int64[ndarray, " token"] = np.zeros(0, dtype=np.int64)
    for place, number in enumerate(order):
        own = sequences[number]
        shared = common(sequences[order[place - 1]], own) if place else 0
        if not growing or 2 * shared < len(own) or nodes + len(own) - shared > room:
            growing.append(([], [], [], []))
            nodes, shared, room = 0, 0, min(most, max(ROOM, 2 * len(own)))
        ids, depth, numbers, paths = growing[-1]
        path = np.concatenate([before[:shared], nodes + np.arange(len(own) - shared)])
        ids.append(own[shared:])
        depth.append(np.arange(shared, len(own)))
        numbers.append(number)
        paths.append(path)
        nodes, before = nodes + len(own) - shared, path
    for ids, depth, numbers, paths in growing:
        trees.append(Tree(np.concatenate(ids), np.concatenate(depth), numbers, paths))
    return trees
