"""A box made by podman, without an image: an empty root folder, the toolchain bound read-only into it.

Slower than bubblewrap (about a tenth of a second a box), so it is the second choice. Where we are root the box has a
user namespace of two users that own nothing; else it is a rootless container.

Not guaranteed: a kernel exploit is not contained, and files of `/usr` can be read (they are the toolchain). A rootless
box without subordinate user ids can write up to 64 MB into its own /dev.
"""

import hashlib
import io
import json
import os
import re
import resource
import secrets
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fusebench.evaluate.sandbox.backend import close, memory_file, pipe, tree_memory
from fusebench.evaluate.sandbox.box import BOX, Box, Limits, Step, widest
from fusebench.evaluate.sandbox.syscalls import names_of_denied

PROFILES = (Path("/etc/containers/seccomp.json"), Path("/usr/share/containers/seccomp.json"))
"""Where podman's own list of allowed system calls lies."""

USERS = 65533
"""First of two user ids of the host without files or processes: the box's root, and the program."""

KEPT_VARIABLES = (
    "PATH", "HOME", "USER", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
    "DBUS_SESSION_BUS_ADDRESS", "CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF",
)  # fmt: skip
"""What podman itself needs of our environment; the program sees none of it."""

_NEW_USER = 0x10000000
"""CLONE_NEWUSER."""

MADE_BY_PODMAN = ("etc/passwd", "etc/group", "etc/hosts", "etc/hostname", "etc/resolv.conf", "run/.containerenv")
"""Files that podman binds into every container: they must be there to be covered."""


@dataclass(frozen=True)
class Way:
    """A way of running podman that works on some machines: its runtime (empty: its default) and resource groups."""

    runtime: str
    groups: bool


WAYS = (Way("", True), Way("", False), Way("runc", True), Way("runc", False), Way("crun", False))
"""In the order of trying. Groups need cgroup 2 or root; the per-process limits and our own watch hold without them."""


@dataclass
class _Running:
    process: "subprocess.Popen[bytes]"
    name: str
    marks: int
    pidfile: Path

    def kill(self) -> None:
        # The client's death would leave the container behind, so podman ends it; --timeout ends it if we die too.
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()  # nobody reads any more, and nobody must wait to write
        podman("kill", "--signal", "KILL", self.name)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def memory(self) -> int:
        try:
            return tree_memory(int(self.pidfile.read_text()))
        except (OSError, ValueError):
            return 0  # it has not begun, or has just ended

    def outcome(self) -> tuple[bool, int | None, int]:
        # podman's own processes may hold the pipe a little longer than the box lives: take what is there.
        os.set_blocking(self.marks, False)
        try:
            text = os.read(self.marks, 4096)
        except BlockingIOError:
            text = b""
        return read_marks(text.decode("ascii", "replace"))


class Podman:
    """The second choice: see the module."""

    name = "podman"
    package = "podman"

    def lacking(self, path: str) -> str | None:
        """Return None where its executables are on `path`, else which is missing and its package."""
        for tool, package in (("podman", "podman"), ("prlimit", "util-linux"), ("tar", "tar")):
            if shutil.which(tool, path=path) is None:
                return f"`{tool}` is not installed (Debian, Ubuntu: apt-get install {package}; Fedora: dnf install …)"
        return None

    def version(self) -> str:
        """Return its version and the way it is run, such as `4.3.1, runtime runc`; empty where it is not there."""
        path = os.environ.get("PATH", os.defpath)
        if shutil.which("podman", path=path) is None:
            return ""
        way = _way(path)
        parts = [podman("--version").rpartition(" ")[2], f"runtime {way.runtime}" if way.runtime else ""]
        return ", ".join(part for part in (*parts, "" if way.groups else "no resource groups") if part)

    @contextmanager
    def box(self, steps: Sequence[Step], files: Mapping[str, bytes], box: Box) -> Iterator[_Running]:
        """Yield a running box; the end of it kills all that is in it, for the box is a PID namespace."""
        with _box(steps, files, box, _way(os.environ.get("PATH", os.defpath))) as running:
            yield running


@contextmanager
def _box(steps: Sequence[Step], files: Mapping[str, bytes], box: Box, way: Way) -> Iterator[_Running]:
    held: list[int] = []
    name = f"fusebench-{os.getpid()}-{secrets.token_hex(6)}"
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    try:
        read, write = pipe(held)
        archive = memory_file("files.tar", _archive(files), held)
        argv = [*command(box, widest(steps), way, _skeleton(box), name, folder / "pid"), *script(steps, box)]
        # --preserve-fds passes on descriptor 3 and no other: it has to be the pipe for the marks.
        process = subprocess.Popen(
            ["/bin/sh", "-c", f'exec "$@" 3>&0 </proc/self/fd/{archive}', "sh", *argv],
            stdin=write,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[archive],
            env=_environment(),
            cwd="/",
            start_new_session=True,
        )
        close([write, archive], held)
        running = _Running(process, name, read, folder / "pid")
        with process:
            try:
                yield running
            finally:
                if process.poll() is None:
                    running.kill()
                if process.returncode < 0:  # the client is gone, what of its box is not sure
                    podman("rm", "--force", "--ignore", name)
    finally:
        close(list(held), held)
        shutil.rmtree(folder, ignore_errors=True)


def podman(*argv: str) -> str:
    """Return what a podman command prints, without the line's end; its failure is left to the caller to notice."""
    got = subprocess.run(["podman", *argv], capture_output=True, text=True, check=False, env=_environment(), cwd="/")
    return got.stdout.strip()


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, **{name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}}


@cache
def _way(path: str) -> Way:
    """Return the first way that builds a box without complaint; the first of all where none does."""
    step = Step(("true",), Limits(cpu=5, wall=30, memory=512))
    for way in WAYS:
        if way.runtime and shutil.which(way.runtime, path=path) is None:
            continue
        with _box([step], {}, Box(), way) as running:
            _, complaint = running.process.communicate()
            if running.outcome() == (True, 0, 0) and not complaint:
                return way
    return WAYS[0]


def command(box: Box, limits: Limits, way: Way, skeleton: Path, name: str, pidfile: Path) -> list[str]:
    """Return the podman command of a box, without the program's own.

    Args:
        box: what it is made of.
        limits: of all steps together; they give the sizes of tmpfs and resource group.
        way: see `Way`.
        skeleton: folder with the empty root and the list of system calls.
        name: of the container.
        pidfile: where podman writes the process id of the box's init.
    """
    tmpfs = f"rw,exec,nosuid,nodev,size={limits.file}m"
    out = [
        "podman",
        "--log-level=fatal",
        "--events-backend=none",
        *([f"--runtime={way.runtime}"] if way.runtime else []),
    ]
    out += ["run", "--rm", "--interactive", "--name", name, f"--pidfile={pidfile}", "--preserve-fds=1"]
    out += ["--pull=never", "--log-driver=none", f"--timeout={int(limits.wall) + 30}", "--stop-timeout=0"]
    out += [f"--network={'host' if box.network else 'none'}", "--no-hosts", "--http-proxy=false", "--hostname=box"]
    out += ["--pid=host"] if box.host_processes else []
    out += ["--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"]
    out += ["--security-opt=label=disable", "--security-opt=mask=/sys"]
    out += [f"--security-opt=seccomp={skeleton / 'seccomp.json' if box.hidden_syscalls else 'unconfined'}"]
    # podman's own defaults may lie above what this process may give.
    processes = min(1024, resource.getrlimit(resource.RLIMIT_NPROC)[1] % (1 << 62))
    out += [f"--ulimit=nproc={processes}:{processes}", "--ulimit=nofile=256:256", "--ulimit=core=0:0"]
    out += [f"--shm-size={limits.file}m"]
    groups = [f"--pids-limit={limits.processes + 8}", f"--memory={2 * limits.memory}m"]
    out += groups if way.groups else []
    # A user namespace of its own, so that the limit on processes counts those of this box alone. A rootless podman
    # numbers users within its own namespace, where 0 is us.
    users, program = (f"0:{USERS}:2", ["--user=1:1"]) if os.geteuid() == 0 else ("0:0:1", [])
    out += [f"--uidmap={users}", f"--gidmap={users}", *program]
    for source, inside in box.binds():
        out += ["--volume", f"{source}:{inside}:ro"]
    if box.host_files:
        out += ["--volume", f"{tempfile.gettempdir()}:{tempfile.gettempdir()}"]
    else:
        out += ["--tmpfs", f"/tmp:{tmpfs}"]  # noqa: S108 - in the box
    return [*out, "--tmpfs", f"{BOX}:{tmpfs}", "--workdir", BOX, "--rootfs", str(skeleton / "root")]


def script(steps: Sequence[Step], box: Box) -> list[str]:
    """Return the command that runs in the box: it lays the files, runs the steps, and leaves marks on descriptor 3.

    The marks tell a failure of podman from an exit code of the program, which may be any number: `b` once the files
    lie, `x` after each step but the last, `e`, the exit code and a dot at the end. The shell stays, as the init.
    """
    bare = shlex.join(["env", "-i", *(f"{name}={value}" for name, value in box.variables().items())])
    lines = [f"tar -xf - -C {BOX} || exit 1", "exec </dev/null", "printf b >&3"]
    for number, step in enumerate(steps):
        lines.append(f"{bare} {shlex.join([*step.limits.arguments(), '--', *step.argv])} 3>&-; code=$?")
        if number < len(steps) - 1:
            lines.append('[ "$code" = 0 ] || { printf "e$code." >&3; exit "$code"; }; printf x >&3')
    lines.append('printf "e$code." >&3; exit "$code"')
    return ["/bin/sh", "-c", "\n".join(lines)]


def read_marks(text: str) -> tuple[bool, int | None, int]:
    """Return whether the box was built, the exit code of the last step that ended, the last step that ran."""
    found = re.match(r"(b?)(x*)(?:e(\d+)\.)?", text)
    assert found is not None, "every part may be empty"
    return bool(found[1]), int(found[3]) if found[3] else None, len(found[2])


def _archive(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _skeleton(box: Box) -> Path:
    """Return a folder with an empty root, a place for everything that is bound into it, and the system call list.

    It is kept for this user in the system's folder for temporary files; boxes share it, for none can write to it.
    """
    profile = json.dumps(seccomp_profile())
    places = sorted({(inside, Path(source).is_dir()) for source, inside in box.binds()})
    shown = tempfile.gettempdir() if box.host_files else "/tmp"  # noqa: S108 - in the box
    key = hashlib.sha256(repr((profile, places, box.links(), shown, "1")).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir(), f"fusebench-{os.getuid()}-podman-{key}")
    needed = [folder / "root" / path.lstrip("/") for path, _ in places] + [folder / "root/box", folder / "root/proc"]
    if _ours(folder):
        if all(place.exists() for place in needed):
            return folder
        shutil.rmtree(folder)  # something has tidied parts of it away
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}."))
    try:
        root = partial / "root"
        for inside, is_folder in [*places, *((f"/{name}", False) for name in MADE_BY_PODMAN)]:
            place = root / inside.lstrip("/")
            (place if is_folder else place.parent).mkdir(parents=True, exist_ok=True)
            if not is_folder:
                place.touch()
        for name in ("proc", "sys", "dev", "run", "etc", "box", "tmp", shown.lstrip("/")):
            (root / name).mkdir(parents=True, exist_ok=True)
        for target, path in box.links():
            (root / path.lstrip("/")).symlink_to(target)
        (root / "etc/mtab").symlink_to("/proc/mounts")
        for made in (partial, *(p for p in partial.rglob("*") if not p.is_symlink())):
            made.chmod(0o755 if made.is_dir() else 0o644)
        for name in ("box", "tmp"):
            (root / name).chmod(0o1777)  # the tmpfs that covers it takes its rights over
        (partial / "seccomp.json").write_text(profile)
        (partial / "seccomp.json").chmod(0o644)
        try:
            partial.rename(folder)
        except OSError:
            if not _ours(folder):  # else another process of ours was first
                raise
        return folder
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _ours(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.getuid()


def seccomp_profile() -> dict[str, Any]:
    """Return podman's own list of allowed system calls without those that bubblewrap's boxes are refused either.

    New user namespaces are refused too: by `clone`'s flags, and as `clone3`, whose flags a filter cannot read. Where
    podman's list is not found, everything else is allowed.
    """
    refused = {*names_of_denied(), "clone", "clone3"}
    found = next((path for path in PROFILES if path.is_file()), None)
    profile: dict[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}
    if found is not None:
        profile = json.loads(found.read_text())
    for entry in profile["syscalls"]:
        entry["names"] = [name for name in entry["names"] if name not in refused]
    kept = [entry for entry in profile["syscalls"] if entry["names"]]
    denied = {"names": sorted(names_of_denied()), "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    old = {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}
    user = {"index": 0, "value": _NEW_USER, "op": "SCMP_CMP_MASKED_EQ"}
    if profile["defaultAction"] == "SCMP_ACT_ALLOW":
        clone = {
            "names": ["clone"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 1,
            "args": [{**user, "valueTwo": _NEW_USER}],
        }
    else:
        clone = {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{**user, "valueTwo": 0}]}
    return {**profile, "syscalls": [*kept, denied, old, clone]}
