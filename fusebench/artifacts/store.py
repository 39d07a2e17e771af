"""Atomic writes: a file or folder is either whole and checksummed, or not there."""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from pydantic import ValidationError

from fusebench.artifacts.manifest import NAME, FileSum, Manifest, versions
from fusebench.errors import ArtifactError

PARTIAL = ".partial"


def sha256_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(path)


def _digest(path: Path) -> str:
    # Python 3.10 has no hashlib.file_digest.
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_json(value: object) -> str:
    """Return the SHA-256 of a JSON value in its canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def atomic_write(path: Path, data: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Raises:
        ArtifactError: the folder cannot be written, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> ArtifactError:
    return ArtifactError(
        f"cannot write `{path}`",
        why=f"the system says: {error.strerror or error}",
        fix="choose another folder with --run-dir or --report-dir, or free space and permissions there",
    )


@contextmanager
def building(
    folder: Path,
    *,
    type: str,
    stage: str,
    key: str,
    parents: Mapping[str, str],
    params: Mapping[str, object],
    seed: int | None = None,
) -> Iterator[Path]:
    """Yield a partial folder to write into; on success it becomes `folder`, with checksums and a manifest.

    A partial folder of the same key survives a kill, so a stage that keeps its own progress there (shards,
    checkpoints) resumes; a partial folder of another key is thrown away.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    partial = folder.with_name(folder.name + PARTIAL)
    marker = partial / ".key"
    started = time.monotonic()
    try:
        if partial.exists() and (not marker.exists() or marker.read_text() != key):
            shutil.rmtree(partial)
        partial.mkdir(parents=True, exist_ok=True)
        marker.write_text(key)
    except OSError as error:
        raise _unwritable(folder, error) from error
    yield partial
    marker.unlink()
    manifest = Manifest(
        type=type,
        stage=stage,
        key=key,
        parents=dict(parents),
        params=dict(params),
        seed=seed,
        versions=versions(),
        seconds=round(time.monotonic() - started, 3),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        files={
            str(path.relative_to(partial)): FileSum(bytes=path.stat().st_size, sha256=sha256_file(path))
            for path in sorted(partial.rglob("*"))
            if path.is_file()
        },
    )
    atomic_write(partial / NAME, manifest.model_dump_json(indent=1))
    if folder.exists():
        shutil.rmtree(folder)
    partial.replace(folder)


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a finished folder, or None where there is none.

    Raises:
        ArtifactError: the manifest is there but cannot be read.
    """
    try:
        return Manifest.model_validate_json((folder / NAME).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError) as error:
        raise ArtifactError(
            f"the manifest of `{folder}` cannot be read",
            why=str(error).splitlines()[0],
            fix=f"delete the folder `{folder}`; the next run makes it anew",
        ) from error


def check_folder(folder: Path, *, type: str, deep: bool = False) -> Manifest:
    """Return the manifest of a folder that holds `type` and is whole.

    Args:
        folder: a finished folder of a run.
        type: the artefact type that the caller is about to read.
        deep: compare every file's SHA-256 too, not its size alone.

    Raises:
        ArtifactError: no manifest, another type, a file is missing, or its size or checksum differs.
    """
    manifest = read_manifest(folder)
    remake = f"delete the folder `{folder}`; the next run makes it anew"
    if manifest is None:
        raise ArtifactError(f"`{folder}` is not a finished folder of a run", why="it has no manifest", fix=remake)
    if manifest.type != type:
        raise ArtifactError(
            f"`{folder}` holds {manifest.type}, not {type}", why="the stages were wired in a wrong order", fix=remake
        )
    for name, want in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"`{path}` is missing", why="its manifest lists it", fix=remake)
        if path.stat().st_size != want.bytes or (deep and sha256_file(path) != want.sha256):
            raise ArtifactError(f"`{path}` was changed", why="size or checksum differ from the manifest", fix=remake)
    return manifest
