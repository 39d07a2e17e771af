"""How a program of each language is compiled and run, what it needs, and four programs that test the runner."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fusebench.errors import DataError, suggest
from fusebench.evaluate.sandbox.jail import PATH, Box, Limits, Step, available

RUN = Limits(cpu=10, wall=60, memory=2048)
COMPILE = Limits(cpu=60, wall=300, memory=4096, file=256)


TITLES = {"python": "Python", "javascript": "JavaScript"}


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
        name: as the project writes it; `code` is MultiPL-E's short name.
        file: name of the source file in the box.
        run: command that runs it; compiled languages run what `compile` made.
        compile: command that must succeed first, or empty.
        tools: executables that must be there, and the Debian packages that bring them.
        syntax: what an interpreter writes to stderr when it could not read the program.
        version_command: prints the version, in its first line.
        test: see `SelfTest`.
        files: further files (paths) that must be there.
        environment: variables inside the box.
    """

    name: str
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
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        """Return the name as people write it."""
        return TITLES[self.name]

    @property
    def package(self) -> str:
        """Return the Debian packages that bring the toolchain, as one would type them."""
        return " ".join(self.packages)

    def version(self) -> str:
        """Return the toolchain's own version line, or nothing where it is missing."""
        if lacks(self) is not None:
            return ""
        got = subprocess.run(_interpreter(self.version_command), capture_output=True, text=True, check=False)
        lines = (got.stdout or got.stderr).strip().splitlines()
        return lines[0] if got.returncode == 0 and lines else ""

    def steps(self, limits: Limits) -> list[Step]:
        """Return the commands that compile and run a program."""
        run = Step(_interpreter(self.run), limits)
        return [Step(self.compile, COMPILE), run] if self.compile else [run]

    def box(self) -> Box:
        """Return the box that the language needs."""
        return Box(readonly=_outside(self.run), environment=self.environment)

    def unreadable(self, stderr: str) -> bool:
        """Return whether an interpreter's message says that the program is no program of the language."""
        return bool(self.syntax) and re.search(self.syntax, stderr) is not None


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


PYTHON = Language(
    name="python",
    code="py",
    file="main.py",
    run=("python3", "-B", "main.py"),
    tools=("python3",),
    packages=("python3",),
    version_command=("python3", "--version"),
    syntax=r"(?m)^(SyntaxError|IndentationError|TabError):",
    test=SelfTest(
        ok="assert sum([1, 2]) == 3\n",
        wrong="assert sum([1, 2]) == 4\n",
        broken="def f(:\n    pass\n",
        endless="while True:\n    pass\n",
    ),
)
JAVASCRIPT = Language(
    name="javascript",
    code="js",
    file="main.js",
    run=("node", "main.js"),
    tools=("node",),
    packages=("nodejs",),
    version_command=("node", "--version"),
    syntax=r"(?m)^SyntaxError:",
    test=SelfTest(
        ok="require('assert').deepEqual([1, 2].length, 2);\n",
        wrong="require('assert').deepEqual([1, 2].length, 3);\n",
        broken="function f( {\n",
        endless="while (true) {}\n",
    ),
)

LANGUAGES: dict[str, Language] = {language.name: language for language in (PYTHON, JAVASCRIPT)}
"""By name, in the paper's order of columns."""


def find_language(name: str) -> Language:
    """Return a language by its name or MultiPL-E's short name.

    Raises:
        DataError: there is no such language.
    """
    for language in LANGUAGES.values():
        if name.lower() in (language.name, language.code):
            return language
    raise DataError(
        f"unknown programming language `{name}`", why="no runner has that name", fix=suggest(name, LANGUAGES)
    )


def missing(name: str) -> str | None:
    """Return None where programs of the language can be run, else what is missing and the package that brings it."""
    if (reason := available()) is not None:
        return reason
    return lacks(find_language(name))


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
    return None
