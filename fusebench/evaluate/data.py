"""Evaluation data from a local folder instead of the hub: which file feeds which task."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusebench.errors import DataError
from fusebench.evaluate.suites import BBH_TASKS, MULTIPL_E_LANGUAGES

ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.xz", ".jsonl.bz2", ".parquet")


@dataclass(frozen=True)
class Source:
    """Where a task's items come from.

    Args:
        definition: lm-eval's own definition, relative to its tasks folder; empty for the project's own.
        test: path of the test items below the data folder, without its ending.
        items: how many there are.
        hub: data set, configuration and split on the hub; for the data set `json`, the address of one file instead
            of a configuration.
        strip: compare answers without the white space around them; lm-eval's direct BBH tasks compare the space
            after `A:` too, so that every answer is wrong.
    """

    definition: str
    test: str
    items: int
    hub: tuple[str, str | None, str]
    strip: bool = False


_PYTHON = (
    "https://raw.githubusercontent.com/nuprl/MultiPL-E/11b407bd2dd98c8204afea4d20043faf2145c20c/"
    "prompts/humaneval-py-reworded.json"
)
"""MultiPL-E's Python problems: its authors took them from the hub in 2024 (nuprl/MultiPL-E, issue 150)."""

_BBH_SIZES = {"causal_judgement": 187, "penguins_in_a_table": 146, "snarks": 178}
_MULTIPL_E_SIZES = dict(zip(MULTIPL_E_LANGUAGES, (161, 154, 158, 161, 161, 161, 161, 161, 156, 159), strict=True))

SOURCES: dict[str, Source] = {
    **{
        f"bbh_{name}_{task}": Source(
            f"bbh/{style}/{task}.yaml",
            f"bbh/{task}",
            _BBH_SIZES.get(task, 250),
            ("SaylorTwift/bbh", task, "test"),
            strip=name == "direct",
        )
        for name, style in (("cot_fewshot", "cot_fewshot"), ("fewshot", "fewshot"), ("direct", "fewshot"))
        for task in BBH_TASKS
    },
    "arc_easy": Source("arc/arc_easy.yaml", "commonsense/arc_easy_test", 2376, ("allenai/ai2_arc", "ARC-Easy", "test")),
    "arc_challenge": Source(
        "arc/arc_challenge.yaml", "commonsense/arc_challenge_test", 1172, ("allenai/ai2_arc", "ARC-Challenge", "test")
    ),
    "boolq": Source(
        "super_glue/boolq/default.yaml", "commonsense/boolq_validation", 3270, ("aps/super_glue", "boolq", "validation")
    ),
    "hellaswag": Source(
        "hellaswag/hellaswag.yaml", "commonsense/hellaswag_validation", 10042, ("Rowan/hellaswag", None, "validation")
    ),
    "openbookqa": Source(
        "openbookqa/openbookqa.yaml", "commonsense/openbookqa_test", 500, ("allenai/openbookqa", "main", "test")
    ),
    **{
        f"multipl_e_{code}": Source(
            "",
            f"multipl_e/humaneval-{code}-reworded",
            size,
            ("json", _PYTHON, "train") if code == "py" else ("nuprl/MultiPL-E", f"humaneval-{code}", "test"),
        )
        for code, size in _MULTIPL_E_SIZES.items()
    },
}
"""By task name; other tasks know their own data."""


def find_file(root: Path, stem: str) -> Path | None:
    """Return the file below a data folder that holds `stem`, whatever its ending, or None."""
    for ending in ENDINGS:
        if (path := root / f"{stem}{ending}").is_file():
            return path
    return None


def read_items(path: Path) -> list[dict[str, Any]]:
    """Return the items of a jsonl (plain, .gz, .xz, .bz2) or parquet file.

    Raises:
        DataError: the file cannot be read, or a line is no JSON object.
    """
    if path.suffix == ".parquet":
        return _read_parquet(path)
    openers: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
    items = []
    line_number = 0
    try:
        with openers.get(path.suffix, open)(path, "rt", encoding="utf-8") as lines:
            for line_number, line in enumerate(lines, 1):  # noqa: B007 - the error names the line
                if line.strip():
                    items.append(json.loads(line))
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(
            f"`{path}` cannot be read after line {line_number}", why=str(error), fix="fetch the file again"
        ) from error
    if not all(isinstance(item, dict) for item in items):
        raise DataError(
            f"`{path}` holds lines that are no JSON objects", why="an item has named fields", fix="fetch the file again"
        )
    return items


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"`{path}` cannot be read", why=str(error), fix="fetch the file again") from error
    return rows


def load_hub(source: Source) -> Any:
    """Return the items of a task from the hub, as a `datasets.Dataset`; errors are those of `datasets`."""
    from datasets import load_dataset

    name, config, split = source.hub
    if name == "json":
        return load_dataset("json", data_files=config, split=split)
    return load_dataset(name, config, split=split)


def load_local(task: str, root: Path) -> list[dict[str, Any]]:
    """Return a task's test items from the data folder, in the fields that lm-eval's definition reads.

    Raises:
        DataError: the folder has no file for the task, or the file has no items.
    """
    source = SOURCES[task]
    path = find_file(root, source.test)
    if path is None:
        raise DataError(
            f"the data folder `{root}` has no items for task `{task}`",
            why=f"there is no `{source.test}.jsonl.gz` (or {', '.join(ENDINGS)}) in it",
            fix="see `fusebench data check`, or leave --data-root out to use the hub",
        )
    items = read_items(path)
    if not items:
        raise DataError(f"`{path}` has no items", why="the file is empty", fix="fetch the file again")
    if task == "boolq" and "label" not in items[0]:
        # The data set's own release has a boolean `answer`; super_glue, which lm-eval reads, an integer `label`.
        items = [{**item, "label": int(item["answer"])} for item in items]
    return items
