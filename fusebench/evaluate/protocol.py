"""How a suite's tasks are put to a model, read from their definitions: nothing here is known of the paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from fusebench.evaluate.data import SOURCES
from fusebench.evaluate.suites import SuiteRun, lm_eval_tasks_folder, metric_of, tasks_folder
from fusebench.toyworld import TASKS as TOY_TASKS


@dataclass(frozen=True)
class TaskProtocol:
    """How the items of one task are put and scored.

    Args:
        program: whose definition of the task it is, with the program's version.
        shots: worked examples before the question.
        chain_of_thought: reasons before the answer.
        choice: the likeliest of given answers is taken; nothing is generated.
        samples: answers drawn for each item.
        temperature, top_p: of drawing; temperature 0 is greedy.
        metric: what is scored.
        items: how many the task has; 0 where unknown.
        version: of the definition; empty where it has none.
    """

    program: str
    shots: int
    metric: str
    chain_of_thought: bool = False
    choice: bool = False
    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    items: int = 0
    version: str = ""


@dataclass(frozen=True)
class SuiteProtocol:
    """The protocols of a suite's tasks; tasks whose definition is not known here are left out.

    Args:
        tasks: by name.
        toy: the tasks are those of the embedded toy world.
        max_length: prompt and answer together are cut to so many tokens; None is the model's own.
    """

    tasks: dict[str, TaskProtocol]
    toy: bool = False
    max_length: int | None = None


def protocol_of(run: SuiteRun, *, max_length: int | None = None) -> SuiteProtocol:
    """Return how a suite is put to a model, few-shot examples of the run included; loads neither data nor lm-eval."""
    suite = run.suite
    found: dict[str, TaskProtocol] = {}
    for task in suite.tasks:
        definition = _definition(task)
        if definition is None:
            continue
        own = definition.get("num_fewshot")
        shots = run.shots if run.shots is not None and own != 0 else own or 0
        drawing = definition.get("generation_kwargs") or {}
        sampled = bool(drawing.get("do_sample"))
        metrics = [str(entry["metric"]) for entry in definition.get("metric_list") or []]
        source = SOURCES.get(_data_of(task))
        found[task] = TaskProtocol(
            program=_program(task),
            shots=shots,
            metric=metric_of(suite, task, metrics),
            chain_of_thought="step by step" in str(definition.get("doc_to_text", "")),
            choice=definition.get("output_type") == "multiple_choice",
            samples=int(definition.get("repeats", 1)),
            temperature=float(drawing.get("temperature", 1.0)) if sampled else 0.0,
            top_p=float(drawing.get("top_p", 1.0)) if sampled else 1.0,
            items=source.items if source is not None else 0,
            version=str((definition.get("metadata") or {}).get("version", "")),
        )
    return SuiteProtocol(found, _all_toy(suite.tasks), max_length)


def _all_toy(tasks: Sequence[str]) -> bool:
    return bool(tasks) and all(task in TOY_TASKS for task in tasks)


def _data_of(task: str) -> str:
    # Greedy and sampled tasks of a language read the same items.
    return task.replace("multipl_e_greedy_", "multipl_e_")


def _program(task: str) -> str:
    theirs = task in SOURCES and bool(SOURCES[task].definition)
    return f"lm-eval {metadata.version('lm-eval')}" if theirs else "fusebench"


@cache
def _definition(task: str) -> dict[str, Any] | None:
    """Return a task's definition with all that it includes, or None where it is not one of the built-in suites'."""
    source = SOURCES.get(task)
    if source is not None and source.definition:
        return _read(lm_eval_tasks_folder() / source.definition)
    own = next((path for path in sorted(tasks_folder().rglob("*.yaml")) if path.stem == task), None)
    return None if own is None else _read(own)


def _read(path: Path) -> dict[str, Any]:
    here: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a safe loader
    included = here.pop("include", [])
    below: dict[str, Any] = {}
    for name in [included] if isinstance(included, str) else included:
        below |= _read(path.parent / name)
    return below | here


class _Loader(yaml.SafeLoader):
    """Reads definitions; functions that they name are left as text."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: getattr(node, "value", ""))
