"""The doctor's findings in a terminal."""

from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.console import Group as Stack
from rich.table import Table
from rich.text import Text

from fusebench.align.passage import SIGNS, Group, groups, shortened, visible
from fusebench.artifacts import OUTCOMES

if TYPE_CHECKING:
    from fusebench.align.doctor import Diagnosis, VocabularyReport

STYLES = {"exact": "green", "mapped": "cyan", "tied": "yellow", "one_to_many": "magenta", "fallback": "red"}
_PASSAGE = 60
_STEPS = ((0, "0 (exact)"), (1, "1"), (2, "2"), (3, "3"), (4, "4"), (8, "5 to 8"), (16, "9 to 16"), (1 << 30, "17 up"))


def render(diagnosis: "Diagnosis") -> Stack:
    """Return tables of shares and worst tokens, and the picture of a passage."""
    s = diagnosis.summary
    head = Text(
        f"{diagnosis.target} <- {diagnosis.source}   {diagnosis.sequence}, {diagnosis.vocabulary}, "
        f"preset {diagnosis.preset}\n{s.positions:,} target positions in {len(diagnosis.texts)} texts, "
        f"{s.with_row:.1%} with a source row, {s.mass_lost:.2%} of the source's tokens stand for no target token",
    )
    parts: list[Any] = [head, Text(), _shares(diagnosis)]
    if s.worst:
        parts += [Text(), _worst(diagnosis)]
    longest = max(diagnosis.texts, key=lambda t: len(t.target_ids), default=None)
    if longest is not None and longest.target_ids:
        parts += [Text(), _legend(), _Picture(groups(longest, 0, min(_PASSAGE, len(longest.target_ids))))]
    return Stack(*parts)


def _shares(diagnosis: "Diagnosis") -> Table:
    s = diagnosis.summary
    table = Table("tokens of", "positions", *(f"{SIGNS[o]} {o.replace('_', ' ')}" for o in OUTCOMES), box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    lines = [("all", s.positions, s.shares)]
    lines += [(kind.replace("_", "-"), s.kind_positions[kind], shares) for kind, shares in s.kinds.items()]
    for name, count, shares in lines:
        cells = [Text(f"{shares[o]:.1%}", style=STYLES[o] if shares[o] else "dim") for o in OUTCOMES]
        table.add_row(name, f"{count:,}", *cells)
    return table


def _worst(diagnosis: "Diagnosis") -> Table:
    table = Table("target token", "without row", "of", "for example", "source's tokens there", box=None)
    for column in table.columns[1:3]:
        column.justify = "right"
    for w in diagnosis.summary.worst:
        source = " ".join(visible(token) for token in w.source)
        # Text, not str: what a text says must not be read as markup.
        cells = [visible(w.token), f"{w.lost:,}", f"{w.count:,}", visible(w.example).replace("▁", " "), source]
        table.add_row(*(Text(cell, overflow="ellipsis", no_wrap=True) for cell in cells))
    return table


def _legend() -> Text:
    line = Text("target above, source below: ")
    for number, outcome in enumerate(OUTCOMES):
        line.append(", " if number else "")
        line.append(f"{SIGNS[outcome]} {outcome.replace('_', ' ')}", style=STYLES[outcome])
    return line


class _Picture:
    """Lines of three (target tokens, signs, source tokens), one column a group, as wide as the terminal."""

    def __init__(self, found: list[Group]) -> None:
        self.found = found

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        above, signs, below = Text(), Text(), Text()
        for group in self.found:
            top = "|".join(visible(t) for t in group.target)
            bottom = "|".join(visible(t) for t in group.source)
            width = max(cell_len(top), cell_len(bottom), 1)
            if above.cell_len and above.cell_len + width > options.max_width:
                yield from (above, signs, below, Text())
                above, signs, below = Text(), Text(), Text()
            style = STYLES[group.worst]
            above.append(top + " " * (width - cell_len(top) + 1), style=style)
            signs.append(SIGNS[group.worst] * width + " ", style=style)
            below.append(bottom + " " * (width - cell_len(bottom) + 1))
        yield from (above, signs, below)


def render_vocabulary(report: "VocabularyReport") -> Stack:
    """Return the distances of a vocabulary map as a table, with examples of each."""
    head = Text(
        f"{report.target} ({report.target_vocab:,} ids) <- {report.source} ({len(report.entries):,} ids)   "
        f"{report.vocabulary}, preset {report.preset}"
    )
    table = Table("edit distance", "source ids", "share", "tied", "for example", box=None)
    for column in table.columns[1:4]:
        column.justify = "right"
    below = -1
    mapped = [e for e in report.entries if e["distance"] is not None]
    parts = []
    for most, name in _STEPS:
        parts.append((name, [e for e in mapped if below < e["distance"] <= most]))
        below = most
    parts.append(("no target token", [e for e in report.entries if e["distance"] is None]))
    for name, own in parts:
        sample = [e for e in own[len(own) // 3 :] if e["spelling"]][:3]
        text = "  ".join(f"{shortened(e['spelling'])} → {shortened(e['target_token'] or 'nothing')}" for e in sample)
        share = len(own) / max(1, len(report.entries))
        row = [name, f"{len(own):,}", f"{share:.1%}", f"{sum(e['ties'] > 1 for e in own):,}", text]
        table.add_row(*(Text(cell, overflow="ellipsis", no_wrap=True) for cell in row))
    return Stack(head, Text(), table)
