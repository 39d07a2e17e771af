"""What a metric's number means: its direction, its unit, and which one stands for a task that has several."""

from __future__ import annotations

from collections.abc import Iterable

BITS_PER_BYTE = "bits_per_byte"

LOWER_IS_BETTER = frozenset({BITS_PER_BYTE, "bits_per_token", "perplexity", "word_perplexity", "byte_perplexity"})

PREFERENCE = ("exact_match", "acc_norm", "acc", "pass@1", BITS_PER_BYTE)
"""A task with several metrics is represented by the first of these that it has, else by the first by name."""


def lower_is_better(metric: str) -> bool:
    """Return whether a smaller value of the metric is the better one."""
    return metric in LOWER_IS_BETTER


def primary(metrics: Iterable[str]) -> str:
    """Return the metric that stands for a task in averages and tables."""
    return min(metrics, key=lambda name: (PREFERENCE.index(name) if name in PREFERENCE else len(PREFERENCE), name))
