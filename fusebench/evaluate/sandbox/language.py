"""What the runner knows of a language."""

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from fusebench.evaluate.sandbox.box import PATH, Box, Limits, Step

RUN = Limits(cpu=10, wall=60, memory=2048)
START = Limits(cpu=1, wall=60, memory=2048)
COMPILE = Limits(cpu=60, wall=300, memory=4096, processes=512, file=512)


@dataclass(frozen=True)
class SelfTest:
    """Programs whose outcome is known: they show that the runner tells right from wrong."""

    ok: str
    wrong: str
    broken: str
    endless: str


@dataclass(frozen=True)
class Language:
    """A language and its runner.

    Args:
        name: as the project writes it.
        title: as people write it.
        code: MultiPL-E's short name.
        file: name of the source file in the box.
        run: command that runs it; compiled languages run what `compile` made.
        tools: executables that must be there, and the Debian packages that bring them.
        version_command: prints the version, in its first line.
        test: see `SelfTest`.
        compile: command that must succeed first, or empty.
        syntax: what an interpreter writes to stderr when it could not read the program.
        files: further files (paths) that must be there.
        extra: command that succeeds only where a library is there that no path tells of, or empty.
        environment: variables inside the box.
        start: limits under which the self-test's programs run; they only have to start and stop.
        cache: variable that names the compiler's cache of library code, or empty; the cache is filled once, from
            `warm_source` with the command `warm`, and read-only in the box.
    """

    name: str
    title: str
    code: str
    file: str
    run: tuple[str, ...]
    tools: tuple[str, ...]
    packages: tuple[str, ...]
    version_command: tuple[str, ...]
    test: SelfTest
    compile: tuple[str, ...] = ()
    syntax: str = ""
    files: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    start: Limits = START
    cache: str = ""
    warm: tuple[str, ...] = ()
    warm_source: str = ""

    @property
    def package(self) -> str:
        """Return the Debian packages that bring the toolchain, as one would type them."""
        return " ".join(self.packages)

    def version(self) -> str:
        """Return the toolchain's own version line, or nothing where it is missing."""
        if lacks(self) is not None:
            return ""
        # From the system's folders, as in the box: a wrapper in a person's own PATH is not what will run.
        command = [shutil.which(_interpreter(self.version_command)[0], path=PATH) or "", *self.version_command[1:]]
        command[0] = command[0] or _own_python()[0]
        got = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = (got.stdout or got.stderr).strip().splitlines()
        return lines[0] if got.returncode == 0 and lines else ""

    def steps(self, limits: Limits) -> list[Step]:
        """Return the commands that compile and run a program."""
        run = Step(_interpreter(self.run), limits)
        return [Step(self.compile, COMPILE), run] if self.compile else [run]

    def box(self) -> Box:
        """Return the box that the language needs."""
        box = Box(readonly=_outside(self.run), environment=self.environment)
        if not self.cache:
            return box
        from fusebench.evaluate.sandbox.caches import warm_cache

        folder = warm_cache(self)
        if folder is None:
            return replace(box, environment=(*box.environment, (self.cache, "/tmp/cache")))  # noqa: S108 - in the box
        return replace(
            box,
            readonly=(*box.readonly, (str(folder), "/cache")),
            environment=(*box.environment, (self.cache, "/cache")),
        )

    def unreadable(self, output: str) -> bool:
        """Return whether an interpreter's message says that the program is no program of the language."""
        return bool(self.syntax) and re.search(self.syntax, output) is not None


@cache
def _own_python() -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return a Python that the box can run, and the folder to bind for it: the system's, else ours."""
    if shutil.which("python3", path=PATH):
        return "python3", ()
    prefix = str(Path(sys.base_prefix).resolve())
    return f"{prefix}/bin/python3", ((prefix, prefix),)


def _interpreter(argv: tuple[str, ...]) -> tuple[str, ...]:
    return (_own_python()[0], *argv[1:]) if argv[0] == "python3" else argv


def _outside(argv: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return _own_python()[1] if argv[0] == "python3" else ()


def lacks(language: Language) -> str | None:
    """Return None where the toolchain is whole, else what is missing and the package that brings it."""
    for tool in language.tools:
        if tool == "python3" and Path(_own_python()[0]).is_absolute():
            continue
        if shutil.which(tool, path=PATH) is None:
            return f"`{tool}` is not installed (Debian and Ubuntu: apt-get install {language.package})"
    for file in language.files:
        if not Path(file).exists():
            return f"`{file}` is missing (Debian and Ubuntu: apt-get install {language.package})"
    if language.extra and not _succeeds(language.extra):
        return f"`{shlex.join(language.extra)}` fails (Debian and Ubuntu: apt-get install {language.package})"
    return None


@cache
def _succeeds(command: tuple[str, ...]) -> bool:
    tool = shutil.which(command[0], path=PATH)
    assert tool is not None, "tools are looked for first"
    got = subprocess.run([tool, *command[1:]], capture_output=True, check=False, env={"PATH": PATH}, cwd="/")
    return got.returncode == 0
