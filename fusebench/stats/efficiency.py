"""How many of the baseline's tokens fusion needs to reach the baseline's final score (claim C2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float64
from numpy import ndarray

from fusebench.artifacts.results import RowInfo
from fusebench.stats.intervals import Estimates
from fusebench.stats.metrics import lower_is_better
from fusebench.stats.rowgroups import Layout, layouts
from fusebench.stats.summary import AVERAGE, OVERALL


@dataclass(frozen=True)
class TokenShare:
    """Tokens that fusion needs to reach the baseline's final score, as a share of the baseline's tokens.

    Args:
        experiment, suite: where; suite `overall` is the mean of the score suites.
        metric: of the suite's average.
        fusion, baseline: names of the rows.
        share: 1 is as many as the baseline; infinite where fusion ends below it.
        low, high: percentile interval, items resampled.
        points: checkpoints of fusion behind it, the final model counted.
        learned: the baseline's final score is above the curve's start in almost every resample. If not, there is
            nothing to reach, and the share says nothing.
    """

    experiment: str
    suite: str
    metric: str
    fusion: str
    baseline: str
    share: float
    low: float
    high: float
    points: int
    learned: bool = True


def reach(
    tokens: Float64[ndarray, " point"], scores: Float64[ndarray, "draw point"], goal: Float64[ndarray, " draw"]
) -> Float64[ndarray, " draw"]:
    """Return the tokens from which on each curve stays at or above its goal; infinite where its end is below.

    The curve is linear between points. It is the LAST crossing that counts: a noisy early point that happens
    to touch the goal is not "reached".

    Args:
        tokens: ascending.
        scores: higher is better.
        goal: one per curve.
    """
    below = scores < goal[:, None]
    points = len(tokens)
    last = np.where(below.any(axis=1), points - 1 - np.argmax(below[:, ::-1], axis=1), -1)
    out = np.full(len(goal), np.inf)
    out[last == -1] = tokens[0]
    inner = (last >= 0) & (last < points - 1)
    draw, left = np.flatnonzero(inner), last[inner]
    y0, y1 = scores[draw, left], scores[draw, left + 1]
    out[inner] = tokens[left] + (goal[inner] - y0) / (y1 - y0) * (tokens[left + 1] - tokens[left])
    return out


def token_shares(estimates: Estimates, rows: Sequence[RowInfo], *, confidence: float) -> list[TokenShare]:
    """Return the token share of every experiment and suite that has a curve for the main fusion row.

    The curve begins with the target at 0 tokens, where the experiment has it as a row. Suite `overall` is the
    mean of those score suites that were evaluated on the way.
    """
    found = []
    for layout in layouts(rows):
        if layout.main is None or not layout.of("clm"):
            continue
        here = [suite for e, suite in estimates.draws if e == layout.experiment and suite != OVERALL]
        shares = {suite: _share(estimates, layout, [suite], suite, confidence) for suite in here}
        found += [share for share in shares.values() if share is not None]
        scores = [suite for suite, share in shares.items() if share and not lower_is_better(share.metric)]
        if len(scores) > 1:
            overall = _share(estimates, layout, scores, OVERALL, confidence)
            found += [overall] if overall is not None else []
    return found


def curve(estimates: Estimates, layout: Layout, row: str, suite: str) -> pd.DataFrame:
    """Return the points of a row's curve (tokens, step, value, low, high), the target's start put first.

    Columns as in ESTIMATE_COLUMNS, ascending in tokens; empty without points of training.
    """
    table = estimates.table
    here = table[
        (table["experiment"] == layout.experiment)
        & (table["suite"] == suite)
        & (table["task"] == AVERAGE)
        & table["value"].notna()
    ]
    own = here[here["method"] == row]
    if not (own["step"] >= 0).any():
        return own.iloc[:0]
    if not (own["step"] == 0).any():
        targets = [r.name for r in layout.of("target")]
        start = here[here["method"].isin(targets) & (here["step"] == -1)].head(1).assign(tokens=0)
        own = pd.concat([start, own])
    # The final model (step -1) and a checkpoint at the last step are the same model: keep the final one.
    own = own.sort_values(["tokens", "step"], kind="stable").drop_duplicates("tokens")
    return own.reset_index(drop=True)


def _share(
    estimates: Estimates, layout: Layout, suites: Sequence[str], name: str, confidence: float
) -> TokenShare | None:
    assert layout.main is not None
    experiment, clm = layout.experiment, layout.of("clm")[0].name
    points = [curve(estimates, layout, layout.main.name, suite) for suite in suites]
    table = estimates.table
    final = table[
        (table["experiment"] == experiment)
        & (table["method"] == clm)
        & (table["step"] == -1)
        & table["suite"].isin(suites)
        & (table["task"] == AVERAGE)
        & (table["n"] > 0)
    ]
    keys = [list(zip(part["method"], part["step"], strict=True)) for part in points]
    if len(keys[0]) < 3 or any(key != keys[0] for key in keys) or len(final) != len(suites):
        return None
    metric, budget = str(final["metric"].iloc[0]), float(final["tokens"].iloc[0])
    if budget <= 0:
        return None
    sign = -1.0 if lower_is_better(metric) else 1.0
    at = {column: number for number, column in enumerate(estimates.columns[experiment])}
    draws = sign * np.mean([estimates.draws[experiment, suite] for suite in suites], axis=0)
    tokens = points[0]["tokens"].to_numpy(dtype=float)
    sampled = reach(tokens, draws[:, [at[key] for key in keys[0]]], draws[:, at[clm, -1]]) / budget
    values = sign * np.mean([part["value"].to_numpy(dtype=float) for part in points], axis=0)
    goal = sign * np.array([final["value"].mean()])
    observed = reach(tokens, values[None], goal) / budget
    tail = (1 - confidence) / 2
    # Order statistics, because infinite shares cannot be interpolated.
    low, high = np.quantile(sampled, [tail, 1 - tail], method="nearest")
    # Before any training the two are the same model; the tail is that of the interval.
    learned = tokens[0] > 0 or float(np.mean(draws[:, at[keys[0][0]]] < draws[:, at[clm, -1]])) >= 1 - tail
    own = sum(row == layout.main.name for row, _ in keys[0])
    return TokenShare(
        experiment, name, metric, layout.main.name, clm, float(observed[0]), float(low), float(high), own, learned
    )
