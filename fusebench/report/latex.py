"""Tables as LaTeX with booktabs, each a `table*` of its own."""

from __future__ import annotations

from collections.abc import Sequence

from fusebench.report.formats import difference_interval_text, difference_text, interval_text, value_text
from fusebench.report.tables import Cell, Column, Table

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": "$-$",
    "–": "--",
    "·": r"$\cdot$",
    "…": r"\dots{}",
}


def escape(text: str) -> str:
    """Return text that LaTeX prints as it is, on one line."""
    return "".join(_SPECIAL.get(char, char) for char in " ".join(text.split()))


def latex(tables: Sequence[Table]) -> str:
    """Return all tables, ready for `\\input` in a document that loads booktabs."""
    head = [
        "% Needs \\usepackage{booktabs}. Bold: best; in small print the interval;",
        "% subscript: difference to the reference row; star: significant.",
    ]
    return "\n".join(head) + "\n\n" + "\n\n".join(_table(table) for table in tables) + "\n"


def _table(table: Table) -> str:
    rows = [
        r"\begin{table*}[t]",
        r"\centering\small\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{escape(f'{table.title} · {table.experiment}')}. {escape(table.caption)}}}",
        rf"\label{{tab:{table.id}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        " & ".join([escape(table.stub), *(escape(column.title) for column in table.columns)]) + r" \\",
        r"\midrule",
    ]
    for number, line in enumerate(table.lines):
        if number and (line.group or line.total):
            rows.append(r"\midrule")
        cells = [_cell(cell, column) for cell, column in zip(line.cells, table.columns, strict=True)]
        rows.append(" & ".join([escape(line.name), *cells]) + r" \\")
    rows += [r"\bottomrule", r"\end{tabular}"]
    rows += [rf"\par\footnotesize {escape(note)}" for note in table.notes]
    return "\n".join([*rows, r"\end{table*}"])


def _cell(cell: Cell, column: Column) -> str:
    gap = difference_text(cell, column).replace("−", "-").replace("*", "^{*}")
    if column.differences:
        interval = difference_interval_text(cell, column)
        return f"${gap}$ {{\\scriptsize {escape(interval)}}}" if gap else ""
    value, interval = escape(value_text(cell, column)), escape(interval_text(cell, column))
    text = rf"\textbf{{{value}}}" if cell.best else value
    text += rf" {{\scriptsize {interval}}}" if interval else ""
    return text + (f"$_{{{gap}}}$" if gap else "")
