"""lm-eval tasks by name: the project's own, lm-eval's with data of the hub, or with data of a local folder."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from fusebench.errors import DataError, suggest
from fusebench.evaluate.data import SOURCES, load_local
from fusebench.evaluate.suites import lm_eval_tasks_folder, tasks_folder

FEWSHOT_SEED = 1234
"""lm-eval's own default, so that prompts agree with plain `lm_eval`."""

_LOADED: dict[tuple[str, str, int | None], Any] = {}


@contextmanager
def quiet() -> Iterator[None]:
    """Silence lm-eval's and datasets' log lines and progress bars for a while; ours are shown instead."""
    import datasets
    import lm_eval.api.task as lm_eval_task

    loggers = [logging.getLogger(name) for name in ("lm_eval", "lm-eval", "datasets")]
    levels = [logger.level for logger in loggers]
    bar: Any
    bar, had_bars = lm_eval_task.tqdm, datasets.utils.are_progress_bars_disabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    lm_eval_task.tqdm = partial(bar, disable=True)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        lm_eval_task.tqdm = bar
        if not had_bars:
            datasets.enable_progress_bars()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def load_tasks(names: Sequence[str], *, data_root: Path | None = None, shots: int | None = None) -> dict[str, Any]:
    """Return lm-eval task objects by name, in order; a group's name stands for its tasks.

    Tasks are kept for the life of the process, so a second candidate does not read the data again.

    Args:
        names: tasks or groups.
        data_root: folder that replaces the hub for the tasks it is known for.
        shots: few-shot examples; as in lm-eval, a task that says 0 itself keeps 0.

    Raises:
        DataError: unknown task, shots that only the hub has, or its data is neither in the folder nor on the hub.
    """
    found: dict[str, Any] = {}
    for name in names:
        key = (name, str(data_root), shots)
        if key not in _LOADED:
            with quiet():
                _LOADED[key] = _load(name, data_root)
            for task in _LOADED[key].values():
                if shots and data_root is not None and name in SOURCES and task.fewshot_cfg.samples is None:
                    del _LOADED[key]
                    raise DataError(
                        f"task `{name}` has no few-shot examples in the data folder",
                        why="they would have to be test items, and one of them the question itself",
                        fix="leave `shots` out, or use the hub",
                    )
                if shots is not None and task.get_config("num_fewshot") != 0:
                    task.set_config(key="num_fewshot", value=shots)
                if task.get_config("num_fewshot") is None:
                    task.set_config(key="num_fewshot", value=0)
        for task in _LOADED[key].values():
            task.set_fewshot_seed(seed=FEWSHOT_SEED)
        found |= _LOADED[key]
    return found


def _load(name: str, data_root: Path | None) -> dict[str, Any]:
    from lm_eval.tasks import TaskManager

    own = _own_definition(name)
    try:
        if own is None and name not in SOURCES:
            return dict(TaskManager().load([name])["tasks"])
        manager = TaskManager(include_defaults=False, metadata={"data_root": str(data_root)} if data_root else None)
        if own is not None:
            return dict(manager.load([str(own)])["tasks"])
        return _load_included(manager, name, data_root)
    except KeyError as error:
        raise DataError(f"unknown task `{name}`", why=str(error).strip("\"'"), fix=suggest(name, SOURCES)) from error
    except (ConnectionError, OSError, ValueError) as error:
        raise DataError(
            f"the data of task `{name}` cannot be loaded",
            why=(str(error).splitlines() or [type(error).__name__])[0],
            fix="check the network, or give a folder of evaluation data with --data-root",
        ) from error


def _own_definition(name: str) -> Path | None:
    for path in sorted(tasks_folder().rglob("*.yaml")):
        if path.stem == name:
            return path
    return None


def _load_included(manager: Any, name: str, data_root: Path | None) -> dict[str, Any]:
    # lm-eval's own definition is included, not copied; only what a README in tasks/ names is replaced.
    source = SOURCES[name]
    override: dict[str, Any] = {"include": str(lm_eval_tasks_folder() / source.definition), "task": name}
    text = ""
    if data_root is not None:
        override |= {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"task": name}}
        override |= {"training_split": None, "fewshot_split": None}
        text += f"custom_dataset: !function {__name__}.local_dataset\n"
    if source.strip:
        text += "filter_list: [{name: strip, filter: [{function: custom, filter_fn: !function "
        text += f"{__name__}.strip_answers" + "}, {function: take_first}]}]\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{name}.yaml")
        path.write_text(yaml.safe_dump(override) + text)
        return dict(manager.load([str(path)])["tasks"])


def strip_answers(resps: Sequence[Sequence[str]], docs: Sequence[object]) -> list[list[str]]:
    """Return the answers without the white space around them; lm-eval calls this."""
    return [[text.strip() for text in texts] for texts in resps]


def local_dataset(task: str, data_root: str, **_: object) -> dict[str, Any]:
    """Return a task's items as the splits that lm-eval's definition may ask for; lm-eval calls this."""
    from datasets import Dataset

    items = Dataset.from_list(load_local(task, Path(data_root)))
    return {"test": items, "validation": items}


def language_of(task: Any) -> str:
    """Return the programming language of a task that runs programs, or nothing."""
    metadata = task.get_config("metadata") or {}
    return str(metadata.get("language", ""))
