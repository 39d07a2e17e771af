"""Tasks as people read them: titles and order are the paper's where it has the task."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from fusebench.report.paper import LANGUAGES, paper_tables, place_of
from fusebench.stats import AVERAGE, OVERALL
from fusebench.toyworld import TASKS as TOY_TASKS

_LANGUAGES = {code: title for title, code in LANGUAGES.items()}


def task_title(task: str) -> str:
    """Return a task's title: the paper's, `Object counting` for a toy task, else the task's own name."""
    place = place_of(task)
    if place is not None:
        return place[1]
    if task in TOY_TASKS:
        words = task.removeprefix("toy_")
        return _LANGUAGES.get(words.removeprefix("code_"), words.replace("_", " ").capitalize())
    return task


def in_order(tasks: Iterable[str]) -> list[str]:
    """Return tasks in the paper's order, those that it lacks behind them in the order given."""
    order = {(name, row): at for name, table in paper_tables().items() for at, row in enumerate(table.values)}
    return sorted(tasks, key=lambda task: order.get(place_of(task) or ("", ""), len(order)))


def with_titles(results: pd.DataFrame) -> pd.DataFrame:
    """Return result rows (columns RESULT_COLUMNS) by method, suite and task in the paper's order, with `title`.

    A suite's average stands behind its tasks, the overall score behind all suites.
    """
    tasks = {task: at for at, task in enumerate(in_order(dict.fromkeys(map(str, results["task"])))) if task != AVERAGE}
    suites = {suite: at for at, suite in enumerate(dict.fromkeys(map(str, results["suite"]))) if suite != OVERALL}
    methods = {method: at for at, method in enumerate(dict.fromkeys(map(str, results["method"])))}
    keys = pd.DataFrame(
        {
            "method": results["method"].map(methods),
            "suite": results["suite"].map(lambda name: suites.get(name, len(suites) + 1)),
            "task": results["task"].map(lambda name: tasks.get(name, len(tasks) + 1)),
        },
        index=results.index,
    )
    order = keys.sort_values(list(keys.columns), kind="stable").index
    out = results.loc[order].reset_index(drop=True)
    names = [AVERAGE if task == AVERAGE else task_title(str(task)) for task in out["task"]]
    out.insert(out.columns.get_loc("task") + 1, "title", names)  # type: ignore[arg-type]
    return out
