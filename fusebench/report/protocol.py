"""How a run's protocol differs from the paper's, in words: version, shots, decoding, subset, limit, metric, length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from fusebench.evaluate.protocol import SuiteProtocol, TaskProtocol
from fusebench.report.paper import PaperTable, paper_tables, place_of
from fusebench.report.titles import task_title

METRICS = {
    "exact_match": "exact match",
    "acc": "accuracy",
    "acc_norm": "length-normalised accuracy",
    "pass@1": "pass@1",
}
AT_ONCE = "answers at once"
LISTED = 6
"""So many names of tasks are listed; more are counted."""


@dataclass(frozen=True)
class Difference:
    """One thing that is not as in the paper: `kind` in a word, `text` in a sentence's part."""

    kind: str
    text: str


@dataclass(frozen=True)
class Comparison:
    """A suite's protocol beside the paper's.

    Args:
        table: the paper's table, whose numbers may stand beside; None for a toy suite.
        differs: what is not as in the paper.
        same: what is.
    """

    table: PaperTable | None
    differs: list[Difference] = field(default_factory=list)
    same: list[str] = field(default_factory=list)


def compare(
    family: str, protocol: SuiteProtocol | None, items: Mapping[str, int], scored: Iterable[str]
) -> Comparison | None:
    """Return how a suite's protocol differs from the paper's, or None where the paper has nothing like it.

    Args:
        family: of the suite.
        protocol: as the suite was put; None where a run does not know it.
        items: by task of the suite, how many items were put to the models.
        scored: tasks that at least one row has a score of.
    """
    if protocol is None:
        return None
    if protocol.toy:
        return _toy(family)
    tables = {place[0] for task in items if task in protocol.tasks and (place := place_of(task)) is not None}
    if len(tables) != 1:
        return None
    paper = paper_tables()[tables.pop()]
    mine = {task: protocol.tasks[task] for task in items if task in protocol.tasks and place_of(task) is not None}
    differs: list[Difference] = []
    same: list[str] = []
    _version(mine, paper, differs, same)
    for kind, say in _FIELDS:
        _field(kind, say, mine, paper, differs, same)
    _subset(items, set(scored), paper, differs, same)
    _limit(mine, items, paper, differs, same)
    if protocol.max_length is not None:
        differs.append(Difference("length", f"prompt and answer together cut to {protocol.max_length:,} tokens"))
    return Comparison(paper, differs, same)


def _toy(family: str) -> Comparison | None:
    table = paper_tables().get(family)
    if table is None:
        return None
    text = f"tasks of the embedded toy world, after {table.title} but not it: the paper's numbers do not compare"
    return Comparison(None, [Difference("toy", text)])


def _shots(task: TaskProtocol) -> str:
    return f"{task.shots} example{'s' * (task.shots != 1)}" if task.shots else "zero-shot"


def _reasoning(task: TaskProtocol) -> str:
    return "chain of thought" if task.chain_of_thought else AT_ONCE


def _decoding(task: TaskProtocol) -> str:
    if task.choice:
        return "likeliest choice"
    drawn = "greedy" if task.temperature == 0 else f"temperature {task.temperature:g}, top-p {task.top_p:g}"
    if task.samples == 1:
        return "one greedy answer" if task.temperature == 0 else f"one sample at {drawn}"
    return f"{task.samples} samples at {drawn}"


def _metric(task: TaskProtocol) -> str:
    return METRICS.get(task.metric, task.metric)


_FIELDS: tuple[tuple[str, Callable[[TaskProtocol], str]], ...] = (
    ("shots", _shots),
    ("decoding", _reasoning),
    ("decoding", _decoding),
    ("metric", _metric),
)


def _field(
    kind: str,
    say: Callable[[TaskProtocol], str],
    mine: Mapping[str, TaskProtocol],
    paper: PaperTable,
    differs: list[Difference],
    same: list[str],
) -> None:
    """Add what one field says of all tasks: each way it differs once, with its tasks where they are not all."""
    pairs: dict[tuple[str, str], list[str]] = {}
    for task, own in mine.items():
        theirs = say(paper.protocol)
        if kind == "metric":
            metric = paper.metrics.get(task_title(task), paper.protocol.metric)
            theirs = METRICS.get(metric, metric)
        pairs.setdefault((say(own), theirs), []).append(task)
    for (own_text, paper_text), tasks in pairs.items():
        where = "" if len(pairs) == 1 else f" ({_names(tasks)})"
        if own_text == paper_text:
            same += [] if own_text == AT_ONCE else [own_text + where]
        else:
            differs.append(Difference(kind, f"{own_text} instead of {paper_text}{where}"))


def _version(mine: Mapping[str, TaskProtocol], paper: PaperTable, differs: list[Difference], same: list[str]) -> None:
    for program in dict.fromkeys(own.program for own in mine.values()):
        versions = sorted({own.version for own in mine.values() if own.program == program and own.version})
        which = f" (task version{'s' * (len(versions) > 1)} {' and '.join(versions)})" if versions else ""
        if program == paper.protocol.program:
            same.append(program + which)
        else:
            differs.append(Difference("version", f"{program}{which} instead of {paper.protocol.program}"))


def _subset(
    items: Mapping[str, int], scored: set[str], paper: PaperTable, differs: list[Difference], same: list[str]
) -> None:
    have = {place[1] for task in items if (place := place_of(task)) is not None}
    lost = [task for task in items if place_of(task) is not None and task not in scored]
    extra = [task for task in items if place_of(task) is None]
    absent = [row for row in paper.values if row not in have]
    if absent:
        present = [row for row in paper.values if row in have]
        listed = f"without {_listed(absent)}" if len(absent) <= len(have) else _listed(present)
        differs.append(Difference("subset", f"{len(have)} of {len(paper.values)} tasks: {listed}"))
    if lost:
        differs.append(Difference("subset", f"not scored: {_names(lost)}"))
    if extra:
        differs.append(Difference("subset", f"not in the paper, yet in this average: {_names(extra)}"))
    if not (absent or lost or extra):
        same.append(f"all {len(paper.values)} tasks")


def _limit(
    mine: Mapping[str, TaskProtocol],
    items: Mapping[str, int],
    paper: PaperTable,
    differs: list[Difference],
    same: list[str],
) -> None:
    known = {task: own.items for task, own in mine.items() if own.items}
    other = {task: items[task] for task, size in known.items() if items[task] != size}
    if other:
        counts, sizes = _span(other.values()), _span(known[task] for task in other)
        where = "" if len(other) == len(mine) else f" ({_names(other)})"
        differs.append(Difference("limit", f"{counts} items a task instead of {sizes}{where}"))
    elif known:
        whose = "all " if len(mine) == len(paper.values) else "all their "
        same.append(f"{whose}{sum(known.values()):,} items")


def _span(numbers: Iterable[int]) -> str:
    found = sorted(set(numbers))
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"


def _names(tasks: Iterable[str]) -> str:
    return _listed(task_title(task) for task in tasks)


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(found) if len(found) <= LISTED else f"{', '.join(found[:LISTED])} and {len(found) - LISTED} more"
