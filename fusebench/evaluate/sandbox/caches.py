"""Compiler caches filled once with library code of our own choosing, and read-only for the programs."""

import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from fusebench.evaluate.sandbox.box import PATH
from fusebench.evaluate.sandbox.language import Language


@cache
def warm_cache(language: Language) -> Path | None:
    """Return a folder with the compiled libraries that programs of the language use, or None where it failed.

    It is kept for this user and toolchain version in the system's folder for temporary files, so that it is made
    once a machine; only files of this user's own making are used.
    """
    stamp = "".join(c if c.isalnum() else "-" for c in language.version())
    folder = Path(tempfile.gettempdir(), f"fusebench-{os.getuid()}-{language.name}-{stamp}")
    if _ours(folder):
        return folder
    try:
        return _fill(language, folder)
    except OSError:
        return None  # a full disk: programs are compiled without it, more slowly


def _fill(language: Language, folder: Path) -> Path | None:
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory(prefix=f"{folder.name}.") as aside:
        source, partial = Path(home), Path(aside, "cache")
        partial.mkdir()
        (source / language.file).write_text(language.warm_source)
        environment = {"PATH": PATH, "HOME": str(source), language.cache: str(partial), **dict(language.environment)}
        made = subprocess.run(language.warm, cwd=source, env=environment, capture_output=True, check=False)
        if made.returncode != 0:
            return None
        for path in (partial, *partial.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        try:
            partial.rename(folder)
        except OSError:
            return folder if _ours(folder) else None  # another process was first
        return folder


def _ours(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.getuid()
