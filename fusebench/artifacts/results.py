"""Per-sample outcomes and the sums made of them; missing is not zero."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

SAMPLE_COLUMNS: dict[str, str] = {
    "experiment": "string",  # name of the experiment in the recipe
    "row": "string",  # name of the row (method) in the recipe
    "seed": "int64",
    "step": "int64",  # -1 for the final model, else optimiser steps (efficiency curve)
    "tokens": "int64",  # tokens the method has trained on at this point
    "suite": "string",  # bbh, commonsense, multipl_e, perplexity, ...
    "task": "string",  # the task's name; for perplexity the domain
    "item": "string",  # stable id of the item: paired tests join on it
    "metric": "string",  # exact_match, acc, acc_norm, pass@1, bits_per_byte
    "value": "float64",  # 1/0 for right/wrong, bits for perplexity; NaN where status is not ok
    "weight": "float64",  # 1, or the item's bytes for bits_per_byte (value is then bits / bytes)
    "status": "string",  # ok, unavailable, error
    "prompt": "string",
    "output": "string",
    "gold": "string",
}
"""One row per (experiment, row, seed, step, task, item, metric), and the column types."""

RESULT_COLUMNS = ("experiment", "method", "seed", "step", "tokens", "suite", "task", "metric", "value", "stderr", "n")
"""Columns of `results.jsonl`; `value` is null and `n` 0 where the suite was unavailable."""


def write_samples(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write sample rows as parquet with the columns and types of `SAMPLE_COLUMNS`."""
    frame = pd.DataFrame(list(rows), columns=list(SAMPLE_COLUMNS)).astype(SAMPLE_COLUMNS)
    temporary = path.with_name(f".{path.name}")
    frame.to_parquet(temporary, index=False)
    temporary.replace(path)


def read_samples(path: Path) -> pd.DataFrame:
    """Return sample rows, columns and types as in `SAMPLE_COLUMNS`."""
    return pd.read_parquet(path).astype(SAMPLE_COLUMNS)


@dataclass(frozen=True)
class RowInfo:
    """What a row of the results table is, for captions, groupings and the cost table.

    Args:
        experiment, name: as in the recipe; `name` is the `row` of the samples and the `method` of the results.
        method: the registered method.
        role: target, source, teacher (the bigger model), clm, fusion, kd, ensemble, merge, or the method's name.
        model: for role target/source/teacher, the name of the model in the recipe.
        sources: names of the models fused, merged or averaged; the untrained target not counted.
        vocabulary, sequence, rule, criterion, clm_weight: the settings in force; empty or NaN where they do not apply.
        parameters, tokens, seconds: of the candidate; `seconds` is training or building alone.
        upstream_seconds: what had to be made first for this row alone or shared (capture, alignment, fusion).
        evaluate_seconds: evaluation.
        batches: hash of training batches and order; empty where nothing was trained.
    """

    experiment: str
    name: str
    method: str
    role: str
    model: str = ""
    sources: tuple[str, ...] = ()
    vocabulary: str = ""
    sequence: str = ""
    rule: str = ""
    criterion: str = ""
    clm_weight: float = float("nan")
    parameters: int = 0
    tokens: int = 0
    seconds: float = 0.0
    upstream_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    batches: str = ""
