"""The paper's own numbers and how they were measured: facts of Wan et al. 2024, arXiv:2401.10491 (see README.md here).

They stand beside a run's numbers and enter no statistic.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from fusebench.evaluate.protocol import TaskProtocol

SOURCE = "Wan et al. 2024, arXiv:2401.10491"
AVERAGE = "Average"

LANGUAGES = {
    "C++": "cpp",
    "Go": "go",
    "Java": "java",
    "JavaScript": "js",
    "PHP": "php",
    "Python": "py",
    "R": "r",
    "Ruby": "rb",
    "Rust": "rs",
    "TypeScript": "ts",
}
COUNTS = {"(3)": "three objects", "(5)": "five objects", "(7)": "seven objects"}
PREFIXES = {
    "bbh": ("bbh_cot_fewshot_", "bbh_direct_", "bbh_fewshot_"),
    "commonsense": ("",),
    "multipl_e": ("multipl_e_greedy_", "multipl_e_"),
}
"""What stands before the short name of a task in our suites, by the table of the paper that has the task."""


@dataclass(frozen=True)
class PaperTable:
    """One table of the paper by task.

    Args:
        name: bbh, commonsense or multipl_e.
        number: of the table in the paper.
        title: of the benchmark.
        models: the columns, in the paper's order.
        values: by row of the paper, in its order: one share (percent / 100) a model.
        program: what the authors evaluated with.
        protocol: how a task was put.
        metrics: of single tasks, where it is not the protocol's.
    """

    name: str
    number: int
    title: str
    models: tuple[str, ...]
    values: dict[str, tuple[float, ...]]
    protocol: TaskProtocol
    metrics: dict[str, str] = field(default_factory=dict)

    def average(self, rows: Iterable[str]) -> tuple[float, ...]:
        """Return the unweighted mean of some of the table's rows, one share a model, rounded half up as the paper's.

        Raises:
            ValueError: there are no rows.
        """
        chosen = [self.values[row] for row in rows]
        if not chosen:
            raise ValueError("no rows to average")
        # In whole hundredths of a percent: 17.255 as a float would be rounded down.
        sums = [sum(round(share * 10_000) for share in column) for column in zip(*chosen, strict=True)]
        return tuple((2 * total + len(chosen)) // (2 * len(chosen)) / 10_000 for total in sums)


_TABLES: tuple[tuple[str, int, str, TaskProtocol, dict[str, str]], ...] = (
    # "Few-shot": the benchmark's own prompts have three worked examples.
    ("bbh", 1, "BIG-Bench Hard", TaskProtocol("open-instruct", 3, "exact_match", chain_of_thought=True), {}),
    ("commonsense", 2, "CommonSense", TaskProtocol("lm-eval 0.3.0", 0, "acc_norm", choice=True), {"BoolQ": "acc"}),
    (
        "multipl_e",
        3,
        "MultiPL-E",
        TaskProtocol("bigcode-evaluation-harness", 0, "pass@1", samples=20, temperature=0.2, top_p=0.95),
        {},
    ),
)


@cache
def paper_tables() -> dict[str, PaperTable]:
    """Return the paper's tables by task, by name."""
    found = {}
    for name, number, title, protocol, metrics in _TABLES:
        models, values = read_table(name)
        shares = {row: tuple(v / 100 for v in line) for row, line in values.items() if row != AVERAGE}
        found[name] = PaperTable(name, number, title, models, shares, protocol, metrics)
    return found


def read_table(name: str) -> tuple[tuple[str, ...], dict[str, tuple[float, ...]]]:
    """Return columns and lines of a table as printed: bbh, commonsense, multipl_e, distillation or domains."""
    text = (files(__name__) / f"{name}.csv").read_text(encoding="utf-8")
    head, *lines = csv.reader(text.splitlines())
    return tuple(head[1:]), {line[0]: tuple(float(word) for word in line[1:]) for line in lines}


def short_name(row: str) -> str:
    """Return what our suites call a row of the paper, prefix left out: `logical_deduction_three_objects`."""
    if row in LANGUAGES:
        return LANGUAGES[row]
    words = row
    for count, text in COUNTS.items():
        words = words.replace(count, text)
    return words.lower().replace("-", "_").replace(" ", "_")


@cache
def _places() -> dict[str, tuple[str, str]]:
    return {
        prefix + short_name(row): (table.name, row)
        for table in paper_tables().values()
        for row in table.values
        for prefix in PREFIXES[table.name]
    }


def place_of(task: str) -> tuple[str, str] | None:
    """Return the table of the paper and its row for one of our tasks, or None where the paper lacks it."""
    return _places().get(task)
