"""The suites: named sets of tasks, and where each task comes from. Imports neither torch nor lm-eval."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata, util
from pathlib import Path

from fusebench.errors import DataError, suggest
from fusebench.toyworld import TASKS as TOY_TASKS

KINDS = ("generate", "choice", "program", "perplexity", "mixed")

BBH_TASKS = (
    "boolean_expressions", "causal_judgement", "date_understanding", "disambiguation_qa", "dyck_languages",
    "formal_fallacies", "geometric_shapes", "hyperbaton", "logical_deduction_five_objects",
    "logical_deduction_seven_objects", "logical_deduction_three_objects", "movie_recommendation",
    "multistep_arithmetic_two", "navigate", "object_counting", "penguins_in_a_table",
    "reasoning_about_colored_objects", "ruin_names", "salient_translation_error_detection", "snarks",
    "sports_understanding", "temporal_sequences", "tracking_shuffled_objects_five_objects",
    "tracking_shuffled_objects_seven_objects", "tracking_shuffled_objects_three_objects", "web_of_lies",
    "word_sorting",
)  # fmt: skip
COMMONSENSE_TASKS = ("arc_easy", "arc_challenge", "boolq", "hellaswag", "openbookqa")
MULTIPL_E_LANGUAGES = ("cpp", "go", "java", "js", "php", "py", "r", "rb", "rs", "ts")

METRICS = {"bbh": "exact_match", "commonsense": "acc_norm", "multipl_e": "pass@1", "perplexity": "bits_per_byte"}
"""The metric of a family; a task that lacks it, or stands in `TASK_METRICS`, has another."""
TASK_METRICS = {"boolq": "acc"}
PREFERENCE = ("exact_match", "acc_norm", "acc", "pass@1", "bits_per_byte", "f1")
"""For any other task: the first of these that it has."""


@dataclass(frozen=True)
class Suite:
    """A named set of tasks that share a table.

    Args:
        name: as in a recipe.
        family: which of the paper's tables it belongs to: bbh, commonsense, multipl_e, perplexity, or its own name.
        title: for people.
        tasks: lm-eval task names, in the order of the table's columns; empty for perplexity.
        kind: what scoring needs: `generate`, `choice`, `program` (the sandbox), `perplexity` (held-out text), or
            `mixed` (any lm-eval tasks).
    """

    name: str
    family: str
    title: str
    tasks: tuple[str, ...]
    kind: str


@dataclass(frozen=True)
class SuiteRun:
    """A suite, and how much of it: items per task from the start, and few-shot examples (None: the task's own)."""

    suite: Suite
    limit: int | None = None
    shots: int | None = None


def _toy(domain: str) -> tuple[str, ...]:
    return tuple(name for name, task in TOY_TASKS.items() if task.domain == domain)


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite("toy_bbh", "bbh", "Toy BBH", _toy("reasoning"), "generate"),
        Suite("toy_commonsense", "commonsense", "Toy CommonSense", _toy("commonsense"), "choice"),
        Suite("toy_code", "multipl_e", "Toy MultiPL-E", _toy("code"), "program"),
        Suite("bbh", "bbh", "BIG-Bench Hard", tuple(f"bbh_cot_fewshot_{t}" for t in BBH_TASKS), "generate"),
        Suite("bbh_direct", "bbh", "BIG-Bench Hard, direct", tuple(f"bbh_direct_{t}" for t in BBH_TASKS), "generate"),
        Suite("commonsense", "commonsense", "CommonSense", COMMONSENSE_TASKS, "choice"),
        Suite("multipl_e", "multipl_e", "MultiPL-E", tuple(f"multipl_e_{c}" for c in MULTIPL_E_LANGUAGES), "program"),
        Suite(
            "multipl_e_greedy",
            "multipl_e",
            "MultiPL-E, greedy",
            tuple(f"multipl_e_greedy_{c}" for c in MULTIPL_E_LANGUAGES),
            "program",
        ),
        Suite("perplexity", "perplexity", "Bits per byte", (), "perplexity"),
    )
}
PREFIXES = {
    "bbh": "bbh_cot_fewshot_",
    "bbh_direct": "bbh_direct_",
    "multipl_e": "multipl_e_",
    "multipl_e_greedy": "multipl_e_greedy_",
}
"""What may be left out before a task's name in these suites."""


def find_suite(name: str, tasks: Sequence[str] | None = None) -> Suite:
    """Return a suite: built in, built in with some of its tasks, your own with `tasks`, or one lm-eval task or group.

    Raises:
        DataError: no suite, no task and no group has the name, with the nearest that does.
    """
    known = SUITES.get(name)
    if tasks is None:
        if known is not None:
            return known
        if _is_lm_eval_task(name):
            return Suite(name, name, name, (name,), "mixed")
        if any(name in suite.tasks for suite in SUITES.values()):  # the project's own, such as multipl_e_py
            return Suite(name, _family([name]), name, (name,), _kind([name]))
        raise DataError(
            f"unknown suite `{name}`", why="no suite and no lm-eval task has that name", fix=suggest(name, SUITES)
        )
    if not tasks:
        raise DataError(
            f"suite `{name}` has an empty list of tasks", why="there is nothing to score", fix="leave `tasks` out"
        )
    if known is None:
        for task in tasks:
            _check_task(task, name, ())
        return Suite(name, _family(tasks), name, tuple(tasks), _kind(tasks))
    if known.kind == "perplexity":
        raise DataError(
            "suite `perplexity` takes no tasks",
            why="it has one per domain of the held-out text",
            fix="leave `tasks` out",
        )
    chosen = tuple(_full_name(task, known) for task in tasks)
    for task in chosen:
        _check_task(task, name, known.tasks)
    return replace(known, tasks=chosen)


def _full_name(task: str, suite: Suite) -> str:
    longer = PREFIXES.get(suite.name, "") + task
    return longer if longer in suite.tasks else task


def _check_task(task: str, suite: str, of_suite: tuple[str, ...]) -> None:
    if task in of_suite or any(task in s.tasks for s in SUITES.values()) or _is_lm_eval_task(task):
        return
    names = of_suite or {t for s in SUITES.values() for t in s.tasks}
    raise DataError(
        f"suite `{suite}` names an unknown task `{task}`", why="lm-eval has no such task", fix=suggest(task, names)
    )


def _family(tasks: Iterable[str]) -> str:
    families = {suite.family for suite in SUITES.values() if set(tasks) <= set(suite.tasks)}
    return families.pop() if len(families) == 1 else "other"


def _kind(tasks: Iterable[str]) -> str:
    kinds = {suite.kind for suite in SUITES.values() if set(tasks) & set(suite.tasks)}
    whole = set(tasks) <= {t for s in SUITES.values() for t in s.tasks}
    return kinds.pop() if len(kinds) == 1 and whole else "mixed"


def runs_programs(suite: Suite) -> bool:
    """Return whether scoring a suite runs programs in the sandbox."""
    return any(task in s.tasks for s in SUITES.values() if s.kind == "program" for task in suite.tasks)


def metric_of(suite: Suite, task: str, present: Iterable[str]) -> str:
    """Return the metric that stands for a task: the task's own choice, the family's, else the first preferred.

    Raises:
        DataError: the task has no metric at all.
    """
    have = list(present)
    wanted = (TASK_METRICS.get(task, ""), METRICS.get(suite.family, ""), *PREFERENCE, *have)
    for name in wanted:
        if name in have:
            return name
    raise DataError(f"task `{task}` has no metric", why="its definition lists none", fix="choose another task")


def tasks_folder() -> Path:
    """Return the folder of the project's own tasks: in a checkout, or inside the installed package."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parent / "tasks", package / "_tasks"):
        if (folder / "quickstart").is_dir():
            return folder
    raise DataError(
        "the project's own tasks are not there",
        why=f"neither `{package.parent / 'tasks'}` nor `{package / '_tasks'}` exists",
        fix="reinstall fusebench",
    )


def lm_eval_tasks_folder() -> Path:
    """Return the folder of lm-eval's own tasks, without importing lm-eval."""
    found = util.find_spec("lm_eval")
    assert found is not None and found.origin is not None, "lm-eval is a dependency"
    return Path(found.origin).parent / "tasks"


@cache
def _is_lm_eval_task(name: str) -> bool:
    # A search for the name in the text of the definitions: building lm-eval's own index takes seconds.
    if not re.fullmatch(r"[\w.:+-]+", name):
        return False
    line = re.compile(rf"^\s*(task|group|tag|-)\s*:?\s*['\"]?{re.escape(name)}['\"]?\s*$".encode(), re.MULTILINE)
    wanted = name.encode()
    for path in lm_eval_tasks_folder().rglob("*.yaml"):
        text = path.read_bytes()
        if wanted in text and line.search(text):
            return True
    return False


def fingerprint(suite: Suite) -> str:
    """Return a hash of what defines a suite's items: task definitions, the toy world's code, version of lm-eval.

    How fusebench itself scores is not part of it: a change there raises the version of the stage `evaluate`.
    """
    digest = hashlib.sha256(f"{suite} lm-eval {metadata.version('lm-eval')}".encode())
    package = Path(__file__).resolve().parents[1]
    folders: list[Path] = []
    if any(task.startswith("toy_") for task in suite.tasks):
        folders += [tasks_folder() / "quickstart", package / "toyworld"]
    if any(task.startswith("multipl_e_") for task in suite.tasks):
        folders.append(tasks_folder() / "multipl_e")
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".yaml") or path.name.endswith("_yaml"):
                digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
