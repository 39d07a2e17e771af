"""The outcomes of one task as a matrix: items down, rows of the results table across."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64
from numpy import ndarray

from fusebench.stats.metrics import lower_is_better
from fusebench.stats.summary import AVERAGE, primary_only, summarise

Column = tuple[str, int]
"""A row of the results table at a step of training; -1 is the final model."""


@dataclass(frozen=True)
class Panel:
    """One task's outcomes, items paired over all rows; several seeds are averaged item by item.

    Args:
        experiment, suite, task, metric: what was measured; the metric is the task's primary one.
        columns: the same list for all panels of an experiment.
        values: NaN where a row has no scored sample of the item.
        weights: 1, or the bytes of the item.
    """

    experiment: str
    suite: str
    task: str
    metric: str
    columns: list[Column]
    values: Float64[ndarray, "item column"]
    weights: Float64[ndarray, " item"]

    @property
    def scored(self) -> Bool[ndarray, "item column"]:
        """Return where there is a value."""
        return ~np.isnan(self.values)

    @property
    def binary(self) -> bool:
        """Return whether every outcome is right (1) or wrong (0), all of the same weight."""
        values = self.values[self.scored]
        return bool(np.isin(values, (0.0, 1.0)).all()) and bool((self.weights == self.weights[:1]).all())

    @property
    def lower_is_better(self) -> bool:
        """Return the metric's direction."""
        return lower_is_better(self.metric)


@dataclass(frozen=True)
class Group:
    """The panels that one average is over.

    Args:
        experiment, suite: where; a suite of no scored task has no panels.
        panels: one per task that at least one row has a score for.
    """

    experiment: str
    suite: str
    columns: list[Column]
    panels: list[Panel]


def groups(samples: pd.DataFrame) -> Iterator[Group]:
    """Yield the panels of every (experiment, suite), tasks in order of appearance.

    Args:
        samples: columns as in SAMPLE_COLUMNS.
    """
    samples = samples.reset_index(drop=True)
    results = summarise(samples, overall=False)
    results = results[results["task"] != AVERAGE]

    wanted = primary_only(results)
    metric_of = dict(zip(zip(wanted["suite"], wanted["task"], strict=True), wanted["metric"], strict=True))
    frame = pd.DataFrame(
        {name: samples[name].astype(object) for name in ("experiment", "row", "suite", "task", "item", "metric")}
    )
    frame["step"] = samples["step"].to_numpy(dtype=np.int64)
    frame["value"], frame["weight"] = samples["value"].to_numpy(dtype=float), samples["weight"].to_numpy(dtype=float)
    ok = (samples["status"].to_numpy(dtype=object) == "ok") & ~np.isnan(frame["value"]) & (frame["weight"] > 0)
    for experiment, whole in frame.groupby("experiment", sort=False):
        columns = [(str(r), int(s)) for r, s in whole[["row", "step"]].drop_duplicates().itertuples(index=False)]
        position = {column: number for number, column in enumerate(columns)}
        for suite, part in whole[ok[whole.index]].groupby("suite", sort=False):
            panels = []
            for task, cell in part.groupby("task", sort=False):
                metric = metric_of[suite, task]
                panels.append(_panel(str(experiment), str(suite), str(task), metric, cell, columns, position))
            yield Group(str(experiment), str(suite), columns, panels)


def _panel(
    experiment: str,
    suite: str,
    task: str,
    metric: str,
    cell: pd.DataFrame,
    columns: list[Column],
    position: dict[Column, int],
) -> Panel:
    cell = cell[cell["metric"] == metric]
    item, names = pd.factorize(cell["item"])
    column = np.array([position[r, s] for r, s in zip(cell["row"], cell["step"], strict=True)], dtype=np.int64)
    shape = (len(names), len(columns))
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, (item, column), cell["value"].to_numpy())
    np.add.at(count, (item, column), 1.0)
    weights = np.zeros(len(names))
    np.maximum.at(weights, item, cell["weight"].to_numpy())
    with np.errstate(invalid="ignore"):
        values = total / count
    return Panel(experiment, suite, task, metric, columns, values, weights)
