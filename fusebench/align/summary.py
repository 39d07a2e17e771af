"""What alignment achieved, in numbers: outcomes by kind of text, probability lost, the worst tokens."""

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray

from fusebench.align.links import Links, Pair
from fusebench.artifacts import OUTCOMES, TokenTable
from fusebench.artifacts.alignment import WITH_ROW
from fusebench.artifacts.store import atomic_write

NAME = "summary.json"
KINDS = ("letters", "digits", "whitespace", "code", "non_latin")
"""Kinds of token: Latin letters, digits, blanks, punctuation and operators (what code is made of), all else."""

_WORST = 12
_AROUND = 24


@dataclass(frozen=True)
class WorstToken:
    """A target token that often gets no source row.

    Args:
        token: its spelling.
        lost, count: positions without a source row, and all its positions.
        example: text around one lost position.
        source: the source's tokens there.
    """

    token: str
    lost: int
    count: int
    example: str
    source: list[str]


@dataclass(frozen=True)
class Summary:
    """Shares of target positions of text by outcome, whole and by kind of token.

    Args:
        positions: number of target positions of text (special tokens left out).
        shares: outcome -> share; they sum to 1.
        kinds: kind -> outcome -> share within the kind; kinds without a position are left out.
        kind_positions: kind -> number of positions.
        mass_lost: mean probability of a source row that reaches no target token.
        worst: target tokens that most often get no source row, worst first.
    """

    positions: int
    shares: dict[str, float]
    kinds: dict[str, dict[str, float]]
    kind_positions: dict[str, int]
    mass_lost: float
    worst: list[WorstToken] = field(default_factory=list)

    @property
    def with_row(self) -> float:
        """Return the share of positions with a real source row."""
        return sum(self.shares[OUTCOMES[code]] for code in WITH_ROW)

    def save(self, folder: Path) -> None:
        """Write `summary.json`."""
        atomic_write(folder / NAME, json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, folder: Path) -> "Summary":
        """Return the summary of a folder."""
        got = json.loads((folder / NAME).read_text())
        return cls(**{**got, "worst": [WorstToken(**w) for w in got["worst"]]})


def summarise(
    pair: Pair,
    found: Links,
    source: TokenTable,
    target: TokenTable,
    texts: Sequence[str],
    mass_lost: float,
) -> Summary:
    """Return what alignment achieved on these texts; see `Summary`."""
    text = np.flatnonzero(~target.special)
    outcomes = found.spans.outcomes[text]
    kinds = _kinds(pair, target.ids[text])
    counted = {kind: outcomes[kinds == number] for number, kind in enumerate(KINDS)}
    return Summary(
        len(text),
        _shares(outcomes),
        {kind: _shares(own) for kind, own in counted.items() if len(own)},
        {kind: len(own) for kind, own in counted.items() if len(own)},
        float(mass_lost),
        _worst(pair, text[~np.isin(outcomes, WITH_ROW)], source, target, texts),
    )


def _shares(outcomes: ndarray) -> dict[str, float]:
    counts = np.bincount(outcomes, minlength=len(OUTCOMES))
    return dict(zip(OUTCOMES, (counts / max(1, len(outcomes))).tolist(), strict=True))


def _kinds(pair: Pair, ids: ndarray) -> Int64[ndarray, " token"]:
    unique, back = np.unique(ids, return_inverse=True)
    known = np.array([KINDS.index(kind_of(pair.target.text[i] or "")) for i in unique], dtype=np.int64)
    return known[back.reshape(-1)] if len(unique) else np.zeros(0, dtype=np.int64)


def kind_of(spelling: str) -> str:
    """Return the kind of a token (one of `KINDS`) from its spelling; the rarest kind that it holds names it."""
    text = spelling.replace("▁", " ")
    found = {_kind_of_character(c) for c in text}
    return next((kind for kind in ("non_latin", "digits", "letters", "code") if kind in found), "whitespace")


def _kind_of_character(c: str) -> str:
    if c.isspace() or unicodedata.category(c) == "Cc":
        return "whitespace"
    if c.isdecimal() and c.isascii():
        return "digits"
    if c.isalpha():
        return "letters" if c.isascii() or "LATIN" in unicodedata.name(c, "") else "non_latin"
    # Typographic quotes and dashes stand in Latin text; pictures, other symbols and parts of characters do not.
    return "code" if c.isascii() or unicodedata.category(c)[0] == "P" else "non_latin"


def _worst(
    pair: Pair, lost: Int64[ndarray, " lost"], source: TokenTable, target: TokenTable, texts: Sequence[str]
) -> list[WorstToken]:
    if not len(lost):
        return []
    ids, first, counts = np.unique(target.ids[lost], return_index=True, return_counts=True)
    # Most often lost first; of equals, the one seen first.
    order = np.lexsort((first, -counts))[:_WORST]
    everywhere: Bool[ndarray, " target"] = ~target.special
    found = []
    for number in order.tolist():
        index, position = int(ids[number]), int(lost[first[number]])
        total = int(((target.ids == index) & everywhere).sum())
        example, pieces = _example(pair, position, source, target, texts)
        found.append(WorstToken(pair.target.shown(index), int(counts[number]), total, example, pieces))
    return found


def _example(
    pair: Pair, position: int, source: TokenTable, target: TokenTable, texts: Sequence[str]
) -> tuple[str, list[str]]:
    """Return the text around a target position, the token in angle quotes, and the source's tokens there."""
    chunk = int(np.searchsorted(target.offsets, position, side="right")) - 1
    data = texts[chunk].encode()
    start, stop = int(target.starts[position]), int(target.ends[position])
    parts = (data[max(0, start - _AROUND) : start], data[start:stop], data[stop : stop + _AROUND])
    before, own, after = (part.decode("utf-8", "replace").strip("\ufffd") for part in parts)
    span = source.span(chunk)
    touching = (source.starts[span] < max(stop, start + 1)) & (source.ends[span] > start) & ~source.special[span]
    return f"{before}‹{own}›{after}", [pair.source.shown(int(i)) for i in source.ids[span][touching]]
