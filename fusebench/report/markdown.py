"""Tables as GitHub-flavoured Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from fusebench.report.doctor import NumbersTable
from fusebench.report.formats import difference_interval_text, difference_text, interval_text, value_text
from fusebench.report.protocol import Comparison
from fusebench.report.tables import Cell, Column, Table

_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>#|~$"})


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return " ".join(text.split()).translate(_SPECIAL)


def markdown(tables: Sequence[Table], title: str, sentence: str, probes: NumbersTable | None = None) -> str:
    """Return a document: the answer, every table, the probes; intervals in brackets, `*` where significant."""
    parts = [f"# {escape(title)}", escape(sentence)]
    for table in tables:
        mark = " †" if table.differs else ""
        parts += [f"## {escape(f'{table.title} · {table.experiment}')}{mark}", escape(table.caption), _table(table)]
        parts += [_protocol(table.protocol)] if table.protocol is not None else []
        parts += [escape(note) for note in table.notes]
    if probes is not None:
        parts += [f"## {escape(probes.title)}", escape(probes.caption), _plain(probes)]
    parts.append("Bold: best. \\*: significantly different from the reference row.")
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    head = [escape(table.stub), *(escape(_title(column)) for column in table.columns)]
    rows = ["| " + " | ".join(head) + " |", "|" + " --- |" + " ---: |" * len(table.columns)]
    for line in table.lines:
        cells = [_cell(cell, column) for cell, column in zip(line.cells, table.columns, strict=True)]
        name = f"**{escape(line.name)}**" if line.main or line.total else escape(line.name)
        rows.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(rows)


def _plain(table: NumbersTable) -> str:
    lines = [table.head, ["---"] * len(table.head)]
    lines += [[escape(word) for word in line] for line in table.body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _title(column: Column) -> str:
    return f"Paper: {column.title}" if column.paper else column.title


def _protocol(found: Comparison) -> str:
    """Return what differs from the paper's protocol as a list, and what does not."""
    lines = []
    if found.differs:
        lines += ["† Not as in the paper:", ""]
        lines += [f"- {escape(one.kind)}: {escape(one.text)}" for one in found.differs]
    if found.same:
        lines += [""] * bool(lines) + [f"As in the paper: {escape('; '.join(found.same))}."]
    return "\n".join(lines)


def _cell(cell: Cell, column: Column) -> str:
    value, gap = value_text(cell, column), escape(difference_text(cell, column))
    if column.differences:
        interval = difference_interval_text(cell, column)
        return f"{gap} ({interval})" if interval else gap
    interval = interval_text(cell, column)
    parts = [f"**{value}**" if cell.best else value, f"({interval})" if interval else "", gap]
    return " ".join(part for part in parts if part)
