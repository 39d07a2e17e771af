"""What a box is made of and what may be used inside: the words that all backends share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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


def widest(steps: Sequence[Step]) -> Limits:
    """Return limits that hold for all steps together: the largest of each, the time by the clock summed."""
    return replace(
        steps[0].limits,
        memory=max(s.limits.memory for s in steps),
        processes=max(s.limits.processes for s in steps),
        file=max(s.limits.file for s in steps),
        wall=sum(s.limits.wall for s in steps),
    )


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

    def variables(self) -> dict[str, str]:
        """Return all environment variables inside."""
        return {"PATH": PATH, "HOME": BOX, "LANG": "C.UTF-8", "TMPDIR": "/tmp", **dict(self.environment)}  # noqa: S108

    def links(self) -> list[tuple[str, str]]:
        """Return (target, path) of the symbolic links of `/` that stand for folders of `/usr`, as on this machine."""
        return [(str(path.readlink()), str(path)) for path in _top() if path.is_symlink()]

    def binds(self) -> list[tuple[str, str]]:
        """Return (host path, path inside) of everything of the host that is there, all of it read-only."""
        etc = [Path("/etc", name) for name in ETC] + sorted(Path("/etc").glob("java*"))
        folders = [path for path in _top() if path.is_dir() and not path.is_symlink()]
        shown = [Path("/usr"), *folders, *(path for path in etc if path.exists())]
        return [*((str(path), str(path)) for path in shown), *self.readonly]


def _top() -> list[Path]:
    return [Path("/", name) for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32")]


@dataclass(frozen=True)
class Ended:
    """How a process tree ended.

    Args:
        started: the box was built and the first command ran; False is a failure of the sandbox, not of the program.
        exit_code: of the last step that ran (128 + signal where a signal ended it); None where we killed it, and where
            the sandbox itself broke.
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
