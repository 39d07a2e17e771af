"""Documents with their domain: from the toy world, from local files, from the Hugging Face hub."""

from __future__ import annotations

import gzip
import itertools
import json
import lzma
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO, cast, runtime_checkable

from fusebench.errors import DataError

Document = tuple[str, str]
"""Domain and text."""

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.xz", ".parquet", ".txt", ".md")


@runtime_checkable
class FileSource(Protocol):
    """What is asked of one entry of `corpus.files`."""

    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def domain(self) -> str: ...  # noqa: D102
    @property
    def field(self) -> str: ...  # noqa: D102
    @property
    def limit(self) -> int | None: ...  # noqa: D102


@runtime_checkable
class HubSource(Protocol):
    """What is asked of one entry of `corpus.hub`."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def config(self) -> str | None: ...  # noqa: D102
    @property
    def split(self) -> str: ...  # noqa: D102
    @property
    def field(self) -> str: ...  # noqa: D102
    @property
    def domain(self) -> str: ...  # noqa: D102
    @property
    def limit(self) -> int | None: ...  # noqa: D102


def toy_documents(mixture: Mapping[str, float], documents: int, seed: int) -> Iterator[Document]:
    """Yield `documents` texts of the toy world, domains in the proportions of `mixture`."""
    from fusebench.toyworld import mixture as generate

    yield from generate(mixture, documents, seed)


def file_documents(files: Iterable[FileSource], folder: Path | None = None) -> Iterator[Document]:
    """Yield the documents of local files, files taken in turn so that a prefix is balanced.

    Args:
        files: path, domain (empty takes the file's name), field and limit of each.
        folder: relative paths start here; None is the current folder.

    Raises:
        DataError: a file is missing, empty, of an unknown kind, or lacks the field.
    """
    sources = list(files)
    for source in sources:
        _check_file(_path(source, folder))
    yield from round_robin([_one_file(source, _path(source, folder)) for source in sources])


def hub_documents(sets: Iterable[HubSource]) -> Iterator[Document]:
    """Yield the documents of hub data sets, streamed, the sets taken in turn.

    Raises:
        DataError: a data set cannot be reached or lacks the field.
    """
    yield from round_robin([_one_set(source) for source in sets])


def round_robin(iterators: list[Iterator[Document]]) -> Iterator[Document]:
    """Yield one document of each iterator in turn, until all are exhausted."""
    while iterators:
        alive = []
        for iterator in iterators:
            for document in itertools.islice(iterator, 1):
                yield document
                alive.append(iterator)
        iterators = alive


def files_below(folder: Path) -> list[Path]:
    """Return the files of a folder and the folders in it that `file_documents` can read, by name; hidden ones not."""
    found = (path for path in folder.rglob("*") if path.is_file() and _suffix(path) is not None)
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def _path(source: FileSource, folder: Path | None) -> Path:
    path = Path(source.path).expanduser()
    return path if folder is None else folder / path


def _suffix(path: Path) -> str | None:
    return next((s for s in SUFFIXES if path.name.lower().endswith(s)), None)


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(
            f"corpus file `{path}` is not there" if not path.is_dir() else f"corpus file `{path}` is a folder",
            why="`corpus.files` names it",
            fix="correct the path; relative paths start at the current folder",
        )
    if _suffix(path) is None:
        raise DataError(
            f"corpus file `{path}` is of an unknown kind",
            why=f"the end of its name is not one of {', '.join(SUFFIXES)}",
            fix="convert it, for example to one JSON object a line with the key `text`",
        )


def _one_file(source: FileSource, path: Path) -> Iterator[Document]:
    suffix = _suffix(path)
    domain = source.domain or path.name[: -len(suffix or "")]
    if suffix in (".txt", ".md"):
        texts = iter([path.read_text(encoding="utf-8", errors="replace")])
    elif suffix == ".parquet":
        texts = _parquet(path, source.field)
    else:
        texts = _json_lines(path, source.field)
    found = False
    for text in itertools.islice((clean(t) for t in texts if t.strip()), source.limit):
        found = True
        yield domain, text
    if not found:
        raise DataError(
            f"corpus file `{path}` holds no text",
            why=f"it is empty, or `{source.field}` is empty in every entry",
            fix="remove it from `corpus.files`, or fill it",
        )


def _json_lines(path: Path, field: str) -> Iterator[str]:
    openers: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}
    opener = openers.get(path.suffix.lower(), open)
    try:
        with cast(TextIO, opener(path, "rt", encoding="utf-8", errors="replace")) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _field(_json(line, path, number), field, f"`{path}` line {number}")
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(
            f"corpus file `{path}` cannot be read", why=str(error), fix="check that the file is whole"
        ) from error


def _json(line: str, path: Path, number: int) -> object:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"`{path}` line {number} is not JSON",
            why=str(error),
            fix="put one JSON object on each line; name plain text `.txt`",
        ) from error


def _parquet(path: Path, field: str) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(
            f"corpus file `{path}` is not a parquet file", why=str(error), fix="check that the file is whole"
        ) from error
    with file:
        names = file.schema_arrow.names
        if field not in names:
            raise _no_field(f"`{path}`", field, names)
        for batch in file.iter_batches(batch_size=1024, columns=[field]):
            for number, text in enumerate(batch.column(0).to_pylist()):
                yield _text(text, field, f"`{path}` entry {number}")


def _one_set(source: HubSource) -> Iterator[Document]:
    import datasets

    domain = source.domain or source.name.split("/")[-1]
    try:
        stream: Iterable[Any] = datasets.load_dataset(source.name, source.config, split=source.split, streaming=True)
        for number, entry in enumerate(itertools.islice(stream, source.limit)):
            text = clean(_field(entry, source.field, f"data set `{source.name}` entry {number}"))
            if text.strip():
                yield domain, text
    except (OSError, ValueError, RuntimeError) as error:
        # `datasets` wraps network trouble, missing sets and unknown splits in these three.
        raise DataError(
            f"data set `{source.name}` (split `{source.split}`) cannot be read from the hub",
            why=(str(error).splitlines() or [type(error).__name__])[0],
            fix="check its name, config and split, or use a local file under `corpus.files`",
        ) from error


def _field(entry: object, field: str, where: str) -> str:
    if not isinstance(entry, Mapping):
        raise DataError(f"{where} is not an object", why=f"it is {type(entry).__name__}", fix='write {"text": ...}')
    if field not in entry:
        raise _no_field(where, field, [str(key) for key in entry])
    return _text(entry[field], field, where)


def _text(value: object, field: str, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(
            f"{where}: `{field}` is {type(value).__name__}, not text",
            why="chunks are cut from text",
            fix="name a text column with `field`",
        )
    return value


def _no_field(where: str, field: str, names: list[str]) -> DataError:
    return DataError(
        f"{where} has no `{field}`",
        why=f"it has {', '.join(f'`{n}`' for n in names[:12]) or 'nothing'}",
        fix="name the column that holds the text with `field`",
    )


def clean(text: str) -> str:
    """Return the text with lone surrogates, which UTF-8 cannot hold, replaced."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")
