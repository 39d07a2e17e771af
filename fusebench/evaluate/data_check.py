"""What a folder of evaluation data holds, against what each suite has; and building such a folder from the hub."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusebench.artifacts.store import atomic_write
from fusebench.errors import DataError
from fusebench.evaluate.data import SOURCES, find_file, read_items


@dataclass(frozen=True)
class DataFinding:
    """One file of the folder.

    Args:
        suite: bbh, commonsense or multipl_e.
        name: of the file, without its ending.
        state: `ok`, `missing`, `short`, `long` or `unreadable`.
        items: how many there are; 0 where missing.
        expected: how many there should be.
        note: what a person should know.
    """

    suite: str
    name: str
    state: str
    items: int
    expected: int
    note: str = ""


def check_data(root: Path) -> list[DataFinding]:
    """Return one finding per file that the suites read, in their order.

    Raises:
        DataError: there is no such folder.
    """
    if not root.is_dir():
        raise DataError(
            f"no data folder `{root}`",
            why="it does not exist",
            fix="correct the path, or make one with `fusebench data pull`",
        )
    found: dict[str, DataFinding] = {}
    for source in SOURCES.values():
        if source.test in found:
            continue
        suite, _, name = source.test.partition("/")
        path = find_file(root, source.test)
        if path is None:
            found[source.test] = DataFinding(suite, name, "missing", 0, source.items)
            continue
        try:
            count = len(read_items(path))
        except DataError as error:
            found[source.test] = DataFinding(suite, name, "unreadable", 0, source.items, error.why)
            continue
        state = "ok" if count == source.items else "short" if count < source.items else "long"
        found[source.test] = DataFinding(suite, name, state, count, source.items)
    return list(found.values())


def pull_data(to: Path, *, progress: Callable[[int, int], None] | None = None) -> list[DataFinding]:
    """Return the findings of a folder filled from the hub; files that are whole already are not fetched again.

    Raises:
        DataError: the hub cannot be reached or lacks a data set.
        ArtifactError: the folder cannot be written.
    """
    to.mkdir(parents=True, exist_ok=True)
    whole = {f"{f.suite}/{f.name}" for f in check_data(to) if f.state == "ok"}
    wanted = {source.test: source for source in SOURCES.values()}
    for number, (stem, source) in enumerate(wanted.items(), 1):
        if stem not in whole:
            lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in _fetch(source.hub))
            atomic_write(to / f"{stem}.jsonl.gz", gzip.compress(lines.encode(), mtime=0))
        if progress is not None:
            progress(number, len(wanted))
    return check_data(to)


def _fetch(hub: tuple[str, str | None, str]) -> list[dict[str, Any]]:
    from datasets import load_dataset

    name, config, split = hub
    try:
        return [dict(item) for item in load_dataset(name, config, split=split)]
    except (ConnectionError, OSError, ValueError) as error:
        raise DataError(
            f"data set `{name}` ({config or 'default'}) cannot be fetched",
            why=(str(error).splitlines() or [type(error).__name__])[0],
            fix="check the network, or run this on a machine that reaches the hub",
        ) from error
