"""Documents of the toy world, of one domain or of a mixture."""

import random
from collections.abc import Callable, Mapping

from fusebench.errors import DataError, suggest
from fusebench.toyworld import code, commonsense, reasoning
from fusebench.toyworld.seeded import stream

DOMAINS = ("reasoning", "commonsense", "code")

_WRITERS: dict[str, Callable[[random.Random, int], str]] = {
    "reasoning": reasoning.document,
    "commonsense": commonsense.document,
    "code": code.document,
}
# Units of a document (see `fill`), so that it has about 110 tokens, and no more than 128 with BOS and EOS, under each
# tokenizer of 1,536 entries that was trained on some of each domain.
_UNITS = {"reasoning": 108, "commonsense": 112, "code": 107}


def documents(domain: str, count: int, seed: int) -> list[str]:
    """Return training documents of one domain; the first n are the same for every count of at least n.

    Raises:
        DataError: there is no such domain.
    """
    if domain not in _WRITERS:
        raise DataError(
            f"no toy domain `{domain}`", why="the toy world has three domains", fix=suggest(domain, DOMAINS)
        )
    rng = stream("documents", domain, seed)
    return [_WRITERS[domain](rng, _UNITS[domain]) for _ in range(count)]


def mixture(weights: Mapping[str, float], documents: int, seed: int) -> list[tuple[str, str]]:
    """Return (domain, text) of so many documents, the domains drawn by weight, in random order.

    Args:
        weights: of each domain; they need not sum to 1.
        documents: how many in all.
        seed: the same seed gives the same text.

    Raises:
        DataError: an unknown domain, or no weight above zero.
    """
    used = {domain: weight for domain, weight in sorted(weights.items()) if weight > 0}
    if not used:
        raise DataError("the toy mixture is empty", why="no domain has a weight above 0", fix="give a weight above 0")
    order = stream("mixture", seed).choices(list(used), list(used.values()), k=documents)
    made = {domain: iter(_documents(domain, order.count(domain), seed)) for domain in used}
    return [(domain, next(made[domain])) for domain in order]


_documents = documents
