"""One process tree inside bubblewrap: no network, read-only toolchain, own namespaces, hard limits.

Not guaranteed: a kernel exploit is not contained, and files of `/usr` can be read (they are the toolchain).
"""

import json
import os
import platform
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from fusebench.evaluate.sandbox.syscalls import denied_syscalls

BOX = "/box"
"""The working directory inside: an empty tmpfs that holds the program's files alone."""

ETC = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "php", "R", "localtime", "mime.types")
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
NOBODY = 65534


@dataclass(frozen=True)
class Limits:
    """What one step of a program may use.

    Args:
        cpu: seconds of CPU time of one process; the tree may use that much on each core.
        wall: seconds by the clock, generous: a loaded machine must not turn right answers into time-outs.
        memory: MiB of private writable memory of one process; the whole tree may hold twice that.
        processes: processes and threads at a time.
        file: MiB of one file, and of the tmpfs that the files lie on together.
        output: KiB kept of each of stdout and stderr; a program that writes 16 times that is stopped.
    """

    cpu: int = 10
    wall: float = 60.0
    memory: int = 2048
    processes: int = 128
    file: int = 64
    output: int = 64

    def arguments(self) -> list[str]:
        """Return the prlimit command that sets these limits inside the box."""
        size = self.file << 20
        return [
            "prlimit",
            f"--cpu={self.cpu}:{self.cpu + 1}",
            f"--data={self.memory << 20}",
            f"--fsize={size}",
            f"--nproc={self.processes}",
            "--nofile=256",
            "--core=0",
            "--memlock=65536",
            "--msgqueue=0",
        ]


@dataclass(frozen=True)
class Step:
    """One command inside the box, with its own limits."""

    argv: tuple[str, ...]
    limits: Limits


@dataclass(frozen=True)
class Box:
    """What a box is made of; the defaults are the safe ones, and only the probes' own test weakens them.

    Args:
        readonly: host path -> path inside, read-only, for toolchains outside `/usr`.
        environment: variables inside, besides PATH, HOME and LANG.
        network, host_files, host_processes: keep the host's network, its folder of temporary files, its process
            table: deliberate weaknesses, to show that the probes see them.
        hidden_syscalls: refuse ptrace, mounting, keyrings and their like.
    """

    readonly: tuple[tuple[str, str], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    network: bool = False
    host_files: bool = False
    host_processes: bool = False
    hidden_syscalls: bool = True


@dataclass(frozen=True)
class Ended:
    """How a process tree ended.

    Args:
        started: the box was built and the first command ran; False is a failure of the sandbox, not of the program.
        exit_code: of the last step that ran (128 + signal where a signal ended it); None where we killed it.
        step: number of the last step that ran.
        killed: why we ended it: `wall`, `output`, `memory`, or empty.
        stdout, stderr: as text, cut to the limit.
        wall: seconds by the clock.
    """

    started: bool
    exit_code: int | None
    step: int
    killed: str
    stdout: str
    stderr: str
    wall: float


@cache
def _reason(path: str) -> str | None:
    if not sys.platform.startswith("linux"):
        return "bubblewrap needs Linux"
    for tool in ("bwrap", "prlimit", *(("setpriv",) if os.geteuid() == 0 else ())):
        if shutil.which(tool, path=path) is None:
            package = "bubblewrap" if tool == "bwrap" else "util-linux"
            return f"`{tool}` is not installed (Debian, Ubuntu: apt-get install {package}; Fedora: dnf install …)"
    ended = run([Step(("true",), Limits(cpu=5, wall=20))], {})
    if not ended.started or ended.exit_code != 0:
        said = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        return f"bubblewrap cannot build a box here: {said}"
    return None


def available() -> str | None:
    """Return None where programs can be run in the sandbox, else the reason why not, with the package to install."""
    return _reason(os.environ.get("PATH", os.defpath))


@cache
def _supports(path: str) -> str:
    return subprocess.run(["bwrap", "--help"], capture_output=True, text=True, check=False, env={"PATH": path}).stdout


def bubblewrap_version() -> str:
    """Return what bubblewrap says of its version."""
    return subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=False).stdout.strip()


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
    variables = {"PATH": PATH, "HOME": BOX, "LANG": "C.UTF-8", "TMPDIR": "/tmp", **dict(box.environment)}  # noqa: S108
    for name, value in variables.items():
        out += ["--setenv", name, value]
    out += ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            out += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            out += ["--ro-bind", str(path), str(path)]
    java = sorted(Path("/etc").glob("java*"))
    for path in [Path("/etc", name) for name in ETC] + java:
        if path.exists():
            out += ["--ro-bind", str(path), str(path)]
    for source, inside in box.readonly:
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
    import shlex

    lines = []
    for number, step in enumerate(steps):
        line = shlex.join([*step.limits.arguments(), "--", *step.argv])
        last = number == len(steps) - 1
        lines.append(f"exec {line}" if last else f"{line} || exit $?; printf x > /proc/self/fd/{marker}")
    return ("sh", "-c", "\n".join(lines))


def run(steps: Sequence[Step], files: Mapping[str, bytes], box: Box | None = None) -> Ended:
    """Return how a list of commands ended that ran one after the other in one fresh box.

    A step runs only where the one before it exited with 0. Nothing of the tree is left when this returns: the
    box is a PID namespace, and its end kills all that is in it.

    Args:
        steps: the commands, at least one; see `Step`.
        files: name -> content, laid into the working directory.
        box: `Box()` where None.
    """
    box = box or Box()
    widest = replace(
        steps[0].limits,
        memory=max(s.limits.memory for s in steps),
        file=max(s.limits.file for s in steps),
        wall=sum(s.limits.wall for s in steps),
    )
    held: list[int] = []
    try:
        laid = {name: _memory_file(name, content, held) for name, content in files.items()}
        status_read, status_write = _pipe(held)
        marker_read, marker_write = _pipe(held)
        os.fchmod(marker_write, 0o666)  # the box opens it anew, as another user where we are root
        filter_bytes = denied_syscalls(platform.machine()) if box.hidden_syscalls else None
        seccomp = None if filter_bytes is None else _memory_file("seccomp", filter_bytes, held)
        argv = [*steps[0].limits.arguments(), "--", *steps[0].argv] if len(steps) == 1 else _script(steps, marker_write)
        inherit = [*laid.values(), status_write, *((marker_write,) if len(steps) > 1 else ())]
        inherit += [] if seccomp is None else [seccomp]
        began = time.monotonic()
        process = subprocess.Popen(
            [*command(box, laid, widest, status_write, seccomp), *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=inherit,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            cwd="/",
            start_new_session=True,
        )
        for descriptor in inherit:
            held.remove(descriptor)
            os.close(descriptor)
        killed, out, err = _watch(process, widest, began)
        code, started = _status(status_read)
        done = len(os.read(marker_read, 64)) if len(steps) > 1 else 0
        return Ended(started, None if killed else code, done, killed, out, err, time.monotonic() - began)
    finally:
        for descriptor in held:
            os.close(descriptor)


def _memory_file(name: str, content: bytes, held: list[int]) -> int:
    descriptor = os.memfd_create(Path(name).name)
    held.append(descriptor)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _pipe(held: list[int]) -> tuple[int, int]:
    read, write = os.pipe()
    held += [read, write]
    return read, write


def _status(descriptor: int) -> tuple[int | None, bool]:
    """Return the exit code that bubblewrap reports and whether its box was built."""
    text = b""
    while piece := os.read(descriptor, 4096):
        text += piece
    got: dict[str, int] = {}
    for line in text.decode().splitlines():
        got.update(json.loads(line))
    return got.get("exit-code"), "child-pid" in got


def _watch(process: "subprocess.Popen[bytes]", limits: Limits, began: float) -> tuple[str, str, str]:
    """Return why we killed the tree (or nothing), stdout and stderr, once it is gone."""
    assert process.stdout is not None and process.stderr is not None
    cap, stop_at = limits.output << 10, limits.output << 14
    kept = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    seen = dict.fromkeys(kept, 0)
    killed = ""
    with selectors.DefaultSelector() as selector:
        for descriptor in kept:
            selector.register(descriptor, selectors.EVENT_READ)
        open_streams, next_look = len(kept), began + 0.3
        while open_streams:
            now = time.monotonic()
            if now - began > limits.wall:
                killed = killed or "wall"
            elif now > next_look:
                next_look = now + 0.1
                if _tree_memory(process.pid) > limits.memory << 21:
                    killed = "memory"
            if killed:
                _kill(process)
                break
            for key, _ in selector.select(timeout=0.1):
                piece = os.read(key.fd, 1 << 16)
                if not piece:
                    selector.unregister(key.fd)
                    open_streams -= 1
                    continue
                seen[key.fd] += len(piece)
                kept[key.fd] += piece[: max(0, cap - len(kept[key.fd]))]
                if seen[key.fd] > stop_at:
                    killed = "output"
    # A program may close its own streams and run on: keep watching until the tree is gone.
    while not killed and not _gone(process):
        if time.monotonic() - began > limits.wall:
            killed = "wall"
            _kill(process)
    process.wait()
    process.stdout.close()
    process.stderr.close()
    out, err = (bytes(buffer).decode("utf-8", "replace") for buffer in kept.values())
    return killed, out, err


def _gone(process: "subprocess.Popen[bytes]") -> bool:
    try:
        process.wait(timeout=0.1)
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill(process: "subprocess.Popen[bytes]") -> None:
    # The outer bubblewrap dies, --die-with-parent takes the namespace's init, and that takes the whole tree.
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it ended by itself in this very moment


def _tree_memory(pid: int) -> int:
    """Return the bytes of resident memory of a process and all its descendants."""
    total, waiting = 0, [pid]
    while waiting:
        number = waiting.pop()
        folder = Path("/proc", str(number))
        try:
            total += int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for task in (folder / "task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue  # it ended while we were looking
    return total
