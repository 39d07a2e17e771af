"""One process tree in a box: no network, read-only toolchain, own namespaces, hard limits; and which sandbox makes it.

bubblewrap is preferred; podman is used where bubblewrap is missing or cannot build a box. FUSEBENCH_SANDBOX=bubblewrap
or =podman allows that one alone.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache

from fusebench.errors import suggest
from fusebench.evaluate.sandbox.backend import Backend
from fusebench.evaluate.sandbox.box import Box, Ended, Limits, Step, widest
from fusebench.evaluate.sandbox.bubblewrap import Bubblewrap
from fusebench.evaluate.sandbox.podman import Podman
from fusebench.evaluate.sandbox.watch import watch

BACKENDS: dict[str, Backend] = {"bubblewrap": Bubblewrap(), "podman": Podman()}
"""In the order of preference."""

VARIABLE = "FUSEBENCH_SANDBOX"


def choose() -> tuple[Backend | None, str]:
    """Return the sandbox that programs run in; where there is none, None and why, with the package to install."""
    return _choose(os.environ.get(VARIABLE, ""), os.environ.get("PATH", os.defpath))


def available() -> str | None:
    """Return None where programs can be run in a sandbox, else the reason why not, with the package to install."""
    backend, reason = choose()
    return None if backend is not None else reason


def describe() -> str:
    """Return name and version of the sandbox in use, such as `bubblewrap 0.8.0`; empty where there is none."""
    backend, _ = choose()
    return "" if backend is None else f"{backend.name} {backend.version()}"


@cache
def _choose(wanted: str, path: str) -> tuple[Backend | None, str]:
    if not sys.platform.startswith("linux"):
        return None, "bubblewrap and podman's boxes need Linux"
    if wanted and wanted not in BACKENDS:
        return None, f"{VARIABLE} is `{wanted}`, which is no sandbox; {suggest(wanted, BACKENDS)}"
    reasons: list[str] = []
    for backend in [BACKENDS[wanted]] if wanted else BACKENDS.values():
        missing = backend.lacking(path)
        reason = missing or _trial(backend)
        if reason is None:
            return backend, ""
        # A machine without a second choice that nobody asked for lacks nothing.
        if missing is None or not reasons:
            reasons.append(reason)
    return None, "; ".join(reasons)


def _trial(backend: Backend) -> str | None:
    ended = run([Step(("true",), Limits(cpu=5, wall=20))], {}, backend=backend)
    if ended.started and ended.exit_code == 0:
        return None
    said = (ended.stderr.strip().splitlines() or ["no message"])[-1]
    return f"{backend.name} cannot build a box here: {said}"


def run(
    steps: Sequence[Step], files: Mapping[str, bytes], box: Box | None = None, backend: Backend | None = None
) -> Ended:
    """Return how a list of commands ended that ran one after the other in one fresh box.

    A step runs only where the one before it exited with 0. Nothing of the tree is left when this returns: the
    box is a PID namespace, and its end kills all that is in it.

    Args:
        steps: the commands, at least one; see `Step`.
        files: name -> content, laid into the working directory.
        box: `Box()` where None.
        backend: the one of `choose` where None.
    """
    if backend is None:
        backend, reason = choose()
        if backend is None:
            return Ended(False, None, 0, "", "", reason, 0.0)
    began = time.monotonic()
    try:
        with backend.box(steps, files, box or Box()) as running:
            killed, out, err = watch(running, widest(steps), began)
            started, code, step = running.outcome()
    except OSError as error:  # no room, no processes, no descriptors left: this machine's trouble, not the program's
        return Ended(False, None, 0, "", "", f"{backend.name}: {error}", time.monotonic() - began)
    return Ended(started, None if killed else code, step, killed, out, err, time.monotonic() - began)
