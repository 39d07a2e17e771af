"""A few items with what the rows answered, picked by a stated rule, not by hand."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from fusebench.report.run_report import RunReport
from fusebench.report.titles import task_title
from fusebench.stats.metrics import LOWER_IS_BETTER
from fusebench.stats.rowgroups import Layout

LONGEST = 700
"""Characters shown of a prompt (its end) and of an output (its start)."""


@dataclass(frozen=True)
class Answer:
    """What one row answered; `mark` is right, wrong or partly."""

    row: str
    mark: str
    text: str


@dataclass(frozen=True)
class Example:
    """One item: where it is from, why it was picked, the prompt's end, the answer wanted, and the answers given."""

    suite: str
    task: str
    item: str
    picked: str
    prompt: str
    gold: str
    answers: list[Answer]


def examples(report: RunReport, layout: Layout) -> list[Example]:
    """Return up to two items per score suite: the first that fusion alone has right, the first it alone misses.

    Where there is none such, the suite's first item. Compared are the main fusion row and the baseline.
    """
    if layout.main is None or layout.baseline is None:
        return []
    samples = report.samples
    names = [layout.baseline.name, layout.main.name]
    mask = (samples["experiment"] == layout.experiment) & (samples["step"] == -1) & samples["row"].isin(names)
    mask &= (samples["status"] == "ok") & ~samples["metric"].isin(LOWER_IS_BETTER)
    here = samples[mask.to_numpy(dtype=bool)].drop_duplicates(["row", "suite", "task", "item"])
    found = []
    for suite, part in here.groupby("suite", sort=False):
        wide = part.pivot(index=["task", "item"], columns="row", values="value")
        if not set(names) <= set(wide.columns):
            continue
        wide = wide[names].dropna()
        base, main = wide[names[0]], wide[names[1]]
        picks = [
            (f"{names[1]} right, {names[0]} wrong", wide.index[(main > base).to_numpy()]),
            (f"{names[0]} right, {names[1]} wrong", wide.index[(main < base).to_numpy()]),
        ]
        chosen = [(why, index[0]) for why, index in picks if len(index)]
        if not chosen and len(wide):
            chosen = [("first item; both alike", wide.index[0])]
        found += [_example(report.suite_title(str(suite)), part, names, why, place) for why, place in chosen]
    return found


def _example(suite: str, part: pd.DataFrame, names: list[str], why: str, place: tuple[str, str]) -> Example:
    task, item = place
    item_rows = part[((part["task"] == task) & (part["item"] == item)).to_numpy(dtype=bool)].set_index("row")
    answers = []
    for name in names:
        value = float(item_rows.loc[name, "value"])  # type: ignore[arg-type]
        mark = "right" if value == 1 else "wrong" if value == 0 else f"{100 * value:.0f} %"
        answers.append(Answer(name, mark, visible(str(item_rows.loc[name, "output"]))[:LONGEST]))
    first = item_rows.iloc[0]
    prompt = visible(str(first["prompt"]))
    shown = prompt if len(prompt) <= LONGEST else "… " + prompt[-LONGEST:]
    return Example(suite, task_title(task), item, why, shown, visible(str(first["gold"]))[:LONGEST], answers)


def visible(text: str) -> str:
    """Return text with control characters (but newline and tab) shown as their Unicode pictures."""
    return "".join(
        c if c in "\n\t" or not (ord(c) < 32 or ord(c) == 127) else chr(0x2400 + ord(c) if ord(c) < 32 else 0x2421)
        for c in text
    )
