"""The tables as data: values, intervals, differences and marks, in no format yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from fusebench.report.protocol import Comparison
from fusebench.stats.metrics import lower_is_better

NAN = float("nan")


@dataclass(frozen=True)
class Cell:
    """One number of a table, with all that is said about it.

    Args:
        value, low, high: the value and its interval, in the metric's own unit; NaN where there is none.
        difference, difference_low, difference_high, p: to the table's reference row; NaN where not compared.
        favours: 1 significantly better than the reference, -1 significantly worse, 0 neither.
        best: the best of its column (or line) among those that compete.
        missing: why there is no value, e.g. `unavailable`; empty where there is one.
        reference: this cell is what the others are compared with.
    """

    value: float = NAN
    low: float = NAN
    high: float = NAN
    difference: float = NAN
    difference_low: float = NAN
    difference_high: float = NAN
    p: float = NAN
    favours: int = 0
    best: bool = False
    missing: str = ""
    reference: bool = False


@dataclass(frozen=True)
class Column:
    """A column.

    Args:
        title, note: heading, and small print under it.
        metric: sets unit and direction.
        differences: it holds differences only.
        group: heading above several columns; empty for none.
        paper: the paper's own numbers: set apart, with the paper's two decimals, never best.
    """

    title: str
    metric: str
    note: str = ""
    differences: bool = False
    group: str = ""
    paper: bool = False

    @property
    def bits(self) -> bool:
        """Return whether the numbers are bits per byte (lower is better), not percent."""
        return lower_is_better(self.metric)


@dataclass(frozen=True)
class Line:
    """A line of a table: its name, one cell per column, and its place.

    Args:
        name: what stands in the first column.
        note: small print under the name.
        group: heading above the first line of a group; empty for none.
        main: the main fusion row, set off.
        total: an average, set off by a rule.
        competes: may be best; a bigger model does not.
    """

    name: str
    cells: list[Cell]
    note: str = ""
    group: str = ""
    main: bool = False
    total: bool = False
    competes: bool = True


@dataclass(frozen=True)
class Table:
    """A table without a format.

    Args:
        id: for links and labels, unique in the report.
        section: `main` or `ablation`.
        title, caption: what it shows, and how to read it.
        stub: title of the first column.
        columns, lines: the body.
        across: the best is sought within a line (rows of the run stand across), else within a column.
        folded: of lesser interest; shown when asked for.
        experiment: whose rows these are.
        reference: name of the row that differences are against; empty for none.
        notes: below the table.
        protocol: how the suite was put beside the paper's way; None where there is nothing to compare.
    """

    id: str
    section: str
    title: str
    caption: str
    stub: str
    columns: list[Column]
    lines: list[Line]
    across: bool = False
    folded: bool = False
    experiment: str = ""
    reference: str = ""
    notes: list[str] = field(default_factory=list)
    protocol: Comparison | None = None

    @property
    def differs(self) -> bool:
        """Return whether anything of the protocol is not as in the paper."""
        return self.protocol is not None and bool(self.protocol.differs)

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Return the headings above the columns with the number of columns under each; empty where there are none."""
        found = [(name, len(list(part))) for name, part in groupby(column.group for column in self.columns)]
        return found if any(name for name, _ in found) else []


def mark_best(table: Table) -> Table:
    """Return the table with the best cells marked; all of several equal ones, none where all are equal."""
    lines = [list(line.cells) for line in table.lines]
    if table.across:
        for number, cells in enumerate(lines):
            places = [(number, k) for k, column in enumerate(table.columns) if not (column.differences or column.paper)]
            _mark(lines, places, table.columns[0] if cells else None)
    else:
        for k, column in enumerate(table.columns):
            if not (column.differences or column.paper):
                places = [(n, k) for n, line in enumerate(table.lines) if line.competes]
                _mark(lines, places, column)
    return replace(table, lines=[replace(line, cells=cells) for line, cells in zip(table.lines, lines, strict=True)])


def _mark(lines: list[list[Cell]], places: Sequence[tuple[int, int]], column: Column | None) -> None:
    there = [(n, k) for n, k in places if lines[n][k].value == lines[n][k].value]
    if column is None:
        return
    sign = -1 if column.bits else 1
    top = max((sign * lines[n][k].value for n, k in there), default=0.0)
    worst = min((sign * lines[n][k].value for n, k in there), default=0.0)
    for n, k in there if top - worst > 1e-12 else []:
        if abs(sign * lines[n][k].value - top) < 1e-12:
            lines[n][k] = replace(lines[n][k], best=True)
