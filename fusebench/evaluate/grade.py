"""Scoring completions that came from anywhere: lines of JSON in, the same lines with their outcome out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fusebench.artifacts.store import atomic_write
from fusebench.errors import DataError
from fusebench.evaluate.data import read_items
from fusebench.evaluate.programs import assemble
from fusebench.evaluate.sandbox import Program, run_programs
from fusebench.evaluate.sandbox.languages import find_language


def grade(samples: Path, out: Path, *, progress: Callable[[int, int], None] | None = None) -> dict[str, int]:
    """Return how many samples got each status, and write every sample with its outcome to `out`.

    Args:
        samples: jsonl (also .gz, .xz); a line has `language`, and either `program`, or `prompt`, `completion` and
            `tests`, optionally `stop_tokens`; any other key is passed on.
        out: jsonl; each line has `status`, `exit_code`, `stdout`, `stderr` and `seconds` added.
        progress: called with (programs done, programs).

    Raises:
        DataError: the file cannot be read, a line lacks a key, or its language has no runner.
        ArtifactError: `out` cannot be written.
    """
    items = read_items(samples)
    if not items:
        raise DataError(f"`{samples}` has no samples", why="the file is empty", fix="give a file with a sample a line")
    programs = [_program(item, samples, number) for number, item in enumerate(items, 1)]
    outcomes = run_programs(programs, progress=progress)
    lines = [json.dumps({**i, **vars(o)}, ensure_ascii=False) for i, o in zip(items, outcomes, strict=True)]
    atomic_write(out, "\n".join(lines) + "\n")
    statuses = [outcome.status for outcome in outcomes]
    return {status: statuses.count(status) for status in dict.fromkeys(statuses)}


def _program(item: dict[str, Any], samples: Path, line: int) -> Program:
    needed = ("language", "program") if "program" in item else ("language", "prompt", "completion", "tests")
    for key in needed:
        if not isinstance(item.get(key), str):
            raise DataError(
                f"line {line} of `{samples}` has no text under `{key}`",
                why="a sample needs `language`, and `program` or all of `prompt`, `completion`, `tests`",
                fix="add the key",
            )
    source = item["program"] if "program" in item else assemble(item, item["completion"])
    return Program(find_language(item["language"]).name, source)
