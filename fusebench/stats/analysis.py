"""All statistics of a run in one go: what the report shows, and nothing it would have to compute itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from fusebench.artifacts.results import RowInfo
from fusebench.stats.claims import Claim, Suites, claims
from fusebench.stats.compare import compare
from fusebench.stats.efficiency import TokenShare, token_shares
from fusebench.stats.intervals import Estimates, estimate
from fusebench.stats.panel import groups
from fusebench.stats.rowgroups import Layout, layouts, planned_pairs
from fusebench.stats.summary import summarise


@dataclass(frozen=True)
class Analysis:
    """The numbers of a run.

    Args:
        results: of `summarise`, seeds apart; what `results.jsonl` holds.
        estimates: values with intervals, seeds averaged.
        comparisons: of `compare`, for the pairs of `planned_pairs`.
        shares: of `token_shares`.
        claims: C1 to C7.
        layouts: which rows belong together, by experiment.
    """

    results: pd.DataFrame
    estimates: Estimates
    comparisons: pd.DataFrame
    shares: list[TokenShare]
    claims: list[Claim]
    layouts: list[Layout]


def analyse(
    samples: pd.DataFrame,
    rows: Sequence[RowInfo],
    suites: Suites,
    *,
    confidence: float = 0.95,
    bootstrap: int = 2000,
    correction: str = "holm",
    seed: int = 0,
) -> Analysis:
    """Return all statistics of a run; the same samples and seed give the same numbers.

    Args:
        samples: columns as in SAMPLE_COLUMNS.
        rows: every row of every experiment.
        suites: name, family and title of each suite.
        confidence, bootstrap, correction: as in the recipe's `stats`.
        seed: of all resampling.
    """
    panels = list(groups(samples))
    estimates = estimate(samples, confidence=confidence, bootstrap=bootstrap, seed=seed, panels=panels)
    comparisons = compare(
        samples,
        planned_pairs(rows),
        confidence=confidence,
        bootstrap=bootstrap,
        correction=correction,
        seed=seed,
        panels=panels,
    )
    shares = token_shares(estimates, rows, confidence=confidence)
    return Analysis(
        summarise(samples),
        estimates,
        comparisons,
        shares,
        claims(rows, comparisons, shares, suites),
        layouts(rows),
    )
