"""Documents filled up to a length."""

import re
from collections.abc import Callable

_TRIES = 4
_UNIT = re.compile(r"[^\W\d]+|\d|[^\w\s]+|\n+|  +")


def units(text: str) -> int:
    """Return the number of words, digits, runs of signs and line ends: about the tokens of a toy tokenizer."""
    return len(_UNIT.findall(text))


def fill(draw: Callable[[], str], between: str, size: int) -> str:
    """Return pieces of text joined by `between`, at most `size` units; at least one piece.

    A document is one chunk and one chunk is mostly one block, so a short document is padding in training:
    a piece that does not fit is drawn again a few times.
    """
    parts = [draw()]
    used, misses, gap = units(parts[0]), 0, units(between)
    while misses < _TRIES:
        part = draw()
        more = gap + units(part)
        if used + more <= size:
            parts.append(part)
            used += more
        else:
            misses += 1
    return between.join(parts)
