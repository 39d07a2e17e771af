"""Which tables a run has, and what stands in them: the paper's tables, read off the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fusebench.artifacts import RowInfo
from fusebench.report.numbers import Numbers
from fusebench.report.paper_columns import beside_paper, compared, distillation_note, domains_note
from fusebench.report.run_report import RunReport
from fusebench.report.tables import Cell, Column, Line, Table, mark_best
from fusebench.report.titles import task_title
from fusebench.stats.metrics import lower_is_better
from fusebench.stats.rowgroups import Layout
from fusebench.stats.summary import AVERAGE, OVERALL

GROUPS = {
    "model": "Models as they are",
    "target": "Models as they are",
    "source": "Models as they are",
    "teacher": "Models as they are",
    "clm": "Trained without sources",
    "kd": "Distilled from one bigger model",
    "fusion": "Fused",
    "ensemble": "Combined without training",
    "merge": "Combined without training",
}

AXES = {
    "sources": ("Number of sources", "The same fusion with fewer sources."),
    "alignment": (
        "Alignment",
        "How a source's tokens find the target's: by minimum edit distance (MinED) or exact match only (EM).",
    ),
    "rule": ("Fusion function", "MinCE takes the source with the least cross-entropy, AvgCE mixes all of them."),
    "clm_weight": (
        "Weight of the next-token loss",
        "The rest of the weight goes to the fused rows; a weight of 1 is plain continued training.",
    ),
}

NAMES = {"em": "EM", "min_ed": "MinED", "min_ce": "MinCE", "avg_ce": "AvgCE", "dtw": "DTW", "offset": "byte offsets"}

PAPER_ROLES = ("model", "source", "target", "clm", "ensemble", "merge")
"""Rows of the task tables besides the main fusion row, in the paper's order."""


def build_tables(report: RunReport) -> list[Table]:
    """Return the tables of all experiments, best cells marked, in the order they are read."""
    found: list[Table] = []
    for layout in report.analysis.layouts:
        numbers = Numbers(report, layout)
        tables = [_overview(report, layout, numbers)]
        if _one_base(layout):
            tables += _domains(report, layout, numbers)
        tables += [_suite(report, layout, numbers, suite) for suite in _task_suites(layout, numbers)]
        for axis in AXES:
            members = list(layout.axes.get(axis, []))
            if len(members) > 1:
                tables.append(_ablation(report, layout, numbers, axis, members))
        if layout.main is not None and layout.of("kd"):
            tables.append(_distillation(report, layout, numbers, layout.main))
        if layout.main is not None and layout.others:
            members = [layout.main, *layout.others]
            text = ("Other variants", "Fusion rows that differ from the main one in another setting, or in several.")
            tables.append(_methods(report, layout, numbers, "others", text, members))
        for table in tables:
            named = replace(table, experiment=layout.experiment, id=_slug(layout.experiment, table.id))
            found.append(mark_best(named))
    return found


def describe(row: RowInfo) -> str:
    """Return a row's settings in few words, `3 sources, MinED, DTW, MinCE, weight 0.9`."""
    if row.role in ("teacher", "model"):
        return "bigger model" if row.role == "teacher" else ""
    if row.role in ("target", "source"):
        return row.role
    if row.role == "kd":
        return "distillation"
    if row.role == "clm":
        return "continued training"
    if row.role == "ensemble":
        # What an ensemble gains is paid for with every model at every token.
        return f"{len(row.sources)} models answer together"
    words = [f"{len(row.sources)} source{'s' * (len(row.sources) != 1)}"] if row.sources else []
    words += [NAMES.get(name, name) for name in (row.vocabulary, row.sequence, row.rule) if name]
    if row.role == "fusion" and row.clm_weight == row.clm_weight:
        words.append(f"weight {row.clm_weight:g}")
    return ", ".join(words)


def _slug(*words: str) -> str:
    return "-".join("".join(c if c.isalnum() else "-" for c in word.lower()) for word in words)


def _suite_columns(report: RunReport, numbers: Numbers) -> list[Column]:
    return [
        Column("All suites" if suite == OVERALL else report.suite_title(suite), numbers.metric(suite), suite)
        for suite in numbers.suites
    ]


def _against(layout: Layout) -> str:
    return layout.baseline.name if layout.baseline is not None and len(layout.rows) > 1 else ""


def _line(numbers: Numbers, row: RowInfo, columns: Sequence[Column], layout: Layout, group: str = "") -> Line:
    cells = [numbers.cell(row.name, column.note, against=_against(layout)) for column in columns]
    return Line(row.name, cells, describe(row), group, row is layout.main, competes=row.role != "teacher")


def _with_units(columns: Sequence[Column]) -> list[Column]:
    """Return columns whose small print is the unit, where it was the suite's name for looking up."""
    return [Column(c.title, c.metric, _short_unit(c.title, c.metric), c.differences) for c in columns]


def _unit(metric: str) -> str:
    words = {
        "exact_match": "exact match, %",
        "acc": "accuracy, %",
        "acc_norm": "accuracy (length-normalised), %",
        "score": "score, %",
        "pass@1": "pass@1, %",
        "bits_per_byte": "bits per byte, lower is better",
    }
    return words.get(metric, metric)


def _short_unit(title: str, metric: str) -> str:
    unit = _unit(metric)
    return unit.split(", ", 1)[1] if unit.lower().startswith(title.lower()) and ", " in unit else unit


def _notes(layout: Layout, numbers: Numbers, *, teacher: bool = False) -> list[str]:
    notes = []
    missing = [suite for suite in numbers.suites if not numbers.has(suite)]
    if missing:
        notes.append(f"Unavailable here, which is not zero: {', '.join(missing)}.")
    if teacher and layout.of("teacher"):
        names = ", ".join(row.name for row in layout.of("teacher"))
        notes.append(f"Bold is the best of the rows of the target's size; the bigger model ({names}) does not compete.")
    return notes


def _overview(report: RunReport, layout: Layout, numbers: Numbers) -> Table:
    columns, against = _suite_columns(report, numbers), _against(layout)
    order = list(dict.fromkeys(GROUPS.values()))
    place = {row.name: GROUPS.get(row.role, "Other") for row in layout.rows}
    rows = sorted(layout.rows, key=lambda r: order.index(place[r.name]) if place[r.name] in order else len(order))
    lines, seen = [], ""
    for row in rows:
        group = place[row.name] if place[row.name] != seen else ""
        seen = place[row.name]
        lines.append(_line(numbers, row, columns, layout, group))
    other = {suite for suite in numbers.suites if (found := compared(report, layout, numbers, suite)) and found.differs}
    shown = _with_units(columns)
    for at, column in enumerate(columns):
        if column.note in other:
            shown[at] = replace(shown[at], note=f"{shown[at].note} †")
    named = ", ".join(report.suite_title(suite) for suite in numbers.suites if suite in other)
    marks = [f"† Not put in every way as in the paper: {named}. The tables by task say how."] if other else []
    return Table(
        "overview",
        "main",
        "All rows",
        f"Suite averages with their intervals{f'; below each, the difference to {against}' if against else ''}.",
        "Row",
        shown,
        lines,
        reference=against,
        notes=[*_notes(layout, numbers, teacher=True), *marks],
    )


def _task_suites(layout: Layout, numbers: Numbers) -> list[str]:
    # Where weights are merged, bits per byte by domain has a table of its own, laid out as the paper's.
    apart = _one_base(layout)
    return [s for s in numbers.suites if s != OVERALL and not (apart and lower_is_better(numbers.metric(s)))]


def _one_base(layout: Layout) -> bool:
    """Return whether the experiment is of one base model continued on several domains: only such weights merge."""
    return bool(layout.of("merge"))


def _suite(report: RunReport, layout: Layout, numbers: Numbers, suite: str) -> Table:
    rows = [row for role in PAPER_ROLES for row in layout.of(role)]
    rows += [layout.main] if layout.main is not None else []
    metric, base = numbers.metric(suite), _against(layout)
    columns = [Column(row.name, metric, describe(row) if row.role != "fusion" else "main fusion row") for row in rows]
    compared = layout.main is not None and bool(base)
    if compared and layout.main is not None:
        columns.append(Column(f"{layout.main.name} minus {base}", metric, "interval of the difference", True))
    lines = []
    tasks = numbers.tasks(suite)
    for task in [*tasks, AVERAGE]:
        cells = [numbers.cell(row.name, suite, task) for row in rows]
        if compared and layout.main is not None:
            cells.append(numbers.gap(layout.main.name, base, suite, task))
        name = "Average" if task == AVERAGE else task_title(task)
        first = numbers.value(rows[-1].name, suite, task) if rows else None
        lines.append(Line(name, cells, f"n = {first['n']}" if first else "", total=task == AVERAGE))
    of = "domain" if lower_is_better(metric) else "task"
    table = Table(
        f"suite-{suite}",
        "main",
        f"{report.suite_title(suite)} by {of}",
        f"{_unit(metric).capitalize()}; best of each line in bold. The average is the unweighted mean of the lines.",
        of.capitalize(),
        columns,
        lines,
        across=True,
        folded=_one_base(layout),
        reference=base,
        notes=_notes(layout, numbers) if not numbers.has(suite) else [],
    )
    return beside_paper(table, report, layout, numbers, suite)


def _domains(report: RunReport, layout: Layout, numbers: Numbers) -> list[Table]:
    tables = []
    for suite in numbers.suites:
        metric = numbers.metric(suite)
        if not lower_is_better(metric):
            continue
        rows = [row for role in ("target", "source", "ensemble", "merge") for row in layout.of(role)]
        rows += [layout.main] if layout.main is not None else []
        places = [*numbers.tasks(suite), AVERAGE]
        columns = [Column("Average" if t == AVERAGE else t, metric, "") for t in places]
        lines = [
            Line(
                row.name,
                [numbers.cell(row.name, suite, task, against=_against(layout)) for task in places],
                describe(row),
                main=row is layout.main,
            )
            for row in rows
        ]
        if layout.main is not None:
            columns.append(Column(f"{layout.main.name} minus row", metric, "on the average", True))
            for line in lines:
                line.cells.append(Cell() if line.main else numbers.gap(layout.main.name, line.name, suite))
        tables.append(
            Table(
                f"domains-{suite}",
                "main",
                "Ensemble, weight merge and fusion",
                f"{_unit(metric).capitalize()}, by domain of the held-out text; below each, the difference to "
                f"{_against(layout)}.",
                "Row",
                columns,
                lines,
                reference=_against(layout),
                notes=domains_note(report),
            )
        )
    return tables


def _ablation(report: RunReport, layout: Layout, numbers: Numbers, axis: str, members: list[RowInfo]) -> Table:
    if axis == "clm_weight":
        members = [*layout.of("clm")[:1], *members]
    return _methods(report, layout, numbers, axis, AXES[axis], members)


def _distillation(report: RunReport, layout: Layout, numbers: Numbers, main: RowInfo) -> Table:
    text = ("Distillation", "Fusing several models against distilling one bigger one into the same target.")
    return _methods(report, layout, numbers, "distillation", text, [*layout.of("teacher", "kd"), main])


def _methods(
    report: RunReport, layout: Layout, numbers: Numbers, name: str, text: tuple[str, str], members: Sequence[RowInfo]
) -> Table:
    """Return a table of a few rows by suite, with their distance to the main fusion row in the last column."""
    main, base = layout.main, _against(layout)
    assert main is not None
    columns = _suite_columns(report, numbers)
    lines = [_line(numbers, row, columns, layout) for row in members]
    decides = numbers.deciding()
    title = "all suites" if decides == OVERALL else report.suite_title(decides)
    shown = [
        *_with_units(columns),
        Column(f"{main.name} minus row", numbers.metric(decides), f"on {title}", True),
    ]
    for line, row in zip(lines, members, strict=True):
        line.cells.append(Cell() if row is main else numbers.gap(main.name, row.name, decides))
    return Table(
        name,
        "ablation",
        text[0],
        f"{text[1]} Below each value, the difference to {base}.",
        "Row",
        shown,
        lines,
        reference=base,
        notes=[
            *_notes(layout, numbers, teacher=any(row.role == "teacher" for row in members)),
            *(distillation_note(report) if name == "distillation" else []),
        ],
    )
