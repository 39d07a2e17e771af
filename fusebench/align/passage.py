"""The picture of a passage: groups of linked tokens, target above source, for the terminal and for HTML."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusebench.artifacts import OUTCOMES

if TYPE_CHECKING:
    from fusebench.align.doctor import TextAlignment

SIGNS = {"exact": "=", "mapped": "~", "tied": "?", "one_to_many": "<", "fallback": "x"}
"""One sign per outcome, so that colour is not the only difference."""


@dataclass(frozen=True)
class Group:
    """Tokens of both sides that hang together.

    Args:
        target, source: their spellings, in order.
        outcomes: of the target's tokens.
    """

    target: list[str]
    source: list[str]
    outcomes: list[str]

    @property
    def worst(self) -> str:
        """Return the outcome that stands for the group."""
        return max(self.outcomes, key=OUTCOMES.index, default="fallback")


def groups(text: "TextAlignment", first: int = 0, last: int | None = None) -> list[Group]:
    """Return the groups of the target positions `first` up to `last`, in reading order.

    Two tokens are in one group when links join them, directly or through others. Source tokens without a
    link are shown in the group of the next linked one (under `offset`, they are the pieces that end together
    with it), and target tokens without a link likewise.
    """
    last = len(text.target_ids) if last is None else last
    found: list[Group] = []
    done = text.target_to_source[first][0] if first < last and text.target_to_source[first] else 0
    waiting: list[int] = []
    for p in range(first, last):
        links = text.target_to_source[p]
        if not links:
            waiting.append(p)
            continue
        own, waiting = [*waiting, p], []
        joined = links[0] < done and bool(found)
        source = text.source_tokens[max(done, 0) : links[-1] + 1]
        done = max(done, links[-1] + 1)
        tokens, outcomes = [text.target_tokens[q] for q in own], [text.outcomes[q] for q in own]
        if joined:
            before = found.pop()
            tokens, outcomes = before.target + tokens, before.outcomes + outcomes
            source = before.source + source
        found.append(Group(tokens, source, outcomes))
    if waiting:
        rest = text.source_tokens[done:] if last == len(text.target_ids) else []
        found.append(Group([text.target_tokens[q] for q in waiting], rest, [text.outcomes[q] for q in waiting]))
    return found


def visible(token: str) -> str:
    """Return a token's spelling on one line: blanks and control characters get visible signs."""
    return "".join(_SIGN.get(c, c if c.isprintable() else f"\\x{ord(c):02x}") for c in token) or "∅"


def shortened(token: str, most: int = 18) -> str:
    """Return a visible token, its middle left out where it is long."""
    text = visible(token)
    return text if len(text) <= most else f"{text[: most - 5]}…{text[-4:]}"


_SIGN = {"\n": "⏎", "\t": "⇥", "\r": "␍", " ": "▁"}
