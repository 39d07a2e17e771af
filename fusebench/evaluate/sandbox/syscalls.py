"""The system calls that a boxed program is refused, as a seccomp filter."""

import struct

_X86_64 = {
    "ptrace": 101, "pivot_root": 155, "chroot": 161, "mount": 165, "umount2": 166, "swapon": 167, "reboot": 169,
    "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272, "perf_event_open": 298, "setns": 308,
    "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "bpf": 321, "userfaultfd": 323,
    "io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "pidfd_getfd": 438,
}  # fmt: skip
_AARCH64 = {
    "umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51, "unshare": 97, "ptrace": 117, "reboot": 142,
    "add_key": 217, "request_key": 218, "keyctl": 219, "swapon": 224, "perf_event_open": 241, "setns": 268,
    "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272, "bpf": 280, "userfaultfd": 282,
    "io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "pidfd_getfd": 438,
}  # fmt: skip
_MACHINES = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _KILL, _EPERM = 0x7FFF0000, 0x80000000, 0x00050001
_X32 = 0x40000000


def names_of_denied() -> list[str]:
    """Return the names of the refused system calls, of all machines together."""
    return sorted({name for _, calls in _MACHINES.values() for name in calls})


def denied_syscalls(machine: str) -> bytes | None:
    """Return the filter (an array of `struct sock_filter`), or None for a machine whose numbers we do not know.

    Calls of another architecture end the process; the listed calls fail with EPERM; all others pass. The 32-bit
    numbering of x86-64 (x32) is refused whole, since its numbers would slip past the list.
    """
    if machine not in _MACHINES:
        return None
    architecture, calls = _MACHINES[machine]
    numbers = sorted(calls.values())
    code = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, len(numbers) + 1, 0, _X32),
        *((_EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _EPERM),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in code)
