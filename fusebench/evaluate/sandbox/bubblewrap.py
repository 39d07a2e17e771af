"""A box made by bubblewrap: no daemon, no image, a few milliseconds.

Not guaranteed: a kernel exploit is not contained, and files of `/usr` can be read (they are the toolchain).
"""

import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from fusebench.evaluate.sandbox.backend import close, memory_file, pipe, read_all, tree_memory
from fusebench.evaluate.sandbox.box import BOX, NOBODY, Box, Limits, Step, widest
from fusebench.evaluate.sandbox.syscalls import denied_syscalls


@dataclass
class _Running:
    process: "subprocess.Popen[bytes]"
    status: int
    marker: int
    steps: int

    def kill(self) -> None:
        # The outer bubblewrap dies, --die-with-parent takes the namespace's init, and that takes the whole tree.
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # it ended by itself in this very moment

    def memory(self) -> int:
        return tree_memory(self.process.pid)

    def outcome(self) -> tuple[bool, int | None, int]:
        got: dict[str, int] = {}
        for line in read_all(self.status).decode().splitlines():
            got.update(json.loads(line))
        done = len(os.read(self.marker, 64)) if self.steps > 1 else 0
        return "child-pid" in got, got.get("exit-code"), done


class Bubblewrap:
    """The first choice: see the module."""

    name = "bubblewrap"
    package = "bubblewrap"

    def lacking(self, path: str) -> str | None:
        """Return None where its executables are on `path`, else which is missing and its package."""
        for tool in ("bwrap", "prlimit", *(("setpriv",) if os.geteuid() == 0 else ())):
            if shutil.which(tool, path=path) is None:
                package = self.package if tool == "bwrap" else "util-linux"
                return f"`{tool}` is not installed (Debian, Ubuntu: apt-get install {package}; Fedora: dnf install …)"
        return None

    def version(self) -> str:
        """Return its version, such as `0.8.0`; empty where it is not there."""
        if shutil.which("bwrap") is None:
            return ""
        said = subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=False).stdout
        return said.strip().rpartition(" ")[2]

    @contextmanager
    def box(self, steps: Sequence[Step], files: Mapping[str, bytes], box: Box) -> Iterator[_Running]:
        """Yield a running box; the end of it kills all that is in it, for the box is a PID namespace."""
        held: list[int] = []
        process = None
        try:
            laid = {name: memory_file(name, content, held) for name, content in files.items()}
            status_read, status_write = pipe(held)
            marker_read, marker_write = pipe(held)
            os.fchmod(marker_write, 0o666)  # the box opens it anew, as another user where we are root
            filter_bytes = denied_syscalls(platform.machine()) if box.hidden_syscalls else None
            seccomp = None if filter_bytes is None else memory_file("seccomp", filter_bytes, held)
            one = len(steps) == 1
            argv = [*steps[0].limits.arguments(), "--", *steps[0].argv] if one else _script(steps, marker_write)
            inherit = [*laid.values(), status_write, *(() if one else (marker_write,))]
            inherit += [] if seccomp is None else [seccomp]
            process = subprocess.Popen(
                [*command(box, laid, widest(steps), status_write, seccomp), *argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=inherit,
                env={"PATH": os.environ.get("PATH", os.defpath)},
                cwd="/",
                start_new_session=True,
            )
            close(inherit, held)
            running = _Running(process, status_read, marker_read, len(steps))
            with process:
                try:
                    yield running
                finally:
                    if process.poll() is None:
                        running.kill()
        finally:
            close(list(held), held)


@cache
def _supports(path: str) -> str:
    return subprocess.run(["bwrap", "--help"], capture_output=True, text=True, check=False, env={"PATH": path}).stdout


def command(box: Box, files: Mapping[str, int], limits: Limits, status: int, seccomp: int | None) -> list[str]:
    """Return the bubblewrap command of a box, without the program's own.

    Args:
        files: name in the box -> descriptor to copy its content from.
        limits: the largest of the steps' limits; they give the size of the tmpfs.
        status: descriptor for bubblewrap's own status.
        seccomp: descriptor that holds the filter of refused system calls.
    """
    tmpfs = ["--size", str(limits.file << 20), "--tmpfs"]
    out = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    out += ["bwrap", "--unshare-user", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--die-with-parent"]
    out += ["--new-session", "--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "box", "--clearenv"]
    out += [] if box.network else ["--unshare-net"]
    out += [] if box.host_processes else ["--unshare-pid"]
    out += ["--disable-userns"] if "--disable-userns" in _supports(os.environ.get("PATH", os.defpath)) else []
    for name, value in box.variables().items():
        out += ["--setenv", name, value]
    for target, path in box.links():
        out += ["--symlink", target, path]
    for source, inside in box.binds():
        out += ["--ro-bind", source, inside]
    out += ["--proc", "/proc"] if not box.host_processes else ["--dev-bind", "/proc", "/proc"]
    out += ["--dev", "/dev", *tmpfs, "/dev/shm", "--remount-ro", "/dev", *tmpfs, "/tmp", *tmpfs, BOX]  # noqa: S108
    if box.host_files:
        out += ["--bind", tempfile.gettempdir(), tempfile.gettempdir()]
    for name, descriptor in files.items():
        out += ["--file", str(descriptor), f"{BOX}/{name}"]
    out += ["--chdir", BOX, "--remount-ro", "/", "--json-status-fd", str(status)]
    return [*out, *(["--seccomp", str(seccomp)] if seccomp is not None else []), "--"]


def _script(steps: Sequence[Step], marker: int) -> tuple[str, ...]:
    # Each finished step but the last leaves a byte in the marker pipe, so a compiler's failure is told from the
    # program's own without trusting an exit code that the program could return too.
    lines = []
    for number, step in enumerate(steps):
        line = shlex.join([*step.limits.arguments(), "--", *step.argv])
        last = number == len(steps) - 1
        lines.append(f"exec {line}" if last else f"{line} || exit $?; printf x > /proc/self/fd/{marker}")
    return ("sh", "-c", "\n".join(lines))
