"""What a folder of evaluation data holds, against what each suite has; and building such a folder from the hub."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusebench.artifacts.store import atomic_write
from fusebench.errors import ArtifactError, DataError
from fusebench.evaluate.data import ENDINGS, SOURCES, Source, find_file, load_hub, read_items


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

    A file is written under its name once it is whole, so a killed pull is continued by the next. A data set that
    fails is not asked for a second time; the others are still fetched, unless the hub cannot be reached at all.

    Raises:
        DataError: the hub cannot be reached, or lacks a data set or one of its configurations.
        ArtifactError: the folder cannot be written.
    """
    import datasets
    from datasets.exceptions import DatasetsError

    datasets.disable_progress_bars()  # ours is shown instead
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(
            f"cannot make the folder `{to}`", why=f"the system says: {error.strerror}", fix="choose another --to"
        ) from error
    whole = {f"{f.suite}/{f.name}" for f in check_data(to) if f.state == "ok"}
    wanted = {source.test: source for source in SOURCES.values()}
    failed: dict[str, str] = {}
    unreachable = ""
    for number, (stem, source) in enumerate(wanted.items(), 1):
        name, beside = _shown(source), source.hub[0] == "json"
        if stem not in whole and unreachable and not beside:
            failed[name] = unreachable
        elif stem not in whole and name not in failed:
            try:
                _write(to, stem, [dict(item) for item in load_hub(source)])
            except ArtifactError:
                raise
            except (OSError, ValueError, RuntimeError, DatasetsError) as error:
                failed[name] = (str(error).splitlines() or [type(error).__name__])[0]
                if isinstance(error, ConnectionError) and not beside:
                    unreachable = failed[name]  # each further try would take its own half a minute
        if progress is not None:
            progress(number, len(wanted))
    if failed:
        raise DataError(
            f"cannot fetch {', '.join(f'`{name}`' for name in failed)}",
            why=next(iter(failed.values())),
            fix="check the network and run the same command again: what was fetched is kept",
        )
    return check_data(to)


def _shown(source: Source) -> str:
    name, config, _ = source.hub
    return config or name if name == "json" else name


def _write(to: Path, stem: str, items: list[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
    atomic_write(to / f"{stem}.jsonl.gz", gzip.compress(lines.encode(), mtime=0))
    for ending in ENDINGS:  # a file of another kind that was not whole would still be read first
        if ending != ".jsonl.gz":
            (to / f"{stem}{ending}").unlink(missing_ok=True)
