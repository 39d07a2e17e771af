"""Attacks on the sandbox, run before anything is scored: one that succeeds blocks scoring.

Each probe is a Python program that attacks and prints ESCAPED if it got through. A probe is contained when that word
is missing, the tree ended within its limits, and nothing that it left is found on the host.
"""

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from fusebench.evaluate.sandbox.box import Box, Ended, Limits
from fusebench.evaluate.sandbox.jail import run
from fusebench.evaluate.sandbox.table import PYTHON

VARIABLE = "FUSEBENCH_PROBE"
LIMITS = Limits(cpu=1, wall=15, memory=512, processes=64, file=16)


@dataclass(frozen=True)
class Probe:
    """One attack.

    Args:
        name: for the table.
        attack: what it tries, for people.
        source: the program; `HOST` is a folder of the host with a file `secret`, `TOKEN` marks what the probe
            leaves behind, `SECRET` stands in our own environment, `PORT` listens on the host's loopback, `OUTSIDE`
            is a process of the host, `HOME` is our own home folder.
        limits: of the program.
        beside: another program, in a box of its own, that runs all the while.
    """

    name: str
    attack: str
    source: str
    limits: Limits = LIMITS
    beside: str = ""


@dataclass(frozen=True)
class ProbeResult:
    """What became of a probe; `found` says how it got through, or how it was stopped."""

    name: str
    attack: str
    contained: bool
    found: str
    seconds: float


def _tries(body: str) -> str:
    indented = "\n".join("    " + line for line in body.strip().splitlines())
    return (
        f"import os, sys\ntry:\n{indented}\nexcept BaseException as error:\n    print('refused:', repr(error)[:200])\n"
    )


PROBES = (
    Probe(
        "network",
        "connect to a server on the host and to the internet",
        _tries(
            "import socket\n"
            "for address in (('127.0.0.1', PORT), ('192.0.2.1', 80)):\n"
            "    try:\n"
            "        socket.create_connection(address, timeout=1).close()\n"
            "        print('ESCAPED')\n"
            "    except OSError as error:\n"
            "        print(error)"
        ),
    ),
    Probe(
        "read secrets",
        "read /etc/shadow, the home folder and a file of the host",
        _tries(
            "for path in ('/etc/shadow', '/root', '/home', HOME, HOST + '/secret'):\n"
            "    try:\n"
            "        got = os.listdir(path) if os.path.isdir(path) else open(path).read()\n"
            "        print('ESCAPED' if got else 'empty', path)\n"
            "    except OSError as error:\n"
            "        print(error)"
        ),
    ),
    Probe(
        "fork bomb",
        "start processes without end",
        _tries(
            "import time\n"
            "for started in range(3000):\n"
            "    print(started, end=' ')\n"
            "    if os.fork() == 0:\n"
            "        time.sleep(10)\n"
            "        os._exit(0)\n"
            "print('ESCAPED')"
        ),
    ),
    Probe(
        "8 GB of memory",
        "allocate and touch 8 GB, private and shared",
        _tries(
            "import mmap\n"
            "held = []\n"
            "try:\n"
            "    held.append(bytearray(8 << 30))\n"
            "    print('ESCAPED')\n"
            "except MemoryError as error:\n"
            "    print('refused', error)\n"
            "shared = mmap.mmap(-1, 8 << 30)\n"
            "for at in range(0, 8 << 30, 4096):\n"
            "    shared[at] = 1\n"
            "print('ESCAPED')"
        ),
    ),
    Probe(
        "1 GB of output",
        "write 1 GB to stdout",
        "import sys\nfor _ in range(1024):\n    sys.stdout.write('x' * (1 << 20))\nsys.stderr.write('ESCAPED')\n",
    ),
    Probe("endless loop", "compute for ever", "while True:\n    pass\n"),
    Probe(
        "background child",
        "leave a process behind that outlives its parent",
        _tries(
            "import time\n"
            "if os.fork() == 0:\n"
            "    os.setsid()\n"
            "    if os.fork() == 0:\n"
            "        os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(20)', TOKEN])\n"
            "    os._exit(0)\n"
            "time.sleep(0.3)"
        ),
    ),
    Probe(
        "symlink out",
        "reach the host's files through symbolic links",
        _tries(
            "os.symlink(HOST, 'door')\n"
            "os.symlink('/proc/1/root' + HOST, 'other')\n"
            "for name in ('door', 'other'):\n"
            "    try:\n"
            "        print('ESCAPED', open(name + '/secret').read())\n"
            "    except OSError as error:\n"
            "        print(error)"
        ),
    ),
    Probe(
        "write to the toolchain",
        "change files of /usr, /bin and /etc",
        _tries(
            "for path in ('/usr/bin/' + TOKEN, '/usr/lib/' + TOKEN, '/bin/' + TOKEN, '/etc/' + TOKEN, '/' + TOKEN):\n"
            "    try:\n"
            "        open(path, 'w').write('x')\n"
            "        print('ESCAPED', path)\n"
            "    except OSError as error:\n"
            "        print(error)"
        ),
    ),
    Probe(
        "ptrace",
        "take over another process",
        _tries(
            "import ctypes, time\n"
            "libc = ctypes.CDLL(None, use_errno=True)\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    time.sleep(5)\n"
            "    os._exit(0)\n"
            "for number in {1, os.getppid(), child}:\n"
            "    got = libc.ptrace(16, number, 0, 0)\n"
            "    print('ESCAPED' if got == 0 else os.strerror(ctypes.get_errno()), number)"
        ),
    ),
    Probe(
        "huge file",
        "fill the disk",
        _tries(
            "import signal\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "written = 0\n"
            "for folder in ('.', '/tmp', '/dev/shm', '/dev', '/'):\n"
            "    for number in range(40):\n"
            "        try:\n"
            "            with open(f'{folder}/{number}', 'wb') as file:\n"
            "                for _ in range(64):\n"
            "                    written += file.write(bytes(1 << 20))\n"
            "        except OSError as error:\n"
            "            print(error)\n"
            "            break\n"
            "print('ESCAPED' if written > 200 << 20 else 'stopped', written)"
        ),
    ),
    Probe(
        "another sample's files",
        "read what another program is writing",
        _tries(
            "import time\n"
            "time.sleep(0.5)\n"
            "found = [os.path.join(a, f) for top in ('/tmp', '/box', '/dev/shm', '/var/tmp', HOST)"
            " for a, _, files in os.walk(top) for f in files]\n"
            "print([f for f in found if not f.endswith('main.py')] and 'ESCAPED' or 'nothing there')"
        ),
        beside=_tries(
            "import time\n"
            "for folder in ('/tmp', '/box', '/dev/shm'):\n"
            "    open(folder + '/sample', 'w').write('x')\n"
            "time.sleep(1.5)"
        ),
    ),
    Probe(
        "environment secrets",
        "read the variables of our own process",
        _tries(
            "texts = [repr(dict(os.environ))]\n"
            "for number in os.listdir('/proc'):\n"
            "    try:\n"
            "        texts.append(open(f'/proc/{number}/environ').read() if number.isdigit() else '')\n"
            "    except OSError as error:\n"
            "        print(error)\n"
            "print('ESCAPED' if any(SECRET in text for text in texts) else 'nothing there')"
        ),
    ),
    Probe(
        "kill its parent",
        "end processes outside of the box",
        _tries(
            "import signal\n"
            "outside = OUTSIDE\n"
            "for number in (outside, os.getppid()):\n"
            "    try:\n"
            "        os.kill(number, signal.SIGKILL if number == outside else signal.SIGTERM)\n"
            "        print('sent', number)\n"
            "    except OSError as error:\n"
            "        print(error)"
        ),
    ),
)


def run_probes(box: Box | None = None) -> list[ProbeResult]:
    """Return what became of every attack in a box like those that programs get.

    Args:
        box: `Box()` where None; a weaker one shows that the probes see its weakness.
    """
    token = f"probe{secrets.token_hex(8)}"
    os.environ[VARIABLE] = token
    try:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda probe: _run_probe(probe, box or Box(), token), PROBES))
    finally:
        del os.environ[VARIABLE]


def _run_probe(probe: Probe, box: Box, secret: str) -> ProbeResult:
    token = f"{secret}-{PROBES.index(probe)}-"
    victim = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, close_fds=True)
    with TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as server:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "secret").write_text(token)
        (folder / "secret").chmod(0o644)
        words = {"HOST": name, "TOKEN": token, "SECRET": secret, "PORT": server.getsockname()[1], "OUTSIDE": victim.pid}
        words["HOME"] = str(Path.home()) if len(Path.home().parts) > 1 else "/root"
        head = "".join(f"{key} = {value!r}\n" for key, value in words.items())
        whole = replace(box, readonly=(*PYTHON.box().readonly, *box.readonly))
        try:
            (step,) = PYTHON.steps(probe.limits)
            with ThreadPoolExecutor(1) as pool:
                if probe.beside:
                    pool.submit(run, [step], {"main.py": (head + probe.beside).encode()}, whole)
                ended = run([step], {"main.py": (head + probe.source).encode()}, whole)
            alive = victim.poll() is None
        finally:
            victim.kill()
            victim.wait()
    found = _escape(ended, probe.limits, token, alive)
    said = (ended.stdout.strip() or ended.stderr.strip() or "stopped").splitlines()[-1][:120]
    return ProbeResult(probe.name, probe.attack, not found, found or said, ended.wall)


def _escape(ended: Ended, limits: Limits, token: str, victim_alive: bool) -> str:
    """Return how a probe got through, or nothing."""
    checks: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("the box was not built", lambda: not ended.started),
        ("the attack succeeded", lambda: "ESCAPED" in ended.stdout + ended.stderr),
        ("it ran past its limits", lambda: ended.wall > limits.wall + 5),
        ("a process of ours was killed", lambda: not victim_alive),
        ("a process was left behind", lambda: _left_behind(token)),
    )
    return next((text for text, failed in checks if failed()), "")


def _left_behind(token: str) -> bool:
    time.sleep(0.05)
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if token.encode() in path.read_bytes():
                return True
        except OSError:
            continue  # it ended meanwhile
    return False


def verdict_of(results: list[ProbeResult]) -> str | None:
    """Return None where all probes are contained, else the reason that blocks scoring."""
    through = [f"{result.name} ({result.found})" for result in results if not result.contained]
    return f"the sandbox does not hold: {'; '.join(through)}" if through else None
