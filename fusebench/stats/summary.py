"""From one row per sample to one row per task, with suite averages; missing is not zero."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fusebench.artifacts.results import RESULT_COLUMNS
from fusebench.stats.metrics import LOWER_IS_BETTER, primary

AVERAGE = "average"
"""The `task` of a suite's average: the unweighted mean of its tasks, as in the paper's tables."""

OVERALL = "overall"
"""The `suite` of the unweighted mean of the averages of all suites where higher is better."""

MIXED = "score"
"""The `metric` of an average whose tasks have different metrics (acc_norm, but acc for BoolQ)."""

_CELL = ["experiment", "method", "seed", "step"]


def summarise(samples: pd.DataFrame, *, overall: bool = True) -> pd.DataFrame:
    """Return one row per (experiment, method, seed, step, suite, task, metric), and the averages, as RESULT_COLUMNS.

    `value` is the mean of the samples with status `ok`, weighted by `weight` (bytes for bits_per_byte, else
    1); `stderr` its standard error (of the ratio estimator, for weighted means); `n` the samples behind it.
    Where no sample is `ok`, value and stderr are NaN and n is 0.

    A suite's average (task `average`) is the unweighted mean of its tasks, errors propagated as of
    independent tasks. It is taken over the tasks that at least one row of the experiment has a score for, and is
    NaN for a row that lacks one of them, so that averages of one suite are always over the same tasks. The
    overall score (suite `overall`) is the same mean of the suites' averages, bits per byte left out.

    Args:
        samples: columns as in SAMPLE_COLUMNS.
        overall: add the overall score where an experiment has two or more suites for it.
    """
    tasks = _by_task(samples.reset_index(drop=True))
    if tasks.empty:
        return pd.DataFrame(columns=list(RESULT_COLUMNS))
    parts = [tasks]
    averages = _mean_of(primary_only(tasks), [*_CELL, "suite"], "task")
    averages["task"] = AVERAGE
    parts.append(averages)
    if overall:
        scores = averages[~averages["metric"].isin(LOWER_IS_BETTER)]
        many = scores.groupby("experiment")["suite"].transform("nunique") > 1
        if many.any():
            top = _mean_of(scores[many], _CELL, "suite")
            top["suite"], top["task"] = OVERALL, AVERAGE
            parts.append(top)
    out = pd.concat(parts, ignore_index=True)[list(RESULT_COLUMNS)]
    return out.astype({"n": "int64", "seed": "int64", "step": "int64", "tokens": "int64"})


def primary_only(tasks: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the metric that stands for each task; a metric with scores goes before one without."""
    known = tasks.groupby(["suite", "task", "metric"], sort=False)["n"].max().reset_index()
    known["scored"] = known["n"] > 0
    chosen: dict[tuple[str, str], str] = {}
    for (suite, task), group in known.groupby(["suite", "task"], sort=False):
        names = group.loc[group["scored"], "metric"] if group["scored"].any() else group["metric"]
        chosen[str(suite), str(task)] = primary(names)
    keys = zip(tasks["suite"], tasks["task"], strict=True)
    return tasks[tasks["metric"].to_numpy() == np.array([chosen[k] for k in keys], dtype=object)]


def _by_task(samples: pd.DataFrame) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            **{name: samples[name].astype(object) for name in ("experiment", "suite", "task", "metric")},
            "method": samples["row"].astype(object),
            **{name: samples[name].to_numpy(dtype=np.int64) for name in ("seed", "step", "tokens")},
        }
    )
    value, weight = samples["value"].to_numpy(dtype=float), samples["weight"].to_numpy(dtype=float)
    ok = (samples["status"].to_numpy(dtype=object) == "ok") & ~np.isnan(value) & (weight > 0)
    frame["n"] = ok.astype(np.int64)
    frame["w"] = np.where(ok, weight, 0.0)
    frame["wv"] = np.where(ok, weight * np.where(ok, value, 0.0), 0.0)
    keys = [*_CELL, "suite", "task", "metric"]
    groups = frame.groupby(keys, sort=False)
    sums = groups.agg(tokens=("tokens", "max"), n=("n", "sum"), w=("w", "sum"), wv=("wv", "sum"))
    with np.errstate(invalid="ignore", divide="ignore"):
        sums["value"] = sums["wv"] / sums["w"]
        mean = sums["value"].to_numpy()[groups.ngroup().to_numpy()]
        frame["residual"] = np.where(ok, (frame["wv"].to_numpy() - frame["w"].to_numpy() * mean) ** 2, 0.0)
        squares = frame.groupby(keys, sort=False)["residual"].sum()
        n = sums["n"].to_numpy(dtype=float)
        # Of one sample nothing is known about the spread: 0/0 stays NaN.
        sums["stderr"] = np.sqrt(squares.to_numpy() * n / (n - 1)) / sums["w"]
    sums.loc[sums["n"] < 2, "stderr"] = np.nan
    return sums.reset_index()


def _mean_of(rows: pd.DataFrame, keys: list[str], over: str) -> pd.DataFrame:
    """Return the mean over `over` within `keys`, NaN where a member that another row has is missing."""
    place = ["experiment", "suite"] if over == "task" else ["experiment"]
    scored = rows[rows["n"] > 0]
    wanted = scored.groupby(place)[over].nunique().rename("wanted")
    members = scored[[*place, over]].drop_duplicates()
    counted = rows.merge(members, on=[*place, over], how="left", indicator=True)
    counted = counted[counted["_merge"] == "both"].drop(columns="_merge")
    counted["variance"] = counted["stderr"] ** 2
    counted["spread"] = counted["stderr"].notna()
    got = counted.groupby(keys, sort=False).agg(
        value=("value", "mean"),
        variance=("variance", "sum"),
        spread=("spread", "all"),
        have=("value", "count"),
        n=("n", "sum"),
        kinds=("metric", "nunique"),
        metric=("metric", "first"),
    )
    # Rows of which nothing was scored still get their (empty) average.
    frame = rows.groupby(keys, sort=False).agg(tokens=("tokens", "max"), fallback=("metric", "first")).join(got)
    frame = frame.reset_index().merge(wanted.reset_index(), on=place, how="left")
    whole = (frame["have"] == frame["wanted"]).to_numpy()
    known = whole & (frame["spread"] == True).to_numpy()  # noqa: E712  (absent is not True either)
    frame["stderr"] = np.where(known, np.sqrt(frame["variance"].astype(float)) / frame["wanted"], np.nan)
    frame["value"] = np.where(whole, frame["value"].astype(float), np.nan)
    frame["n"] = np.where(whole, frame["n"].fillna(0), 0).astype(np.int64)
    frame["metric"] = np.where(frame["kinds"] > 1, MIXED, frame["metric"].fillna(frame["fallback"]))
    return frame
