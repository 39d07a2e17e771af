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
from fusebench.stats.summary import AVERAGE


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

    The curve begins with the target at 0 tokens, where the experiment has it as a row.
    """
    found = []
    for layout in layouts(rows):
        if layout.main is None or not layout.of("clm"):
            continue
        for experiment, suite in estimates.draws:
            if experiment == layout.experiment:
                share = _share(estimates, layout, suite, confidence)
                if share is not None:
                    found.append(share)
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


def _share(estimates: Estimates, layout: Layout, suite: str, confidence: float) -> TokenShare | None:
    assert layout.main is not None
    clm = layout.of("clm")[0].name
    points = curve(estimates, layout, layout.main.name, suite)
    table = estimates.table
    final = table[
        (table["experiment"] == layout.experiment)
        & (table["method"] == clm)
        & (table["step"] == -1)
        & (table["suite"] == suite)
        & (table["task"] == AVERAGE)
    ]
    if len(points) < 3 or final.empty or not final["n"].iloc[0] or not (final["tokens"].iloc[0] > 0):
        return None
    metric, budget = str(final["metric"].iloc[0]), float(final["tokens"].iloc[0])
    sign = -1.0 if lower_is_better(metric) else 1.0
    at = {column: number for number, column in enumerate(estimates.columns[layout.experiment])}
    draws = sign * estimates.draws[layout.experiment, suite]
    tokens = points["tokens"].to_numpy(dtype=float)
    keys = list(zip(points["method"], points["step"], strict=True))
    sampled = reach(tokens, draws[:, [at[key] for key in keys]], draws[:, at[clm, -1]]) / budget
    observed = reach(tokens, sign * points["value"].to_numpy(dtype=float)[None], sign * final["value"].to_numpy())
    tail = (1 - confidence) / 2
    # Order statistics, because infinite shares cannot be interpolated.
    low, high = np.quantile(sampled, [tail, 1 - tail], method="nearest")
    own = int((points["method"] == layout.main.name).sum())
    return TokenShare(
        layout.experiment,
        suite,
        metric,
        layout.main.name,
        clm,
        float(observed[0] / budget),
        float(low),
        float(high),
        own,
    )
