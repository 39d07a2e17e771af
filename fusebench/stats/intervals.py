"""Values of every row with their intervals: Wilson's for right/wrong outcomes, the bootstrap's otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64
from numpy import ndarray
from scipy.stats import norm

from fusebench.stats.metrics import lower_is_better
from fusebench.stats.panel import Column, Group, Panel, groups
from fusebench.stats.resample import draws, generator
from fusebench.stats.summary import AVERAGE, OVERALL, primary_only, summarise

ESTIMATE_COLUMNS = ("experiment", "method", "step", "tokens", "suite", "task", "metric", "value", "low", "high", "n")


@dataclass(frozen=True)
class Estimates:
    """Values with intervals, seeds averaged, and the resampled averages behind them.

    Args:
        table: ESTIMATE_COLUMNS; averages (task `average`) and the overall score (suite `overall`) included.
        columns: of each experiment, the columns of its draws.
        draws: of each (experiment, suite), resampled averages, the same items drawn for every column.
    """

    table: pd.DataFrame
    columns: dict[str, list[Column]]
    draws: dict[tuple[str, str], Float64[ndarray, "resample column"]]


def wilson(
    successes: Float64[ndarray, " row"], n: Float64[ndarray, " row"], confidence: float
) -> tuple[Float64[ndarray, " row"], Float64[ndarray, " row"]]:
    """Return the lower and upper end of Wilson's score interval of a proportion; NaN where n is 0.

    Source: Wilson 1927; the closed form without continuity correction.
    """
    z = float(norm.ppf(0.5 + confidence / 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        p = successes / n
        centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def bootstrap_means(panel: Panel, resamples: int, rng: np.random.Generator) -> Float64[ndarray, "resample column"]:
    """Return the weighted mean of each column under resampling of items, the same items for every column."""
    scored = panel.scored
    weights = np.where(scored, panel.weights[:, None], 0.0)
    weighted = weights * np.where(scored, panel.values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = [(draw @ weighted) / (draw @ weights) for draw in draws(rng, len(panel.values), resamples)]
    return np.concatenate(parts)


def percentiles(
    sampled: Float64[ndarray, "resample column"], confidence: float
) -> tuple[Float64[ndarray, " column"], Float64[ndarray, " column"]]:
    """Return the central percentile interval of each column; NaN where a resample has no value."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(sampled, [tail, 1 - tail], axis=0)
    return low, high


Ends = tuple[Float64[ndarray, " column"], Float64[ndarray, " column"], Float64[ndarray, " column"]]
"""Value, lower and upper end of each column."""


def uncollapsed(
    low: Float64[ndarray, " column"], high: Float64[ndarray, " column"], strata: Sequence[Ends]
) -> tuple[Float64[ndarray, " column"], Float64[ndarray, " column"]]:
    """Return the interval of a mean over strata, put together from theirs where the bootstrap's has no width.

    Where all items of a row are alike (all wrong, or two rows never differ) every resample is the same, and a
    bootstrap would claim certainty. The strata's own intervals (Wilson, Agresti-Min) do not.

    Source: Zou and Donner 2008, "Construction of confidence limits about effect measures" (MOVER).
    """
    values, lows, highs = (np.stack(part) for part in zip(*strata, strict=True))
    below = np.sqrt((np.maximum(values - lows, 0) ** 2).sum(axis=0)) / len(strata)
    above = np.sqrt((np.maximum(highs - values, 0) ** 2).sum(axis=0)) / len(strata)
    flat = high - low < 1e-12
    centre = values.mean(axis=0)
    return np.where(flat, centre - below, low), np.where(flat, centre + above, high)


def _means(panel: Panel) -> Float64[ndarray, " column"]:
    weights = np.where(panel.scored, panel.weights[:, None], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nansum(weights * panel.values, axis=0) / weights.sum(axis=0)


def estimate(
    samples: pd.DataFrame, *, confidence: float, bootstrap: int, seed: int, panels: Sequence[Group] | None = None
) -> Estimates:
    """Return every row's value with its interval, by task, suite and overall, final and at points of training.

    Right/wrong tasks get Wilson's interval, all else the percentile interval of a bootstrap over items
    (stratified by task in averages, as tasks are resampled one by one). `panels` are the samples' own, where they
    are at hand already.
    """
    table: list[pd.DataFrame] = []
    all_columns: dict[str, list[Column]] = {}
    kept: dict[tuple[str, str], Float64[ndarray, "resample column"]] = {}
    for group in groups(samples) if panels is None else panels:
        all_columns[group.experiment] = group.columns
        means, ends = [], []
        for panel in group.panels:
            rng = generator(seed, "bootstrap", panel.experiment, panel.suite, panel.task)
            sampled = bootstrap_means(panel, bootstrap, rng)
            means.append(sampled)
            n = panel.scored.sum(axis=0).astype(float)
            if panel.binary:
                low, high = wilson(np.nansum(panel.values, axis=0), n, confidence)
            else:
                low, high = percentiles(sampled, confidence)
            ends.append((_means(panel), low, high))
            table.append(_rows(group.experiment, group.columns, group.suite, panel.task, low, high))
        average = np.mean(means, axis=0)
        kept[group.experiment, group.suite] = average
        low, high = uncollapsed(*percentiles(average, confidence), ends)
        table.append(_rows(group.experiment, group.columns, group.suite, AVERAGE, low, high))
    results = _pooled(samples)
    scores = results[(results["task"] == AVERAGE) & (results["suite"] == OVERALL)]
    for experiment in scores["experiment"].unique():
        suites = score_suites(results, str(experiment))
        if not suites:
            continue
        top = np.mean([kept[str(experiment), s] for s in suites], axis=0)
        kept[str(experiment), OVERALL] = top
        columns = all_columns[str(experiment)]
        table.append(_rows(str(experiment), columns, OVERALL, AVERAGE, *percentiles(top, confidence)))
    keys = ["experiment", "method", "step", "suite", "task"]
    bounds = pd.concat(table, ignore_index=True) if table else pd.DataFrame(columns=[*keys, "low", "high"])
    merged = results.merge(bounds, on=keys, how="left")
    merged.loc[merged["n"] == 0, ["low", "high"]] = np.nan
    return Estimates(merged[list(ESTIMATE_COLUMNS)], all_columns, kept)


def score_suites(results: pd.DataFrame, experiment: str) -> list[str]:
    """Return the suites that the overall score of an experiment is the mean of."""
    here = results[(results["experiment"] == experiment) & (results["task"] == AVERAGE) & (results["n"] > 0)]
    here = here[(here["suite"] != OVERALL) & ~here["metric"].map(lower_is_better)]
    return [str(s) for s in here["suite"].unique()]


def _rows(
    experiment: str,
    columns: list[Column],
    suite: str,
    task: str,
    low: Float64[ndarray, " column"],
    high: Float64[ndarray, " column"],
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "experiment": experiment,
            "method": [row for row, _ in columns],
            "step": [step for _, step in columns],
            "suite": suite,
            "task": task,
            "low": low,
            "high": high,
        }
    )


def _pooled(samples: pd.DataFrame) -> pd.DataFrame:
    """Return the summary with only the primary metric of each task, and seeds averaged."""
    results = summarise(samples)
    if results.empty:
        return results
    is_task = results["task"] != AVERAGE
    results = pd.concat([primary_only(results[is_task]), results[~is_task]])
    if results["seed"].nunique() == 1:
        return results
    keys = ["experiment", "method", "step", "suite", "task", "metric"]
    by = results.groupby(keys, sort=False)
    return by.agg(
        tokens=("tokens", "max"), value=("value", "mean"), n=("n", "max"), kinds=("metric", "size")
    ).reset_index()


__all__ = [
    "ESTIMATE_COLUMNS",
    "Estimates",
    "bootstrap_means",
    "estimate",
    "percentiles",
    "score_suites",
    "wilson",
]
