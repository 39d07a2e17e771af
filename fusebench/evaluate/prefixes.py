"""Prompts that begin alike."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32
from numpy import ndarray

from fusebench.evaluate.generate import Group

SHARED_FROM = 256
"""Tokens of a common prefix from which on rows are put together for its sake; below, full batches matter more."""


def in_order(sequences: Sequence[Int32[ndarray, " token"]]) -> list[int]:
    """Return the numbers of the sequences sorted by their tokens: the one before shares the most."""
    return sorted(range(len(sequences)), key=lambda n: sequences[n].astype(">u4").tobytes())


def common(left: Int32[ndarray, " token"], right: Int32[ndarray, " token"]) -> int:
    """Return how many first tokens are the same."""
    size = min(len(left), len(right))
    differ = np.flatnonzero(left[:size] != right[:size])
    return int(differ[0]) if len(differ) else size


def group_prompts(prompts: Sequence[Sequence[int]]) -> list[Group]:
    """Return the prompts in groups with a long common prefix, then the rest, the longest first."""
    ids = [np.asarray(prompt, dtype=np.int32) for prompt in prompts]
    found: list[tuple[list[int], int]] = []
    for number in in_order(ids):
        # In this order the common prefix with a group's first prompt only gets shorter; each keeps its last token.
        shared = common(ids[found[-1][0][0]], ids[number]) if found else 0
        shared = min(shared, found[-1][1] if found else 0, len(ids[number]) - 1)
        if shared >= SHARED_FROM:
            found[-1][0].append(number)
            found[-1] = found[-1][0], shared
        else:
            found.append(([number], len(ids[number]) - 1))
    groups = [Group(numbers, shared) for numbers, shared in found if len(numbers) > 1]
    alone = sorted((n[0] for n, _ in found if len(n) == 1), key=lambda n: len(ids[n]), reverse=True)
    return [*groups, Group(alone)] if alone else groups
