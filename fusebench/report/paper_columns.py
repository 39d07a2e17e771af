"""The paper's own numbers beside a suite's table by task, set apart: they are never best and in no test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fusebench.report.numbers import Numbers
from fusebench.report.paper import SOURCE, PaperTable, place_of, read_table
from fusebench.report.protocol import Comparison, compare
from fusebench.report.run_report import RunReport
from fusebench.report.tables import Cell, Column, Line, Table
from fusebench.stats.rowgroups import Layout

GROUP = "Paper (7B models)"
MINE = "This run"


def beside_paper(table: Table, report: RunReport, layout: Layout, numbers: Numbers, suite: str) -> Table:
    """Return a table by task with the paper's columns and the differences of protocol, where the paper has the tasks.

    Args:
        table: one line a task of `numbers.tasks(suite)`, then the average.
        report, layout, numbers: the experiment's.
        suite: of the table.
    """
    tasks = numbers.tasks(suite)
    protocol = report.protocols.get(suite)
    found = compared(report, layout, numbers, suite)
    if protocol is None or found is None or found.table is None:
        return replace(table, protocol=found)
    paper = found.table
    sizes = {task: own.items for task, own in protocol.tasks.items()}
    lines = [_line(line, task, paper, sizes) for line, task in zip(table.lines, tasks, strict=False)]
    columns = [replace(column, group=MINE) for column in table.columns]
    columns += [Column(model, paper.protocol.metric, group=GROUP, paper=True) for model in paper.models]
    lines.append(_average(table.lines[-1], _scored(layout, numbers, suite), paper))
    return replace(table, columns=columns, lines=lines, protocol=found, notes=[*table.notes, _origin(paper)])


def compared(report: RunReport, layout: Layout, numbers: Numbers, suite: str) -> Comparison | None:
    """Return a suite's protocol beside the paper's, or None where the paper has nothing like it."""
    family = next((family for name, family, _ in report.suites if name == suite), "")
    items = _items(report, layout, suite, numbers.tasks(suite))
    return compare(family, report.protocols.get(suite), items, _scored(layout, numbers, suite))


def _scored(layout: Layout, numbers: Numbers, suite: str) -> list[str]:
    tasks = numbers.tasks(suite)
    return [task for task in tasks if any(numbers.value(row.name, suite, task) for row in layout.rows)]


def _items(report: RunReport, layout: Layout, suite: str, tasks: Sequence[str]) -> dict[str, int]:
    """Return how many items of each task were put to the final models, scored or not."""
    samples = report.samples
    mask = (samples["experiment"] == layout.experiment) & (samples["suite"] == suite) & (samples["step"] == -1)
    counts = samples[mask.to_numpy(dtype=bool)].groupby("task", sort=False)["item"].nunique()
    return {task: int(counts[task]) for task in tasks if task in counts.index}


def _row(task: str) -> str:
    place = place_of(task)
    return place[1] if place is not None else ""


def _line(line: Line, task: str, paper: PaperTable, sizes: Mapping[str, int]) -> Line:
    values = paper.values.get(_row(task))
    cells = [Cell(value) for value in values] if values is not None else [Cell() for _ in paper.models]
    fewer = sizes.get(task) and line.note and line.note != f"n = {sizes[task]}"
    note = f"{line.note} of {sizes[task]:,}" if fewer else line.note
    return replace(line, cells=[*line.cells, *cells], note=note)


def _average(line: Line, scored: Sequence[str], paper: PaperTable) -> Line:
    """Return the line of averages with the paper's over the same tasks."""
    rows = [_row(task) for task in scored if _row(task)]
    if not rows:
        return replace(line, cells=[*line.cells, *(Cell() for _ in paper.models)])
    note = line.note
    if len(rows) < len(paper.values):
        same = f"the paper's: same {len(rows)} task{'s' * (len(rows) != 1)}"
        note = f"{note}; {same}" if note else same
    return replace(line, cells=[*line.cells, *(Cell(value) for value in paper.average(rows))], note=note)


def _origin(paper: PaperTable) -> str:
    whole = dict(zip(paper.models, paper.average(paper.values), strict=True))
    gain = 100 * (whole["FuseLLM-7B"] - whole["Llama-2-CLM-7B"])
    return (
        f"The paper's numbers: {SOURCE}, Table {paper.number}; other models, in no test of this run. Over its "
        f"{len(paper.values)} tasks FuseLLM-7B is {abs(gain):.2f} points {'above' if gain > 0 else 'below'} "
        "Llama-2-CLM-7B, its continued training."
    )


def distillation_note(report: RunReport) -> list[str]:
    """Return the paper's own distillation in one sentence; nothing in the toy world, with which it does not compare."""
    if _toy(report):
        return []
    suites, values = read_table("distillation")
    rows = "; ".join(f"{row} {' / '.join(f'{value:.2f}' for value in line)}" for row, line in values.items())
    return [f"The paper's, {' / '.join(suites)}: {rows} ({SOURCE}, Table 6)."]


def domains_note(report: RunReport) -> list[str]:
    """Return the paper's own ensemble, merge and fusion in one sentence; nothing in the toy world."""
    if _toy(report):
        return []
    domains, values = read_table("domains")
    rows = ", ".join(f"{row} {values[row][-1]:.4f}" for row in ("Ensemble", "Weight merging", "FuseLLM"))
    return [
        f'The paper\'s, on other domains ({", ".join(domains[:-1])}), average "perplexity" as printed, which below 1 '
        f"looks like bits per byte: {rows} ({SOURCE}, Table 7)."
    ]


def _toy(report: RunReport) -> bool:
    return any(protocol.toy for protocol in report.protocols.values())
