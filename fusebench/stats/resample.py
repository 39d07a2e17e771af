"""Seeded resampling of items, as matrices that many rows share, in pieces that fit in memory."""

import zlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

PIECE = 4_000_000
"""Entries of a resampling matrix that are in memory at a time (32 MB)."""


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return a generator of its own for the named thing, so that another task or suite does not move its numbers."""
    return np.random.default_rng([seed & 0xFFFFFFFF, zlib.crc32("\x1f".join(names).encode())])


def draws(rng: np.random.Generator, items: int, resamples: int) -> Iterator[Float64[ndarray, "resample item"]]:
    """Yield how often each item is drawn when `items` are drawn with replacement, piece by piece."""
    for size in _sizes(items, resamples):
        picks = rng.integers(0, items, size=(size, items))
        flat = picks + np.arange(size)[:, None] * items
        yield np.bincount(flat.ravel(), minlength=size * items).reshape(size, items).astype(np.float64)


def signs(rng: np.random.Generator, items: int, resamples: int) -> Iterator[Float64[ndarray, "resample item"]]:
    """Yield random signs, +1 or -1 with equal probability, piece by piece."""
    for size in _sizes(items, resamples):
        packed = np.frombuffer(rng.bytes((size * items + 7) // 8), dtype=np.uint8)
        bits = np.unpackbits(packed, count=size * items).reshape(size, items)
        yield bits.astype(np.float64) * 2 - 1


def _sizes(items: int, resamples: int) -> Iterator[int]:
    step = max(1, PIECE // max(items, 1))
    for start in range(0, resamples, step):
        yield min(step, resamples - start)
