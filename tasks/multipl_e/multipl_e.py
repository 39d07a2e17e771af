"""Data and scoring of MultiPL-E (HumanEval translations), for lm-eval's YAML files beside this one."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from fusebench.evaluate.data import SOURCES, load_hub, load_local
from fusebench.evaluate.programs import pass_at_k, program_filter


def prompt(doc: dict[str, Any]) -> str:
    """Return what the model is given: without the white space around it, as MultiPL-E's own runner and others do.

    After a line break of the prompt, many models begin a new function instead of the body.
    """
    return str(doc["prompt"]).strip()


def run_programs(resps: Sequence[Sequence[str]], docs: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the outcomes of programs that begin with the prompt as the model saw it; see `program_filter`."""
    return program_filter(resps, [{**doc, "prompt": prompt(doc)} for doc in docs])


def dataset(task: str, data_root: str | None = None, **_: Any) -> dict[str, Dataset]:
    """Return the problems of one language, of a local folder (data_root, FUSEBENCH_DATA) or of the hub."""
    root = data_root or os.environ.get("FUSEBENCH_DATA")
    if root:
        return {"test": Dataset.from_list(load_local(task, Path(root)))}
    return {"test": load_hub(SOURCES[task])}


def greedy(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """Return pass@1 of the one greedy program."""
    return {"pass@1": pass_at_k(results[0], 1)}


def sampled(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """Return the unbiased pass@1 and pass@10 of all samples."""
    return {"pass@1": pass_at_k(results[0], 1), "pass@10": pass_at_k(results[0], 10)}
