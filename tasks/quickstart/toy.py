"""Data and scoring of the toy tasks, for lm-eval's YAML files beside this one."""

from typing import Any

from datasets import Dataset

from fusebench.evaluate.programs import program_filter
from fusebench.toyworld import TASKS, fewshot, items

run_programs = program_filter


def dataset(task: str, count: int, seed: int = 0, **_: Any) -> dict[str, Dataset]:
    """Return the held-out items as split `test`, and examples from the training part as split `fewshot`."""
    splits = {"test": Dataset.from_list(items(task, count, seed))}
    if TASKS[task].kind == "generate":
        splits["fewshot"] = Dataset.from_list(fewshot(task, 8, seed))
    return splits


def pass_at_1(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """Return the share of the item's programs that passed its tests; NaN where none could be run."""
    from fusebench.evaluate.programs import pass_at_k

    return {"pass@1": pass_at_k(results[0], 1)}
