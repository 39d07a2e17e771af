"""Before a language is scored: a sandbox that withstands the probes, a runner that tells right from wrong.

Both answers are remembered for this user until the machine restarts or a version changes, so that every process of a
run does not attack the sandbox again; only good answers are.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from fusebench.evaluate.sandbox.jail import bubblewrap_version
from fusebench.evaluate.sandbox.languages import find_language, missing
from fusebench.evaluate.sandbox.probes import run_probes, verdict_of
from fusebench.evaluate.sandbox.score import Program, cores, run_one

EXPECTED = {"ok": "ok", "wrong": "wrong", "broken": "compile_error", "endless": "timeout"}


def ready(name: str) -> str | None:
    """Return None where programs of the language can be scored here, else why not.

    In this order: the sandbox is there, the toolchain is there, every probe is contained, the self-test passes.

    Raises:
        DataError: there is no such language.
    """
    reason = missing(name)
    if reason is not None:
        return reason
    reason = sandbox_holds()
    return reason if reason is not None else self_test(find_language(name).name)


def all_ready(names: Sequence[str]) -> list[str | None]:
    """Return `ready` of several languages, their self-tests side by side."""
    if not names or ready(names[0]) is not None:
        return [ready(name) for name in names]
    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(ready, names))


@cache
def sandbox_holds() -> str | None:
    """Return None where every probe is contained, else which is not."""
    return _remembered("probes", bubblewrap_version(), lambda: verdict_of(run_probes()))


@cache
def self_test(name: str) -> str | None:
    """Return None where the runner tells a right, a wrong, a broken and an endless program apart, else what it said."""
    language = find_language(name)
    return _remembered(f"self-test-{name}", language.version(), lambda: _self_test(name))


def _self_test(name: str) -> str | None:
    language = find_language(name)
    for kind, expected in EXPECTED.items():
        outcome = run_one(Program(name, getattr(language.test, kind)), language.start)
        if outcome.status != expected:
            said = (outcome.stderr.strip().splitlines() or ["no message"])[-1][:200]
            return f"the {language.title} runner takes its {kind} test program for `{outcome.status}`: {said}"
    return None


def _remembered(what: str, version: str, find: Callable[[], str | None]) -> str | None:
    boot = Path("/proc/sys/kernel/random/boot_id")
    code = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    state = f"{boot.read_text() if boot.exists() else ''}{version}".encode() + code
    key = hashlib.sha256(state).hexdigest()[:16]
    mark = Path(tempfile.gettempdir(), f"fusebench-{os.getuid()}-{what}-{key}")
    if mark.is_file() and not mark.is_symlink() and mark.stat().st_uid == os.getuid():
        return None
    found = find()
    if found is None:
        mark.touch(mode=0o600)
    return found
