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
    mark = r"$^\dagger$" if table.differs else ""
    rows = [
        r"\begin{table*}[t]",
        rf"\centering{_size(table)}",
        rf"\caption{{{escape(f'{table.title} · {table.experiment}')}{mark}. {escape(table.caption)}}}",
        rf"\label{{tab:{table.id}}}",
        rf"\begin{{tabular}}{{l{_columns(table)}}}",
        r"\toprule",
        *_groups(table),
        " & ".join([escape(table.stub), *(escape(column.title) for column in table.columns)]) + r" \\",
        r"\midrule",
    ]
    for number, line in enumerate(table.lines):
        if number and (line.group or line.total):
            rows.append(r"\midrule")
        cells = [_cell(cell, column) for cell, column in zip(line.cells, table.columns, strict=True)]
        rows.append(" & ".join([escape(line.name), *cells]) + r" \\")
    rows += [r"\bottomrule", r"\end{tabular}"]
    rows += [rf"\par\footnotesize {note}" for note in [*_protocol(table), *map(escape, table.notes)]]
    return "\n".join([*rows, r"\end{table*}"])


def _size(table: Table) -> str:
    wide = any(column.paper for column in table.columns)
    return r"\scriptsize\setlength{\tabcolsep}{2pt}" if wide else r"\small\setlength{\tabcolsep}{4pt}"


def _columns(table: Table) -> str:
    """Return the columns' alignment, with room before the paper's."""
    pairs = zip(table.columns, [None, *table.columns], strict=False)
    return "".join(r"@{\hskip 14pt}r" if now.paper and not (before and before.paper) else "r" for now, before in pairs)


def _groups(table: Table) -> list[str]:
    """Return the line of headings above several columns, with a rule under each."""
    if not table.groups:
        return []
    heads, rules, at = [""], [], 2
    for name, width in table.groups:
        heads.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(name)}}}")
        rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
        at += width
    return [" & ".join(heads) + r" \\", "".join(rules)]


def _protocol(table: Table) -> list[str]:
    if table.protocol is None:
        return []
    differs = "; ".join(f"{one.kind}: {one.text}" for one in table.protocol.differs)
    return [rf"$^\dagger$Not as in the paper: {escape(differs)}."] * bool(differs) + (
        [f"As in the paper: {escape('; '.join(table.protocol.same))}."] if table.protocol.same else []
    )


def _cell(cell: Cell, column: Column) -> str:
    gap = difference_text(cell, column).replace("−", "-").replace("*", "^{*}")
    if column.differences:
        interval = difference_interval_text(cell, column)
        return f"${gap}$ {{\\scriptsize {escape(interval)}}}" if gap else ""
    value, interval = escape(value_text(cell, column)), escape(interval_text(cell, column))
    text = rf"\textbf{{{value}}}" if cell.best else value
    text += rf" {{\scriptsize {interval}}}" if interval else ""
    return text + (f"$_{{{gap}}}$" if gap else "")
