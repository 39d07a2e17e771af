"""Randomness and the train/test split, both from SHA-256 of text: the same in every process and on every machine."""

import hashlib
import random


def digest(*parts: object) -> int:
    """Return a 64-bit number that depends on the parts alone (`hash()` is salted anew in every process)."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def stream(*parts: object) -> random.Random:
    """Return a generator of random numbers that is seeded by the parts alone."""
    return random.Random(digest(*parts))  # noqa: S311 - a reproducible world, not a secret


def held_out(content: str, one_in: int) -> bool:
    """Return whether a piece of content is for testing only; about one in `one_in` is, whatever the seed."""
    return digest("held out", content) % one_in == 0
