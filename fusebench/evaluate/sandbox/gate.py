"""Before a language is scored: a sandbox that withstands the probes, a runner that tells right from wrong.

Both answers are remembered for this user until the machine restarts or a version changes, so that every process of a
run does not attack the sandbox again; only good answers are.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from functools import cache
from pathlib import Path

from fusebench.artifacts import ProbeOutcome, ProbeRecord
from fusebench.evaluate.sandbox.jail import describe
from fusebench.evaluate.sandbox.languages import find_language, missing
from fusebench.evaluate.sandbox.probes import run_probes, verdict_of
from fusebench.evaluate.sandbox.score import Program, cores, run_one

_RECORDS: dict[str, ProbeRecord] = {}
"""By sandbox, what became of the attacks on it."""

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


def sandbox_holds() -> str | None:
    """Return None where every probe is contained in the sandbox in use, else which is not."""
    return _holds(describe())


@cache
def _holds(sandbox: str) -> str | None:
    def evidence() -> str:
        return _RECORDS[sandbox].json()

    return _remembered("probes", sandbox, lambda: _probe(sandbox), evidence)


def _probe(sandbox: str) -> str | None:
    results = run_probes()
    outcomes = tuple(ProbeOutcome(r.name, r.attack, r.contained, r.found) for r in results)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    _RECORDS[sandbox] = ProbeRecord(sandbox, _boot()[:8], now, outcomes)
    return verdict_of(results)


def probe_record() -> ProbeRecord | None:
    """Return what became of the attacks on the sandbox in use since the machine's start; None where it had none."""
    sandbox = describe()
    mark = _mark("probes", sandbox)
    if sandbox not in _RECORDS and _is_ours(mark):
        found = ProbeRecord.parse(mark.read_text())
        if found is not None:
            _RECORDS[sandbox] = found
    return _RECORDS.get(sandbox)


def self_test(name: str) -> str | None:
    """Return None where the runner tells a right, a wrong, a broken and an endless program apart, else what it said."""
    return _tested(name, describe())


@cache
def _tested(name: str, sandbox: str) -> str | None:
    versions = f"{find_language(name).version()} in {sandbox}"
    return _remembered(f"self-test-{name}", versions, lambda: _self_test(name))


def _self_test(name: str) -> str | None:
    language = find_language(name)
    for kind, expected in EXPECTED.items():
        outcome = run_one(Program(name, getattr(language.test, kind)), language.start)
        if outcome.status != expected:
            said = (outcome.stderr.strip().splitlines() or ["no message"])[-1][:200]
            return f"the {language.title} runner takes its {kind} test program for `{outcome.status}`: {said}"
    return None


def _boot() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip() if boot.exists() else ""


def _mark(what: str, version: str) -> Path:
    code = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    key = hashlib.sha256(f"{_boot()}{version}".encode() + code).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"fusebench-{os.getuid()}-{what}-{key}")


def _is_ours(mark: Path) -> bool:
    return mark.is_file() and not mark.is_symlink() and mark.stat().st_uid == os.getuid()


def _remembered(
    what: str, version: str, find: Callable[[], str | None], evidence: Callable[[], str] = lambda: ""
) -> str | None:
    mark = _mark(what, version)
    if _is_ours(mark):
        return None
    found = find()
    if found is None:
        _keep(mark, evidence())
    return found


def _keep(mark: Path, text: str) -> None:
    # Written aside and moved, so that no other process reads half of it.
    try:
        handle, name = tempfile.mkstemp(prefix=f"{mark.name}.")
    except OSError:
        return  # a full disk: the answer is right, but will be looked for again
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(name).replace(mark)
    except OSError:
        Path(name).unlink(missing_ok=True)
