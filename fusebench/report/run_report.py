"""Everything that the report is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from fusebench.align.summary import Summary
from fusebench.artifacts import FusionChoice, ProbeRecord, RowInfo
from fusebench.evaluate.protocol import SuiteProtocol
from fusebench.stats import Analysis, analyse


@dataclass(frozen=True)
class RunReport:
    """A finished run, gathered.

    Args:
        name, title, description, seed, preset: as in the recipe.
        rows: every row of every experiment, in the recipe's order.
        samples: columns as in SAMPLE_COLUMNS; step -1 is the final model.
        choices: by (experiment, row), which source won each block.
        coverage: columns experiment, row, source, outcome (of OUTCOMES), share of target positions.
        recipe_yaml: the recipe with all its defaults.
        versions: program and library versions.
        hashes: content hash of each stage.
        suites: name, family (bbh, commonsense, multipl_e, perplexity, ...) and title of each suite.
        confidence, bootstrap, correction: as in the recipe's `stats`.
        notes: anything the reader should know, one sentence each.
        alignments: by (experiment, row, source), what alignment achieved.
        experiment_titles: for people, by the experiment's name.
        seconds: wall time of all stages together.
        protocols: by suite, how its tasks were put; a suite without one is not compared with the paper's.
        probes: what became of the attacks on the sandbox before programs were scored; empty where none were.
    """

    name: str
    title: str
    description: str
    seed: int
    preset: str
    rows: list[RowInfo]
    samples: pd.DataFrame
    choices: dict[tuple[str, str], FusionChoice]
    coverage: pd.DataFrame
    recipe_yaml: str
    versions: dict[str, str]
    hashes: dict[str, str]
    suites: list[tuple[str, str, str]]
    confidence: float = 0.95
    bootstrap: int = 2000
    correction: str = "holm"
    notes: list[str] = field(default_factory=list)
    alignments: dict[tuple[str, str, str], Summary] = field(default_factory=dict)
    experiment_titles: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    protocols: dict[str, SuiteProtocol] = field(default_factory=dict)
    probes: list[ProbeRecord] = field(default_factory=list)

    @cached_property
    def analysis(self) -> Analysis:
        """Return all statistics, computed once."""
        return analyse(
            self.samples,
            self.rows,
            self.suites,
            confidence=self.confidence,
            bootstrap=self.bootstrap,
            correction=self.correction,
            seed=self.seed,
        )

    @property
    def only_models(self) -> bool:
        """Return whether all rows are models taken as they are, of no experiment: there is no fusion to judge."""
        return all(row.role == "model" for row in self.rows)

    def suite_title(self, name: str) -> str:
        """Return a suite's title, or its name where it has none."""
        return {suite: title for suite, _, title in self.suites}.get(name, name)
