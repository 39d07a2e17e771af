"""Cells of one experiment: values and differences, looked up by row, suite and task."""

from __future__ import annotations

from typing import Any

from fusebench.report.run_report import RunReport
from fusebench.report.tables import Cell
from fusebench.report.titles import in_order
from fusebench.stats.metrics import lower_is_better
from fusebench.stats.rowgroups import Layout
from fusebench.stats.summary import AVERAGE, OVERALL

UNAVAILABLE = "unavailable"


class Numbers:
    """The final models' numbers of one experiment.

    Args:
        report: the run.
        layout: the experiment.
    """

    def __init__(self, report: RunReport, layout: Layout) -> None:
        analysis = report.analysis
        table = analysis.estimates.table
        here = table[(table["experiment"] == layout.experiment) & (table["step"] == -1)]
        self._values = {(r["method"], r["suite"], r["task"]): r for r in here.to_dict("records")}
        gaps = analysis.comparisons
        gaps = gaps[gaps["experiment"] == layout.experiment]
        self._gaps = {(r["a"], r["b"], r["suite"], r["task"]): r for r in gaps.to_dict("records")}
        # In the recipe's order; the overall score, where there is one, stands first.
        found = set(here["suite"])
        order = [OVERALL, *(name for name, _, _ in report.suites), *sorted(map(str, found))]
        self.suites = [name for name in dict.fromkeys(order) if name in found]
        self._tasks = {str(s): list(dict.fromkeys(part["task"])) for s, part in here.groupby("suite", sort=False)}

    def tasks(self, suite: str) -> list[str]:
        """Return the tasks of a suite in the paper's order, else of appearance; the average left out."""
        return in_order(str(task) for task in self._tasks.get(suite, []) if task != AVERAGE)

    def metric(self, suite: str, task: str = AVERAGE) -> str:
        """Return the metric of a suite's average or of a task."""
        return next((str(r["metric"]) for (_, s, t), r in self._values.items() if (s, t) == (suite, task)), "")

    def has(self, suite: str) -> bool:
        """Return whether any row has a score on the suite."""
        return any(r["n"] for (_, s, _), r in self._values.items() if s == suite)

    def value(self, row: str, suite: str, task: str = AVERAGE) -> dict[str, Any] | None:
        """Return the estimate of a row, or None where nothing was scored."""
        found = self._values.get((row, suite, task))
        return found if found is not None and found["n"] else None

    def cell(self, row: str, suite: str, task: str = AVERAGE, *, against: str = "") -> Cell:
        """Return a row's value, with its difference to the row `against`."""
        found = self.value(row, suite, task)
        if found is None:
            return Cell(missing=UNAVAILABLE)
        cell = Cell(float(found["value"]), float(found["low"]), float(found["high"]))
        if not against:
            return cell
        if row == against:
            return Cell(cell.value, cell.low, cell.high, reference=True)
        gap = self.gap(row, against, suite, task)
        return Cell(
            cell.value,
            cell.low,
            cell.high,
            gap.difference,
            gap.difference_low,
            gap.difference_high,
            gap.p,
            gap.favours,
        )

    def gap(self, a: str, b: str, suite: str, task: str = AVERAGE) -> Cell:
        """Return A minus B as a cell without a value of its own; an empty cell where the two were not compared."""
        for turned, key in ((False, (a, b, suite, task)), (True, (b, a, suite, task))):
            found = self._gaps.get(key)
            if found is not None and found["n"]:
                gap, low, high = (float(found[name]) for name in ("difference", "low", "high"))
                favours = {"a": 1, "b": -1}.get(str(found["favours"]), 0)
                if turned:
                    gap, low, high, favours = -gap, -high, -low, -favours
                return Cell(
                    difference=gap,
                    difference_low=low,
                    difference_high=high,
                    p=float(found["p_adjusted"]),
                    favours=favours,
                )
        return Cell()

    def deciding(self) -> str:
        """Return the suite that sums a row up: the overall score, else the first score suite, else bits per byte."""
        scored = [s for s in self.suites if self.has(s)]
        scores = [s for s in scored if not lower_is_better(self.metric(s))]
        return (scores or scored or [""])[0]
