"""What a sandbox must offer to run programs; bubblewrap and podman do."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import Popen
from typing import Protocol

from fusebench.evaluate.sandbox.box import Box, Step


class Running(Protocol):
    """A box with its process tree."""

    @property
    def process(self) -> "Popen[bytes]":
        """Return the process of ours that ends when the box does; its streams are the program's."""

    def kill(self) -> None:
        """End the whole tree; the process ends soon after."""

    def memory(self) -> int:
        """Return the bytes of memory that the tree holds."""

    def outcome(self) -> tuple[bool, int | None, int]:
        """Return, once the process is gone: whether the box was built, the exit code, the last step that ran."""


class Backend(Protocol):
    """A kind of sandbox."""

    @property
    def name(self) -> str:
        """Return its name, as FUSEBENCH_SANDBOX takes it."""

    @property
    def package(self) -> str:
        """Return the package that brings it."""

    def lacking(self, path: str) -> str | None:
        """Return None where all its executables are on `path`, else which is missing and its package."""

    def version(self) -> str:
        """Return its version and whatever else matters of how it is run; empty where it is not there."""

    def box(self, steps: Sequence[Step], files: Mapping[str, bytes], box: Box) -> AbstractContextManager[Running]:
        """Return a running box; leaving it ends its tree and removes what it left."""


def memory_file(name: str, content: bytes, held: list[int]) -> int:
    """Return the descriptor of a file in memory, at its beginning; it is added to `held`."""
    descriptor = os.memfd_create(Path(name).name)
    held.append(descriptor)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def pipe(held: list[int]) -> tuple[int, int]:
    """Return the two ends of a pipe; both are added to `held`."""
    read, write = os.pipe()
    held += [read, write]
    return read, write


def close(descriptors: Sequence[int], held: list[int]) -> None:
    """Close descriptors of `held`."""
    for descriptor in descriptors:
        held.remove(descriptor)
        os.close(descriptor)


def read_all(descriptor: int) -> bytes:
    """Return what a pipe holds until its last writer is gone."""
    text = b""
    while piece := os.read(descriptor, 4096):
        text += piece
    return text


def tree_memory(pid: int) -> int:
    """Return the bytes of resident memory of a process and all its descendants."""
    total, waiting = 0, [pid]
    while waiting:
        folder = Path("/proc", str(waiting.pop()))
        try:
            total += int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for task in (folder / "task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue  # it ended while we were looking
    return total
