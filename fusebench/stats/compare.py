"""Every planned comparison of two rows: difference, interval, p-value, correction."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float64
from numpy import ndarray

from fusebench.stats.intervals import Ends, percentiles, uncollapsed
from fusebench.stats.metrics import lower_is_better
from fusebench.stats.multiplicity import adjust
from fusebench.stats.paired import (
    agresti_min,
    bootstrap_differences,
    difference,
    mcnemar,
    permutation_p,
    permuted_differences,
)
from fusebench.stats.panel import Group, Panel, groups
from fusebench.stats.resample import generator
from fusebench.stats.summary import AVERAGE, MIXED, OVERALL

Pair = tuple[str, str, str]
"""Experiment, row A, row B."""

COMPARISON_COLUMNS = (
    "experiment",
    "a",
    "b",
    "suite",
    "task",
    "metric",
    "difference",
    "low",
    "high",
    "p",
    "p_adjusted",
    "n",
    "test",
    "favours",
)

PERMUTATIONS_PER_RESAMPLE = 10
"""Permutations for each bootstrap resample asked for: small p-values must survive the correction."""


def compare(
    samples: pd.DataFrame,
    pairs: Sequence[Pair],
    *,
    confidence: float,
    bootstrap: int,
    correction: str,
    seed: int,
    panels: Sequence[Group] | None = None,
) -> pd.DataFrame:
    """Return one row per pair and task, suite average and overall score, as COMPARISON_COLUMNS.

    `difference` is A minus B in the metric's own unit, over the items that both have (`n`). `favours` is `a`
    or `b` where the adjusted p-value is under 1 - confidence and the difference points that way (bits per
    byte: lower is better), else empty. Right/wrong tasks: McNemar's exact test and the Agresti-Min interval.
    All else: a paired permutation test and a paired bootstrap, stratified by task in averages.

    The correction is made within families, one per table that shows them: the overall scores of an
    experiment, the averages of one suite, the tasks of one suite. Final models only; several seeds are
    averaged item by item first.

    Args:
        samples: columns as in SAMPLE_COLUMNS.
        pairs: the planned comparisons; a pair naming an unknown row gives rows without numbers.
        confidence: of intervals, and 1 - the level of the tests.
        bootstrap: resamples; permutations are ten times as many.
        correction: `holm` or `none`.
        seed: of the resampling.
        panels: the samples' own panels, where they are at hand already.
    """
    records: list[pd.DataFrame] = []
    tops: dict[str, list[_Sampled]] = {}
    for group in groups(samples) if panels is None else panels:
        here = [(a, b) for experiment, a, b in dict.fromkeys(pairs) if experiment == group.experiment]
        here = [(a, b) for a, b in here if (a, -1) in group.columns and (b, -1) in group.columns]
        if not here:
            continue
        parts = []
        for panel in group.panels:
            part = _sample(panel, here, bootstrap, seed)
            parts.append(part)
            rows = _task_rows(panel, here, part, confidence)
            part.ends = (part.observed, rows["low"].to_numpy(dtype=float), rows["high"].to_numpy(dtype=float))
            records.append(rows)
        average = _mean(parts, here, confidence)
        metrics = {panel.metric for panel in group.panels}
        metric = metrics.pop() if len(metrics) == 1 else MIXED
        records.append(_average_rows(group.experiment, group.suite, metric, average))
        if not lower_is_better(metric):
            tops.setdefault(group.experiment, []).append(average)
    for experiment, averages in tops.items():
        if len(averages) > 1:
            top = _mean(averages, averages[0].pairs, confidence)
            records.append(_average_rows(experiment, OVERALL, MIXED, top))
    if not records:
        return pd.DataFrame(columns=list(COMPARISON_COLUMNS))
    out = pd.concat(records, ignore_index=True)
    out["p_adjusted"] = _adjusted(out, correction)
    out["favours"] = favours(out, confidence)
    return out[list(COMPARISON_COLUMNS)]


def favours(comparisons: pd.DataFrame, confidence: float) -> list[str]:
    """Return, for each comparison, `a` or `b` where one is significantly better, else an empty string."""
    found = []
    for metric, gap, p in zip(comparisons["metric"], comparisons["difference"], comparisons["p_adjusted"], strict=True):
        better = -gap if lower_is_better(metric) else gap
        significant = p < 1 - confidence and better != 0
        found.append(("a" if better > 0 else "b") if significant else "")
    return found


class _Sampled:
    """Differences of the same pairs: observed, resampled, permuted, and the number of paired items."""

    def __init__(
        self,
        pairs: list[tuple[str, str]],
        observed: Float64[ndarray, " pair"],
        resampled: Float64[ndarray, "resample pair"],
        permuted: Float64[ndarray, "permutation pair"],
        n: Float64[ndarray, " pair"],
    ) -> None:
        self.pairs, self.observed, self.resampled, self.permuted, self.n = pairs, observed, resampled, permuted, n
        self.ends: Ends = (observed, observed, observed)


def _sides(panel: Panel, pairs: list[tuple[str, str]]) -> tuple[ndarray, ndarray]:
    at = {column: number for number, column in enumerate(panel.columns)}
    return panel.values[:, [at[a, -1] for a, _ in pairs]], panel.values[:, [at[b, -1] for _, b in pairs]]


def _sample(panel: Panel, pairs: list[tuple[str, str]], bootstrap: int, seed: int) -> _Sampled:
    a, b = _sides(panel, pairs)
    gap = a - b
    both = ~np.isnan(gap)
    gap = np.where(both, gap, 0.0)
    weights = np.where(both, panel.weights[:, None], 0.0)
    names = (panel.experiment, panel.suite, panel.task)
    return _Sampled(
        pairs,
        difference(gap, weights),
        bootstrap_differences(gap, weights, bootstrap, generator(seed, "bootstrap", *names)),
        permuted_differences(
            gap, weights, bootstrap * PERMUTATIONS_PER_RESAMPLE, generator(seed, "permutation", *names)
        ),
        both.sum(axis=0).astype(float),
    )


def _mean(parts: list[_Sampled], pairs: list[tuple[str, str]], confidence: float) -> _Sampled:
    """Return the unweighted mean over strata; NaN where one of them lacks the pair."""
    mean = _Sampled(
        pairs,
        np.mean([part.observed for part in parts], axis=0),
        np.mean([part.resampled for part in parts], axis=0),
        np.mean([part.permuted for part in parts], axis=0),
        np.sum([part.n for part in parts], axis=0),
    )
    low, high = uncollapsed(*percentiles(mean.resampled, confidence), [part.ends for part in parts])
    mean.ends = (mean.observed, low, high)
    return mean


def _task_rows(panel: Panel, pairs: list[tuple[str, str]], part: _Sampled, confidence: float) -> pd.DataFrame:
    if panel.binary:
        a, b = _sides(panel, pairs)
        only_a, only_b = ((a == 1) & (b == 0)).sum(axis=0), ((a == 0) & (b == 1)).sum(axis=0)
        n = part.n.astype(np.int64)
        p = np.where(n > 0, mcnemar(only_a, only_b), np.nan)
        low, high = agresti_min(only_a, only_b, n, confidence)
        test = "mcnemar_exact"
    else:
        p = permutation_p(part.observed, part.permuted)
        low, high = percentiles(part.resampled, confidence)
        test = "paired_permutation"
    return _frame(panel.experiment, panel.suite, panel.task, panel.metric, part, (low, high, p), test)


def _average_rows(experiment: str, suite: str, metric: str, part: _Sampled) -> pd.DataFrame:
    _, low, high = part.ends
    p = permutation_p(part.observed, part.permuted)
    return _frame(experiment, suite, AVERAGE, metric, part, (low, high, p), "stratified_permutation")


def _frame(
    experiment: str,
    suite: str,
    task: str,
    metric: str,
    part: _Sampled,
    numbers: tuple[ndarray, ndarray, ndarray],
    test: str,
) -> pd.DataFrame:
    low, high, p = numbers
    return pd.DataFrame(
        {
            "experiment": experiment,
            "a": [a for a, _ in part.pairs],
            "b": [b for _, b in part.pairs],
            "suite": suite,
            "task": task,
            "metric": metric,
            "difference": part.observed,
            "low": low,
            "high": high,
            "p": p,
            "n": np.where(np.isnan(part.observed), 0, part.n).astype(np.int64),
            "test": test,
        }
    )


def _adjusted(comparisons: pd.DataFrame, correction: str) -> Float64[ndarray, " test"]:
    level = (comparisons["task"] == AVERAGE).to_numpy()
    out = np.full(len(comparisons), np.nan)
    for index in comparisons.groupby([comparisons["experiment"], comparisons["suite"], level]).indices.values():
        out[index] = adjust(comparisons["p"].to_numpy(dtype=float)[index], correction)
    return out


__all__ = ["COMPARISON_COLUMNS", "Group", "Pair", "compare", "favours"]
