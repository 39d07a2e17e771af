"""Tasks as people read them: titles and order are the paper's where it has the task."""

from __future__ import annotations

from collections.abc import Iterable

from fusebench.report.paper import LANGUAGES, paper_tables, place_of
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
