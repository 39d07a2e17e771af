"""`make toolchains`: what it installs, and what it says where it cannot."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fusebench.evaluate.sandbox import LANGUAGES
from fusebench.evaluate.sandbox.language import lacks
from fusebench.evaluate.sandbox.toolchains import packages

SCRIPT = Path(__file__).parents[1] / "scripts" / "install-toolchains.sh"
WRAPPER = """#!/bin/sh
[ -e {mark} ] && exit 0
exec {python} - <<'END'
import dataclasses, sys
from fusebench.evaluate.sandbox import table
from fusebench.evaluate.sandbox.language import lacks
from fusebench.evaluate.sandbox.toolchains import packages
for name in ("rust", "ruby"):
    table.LANGUAGES[name] = dataclasses.replace(table.LANGUAGES[name], tools=("no-such-tool",))
for name in set(table.LANGUAGES) - {{"rust", "ruby"}}:
    table.LANGUAGES[name] = dataclasses.replace(table.LANGUAGES[name], tools=(), files=(), extra=())
print(" ".join(packages(missing_only=True)))
END
"""
"""A Python that finds Rust and Ruby missing until the mark is there."""


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def install(folder: Path, **tools: str) -> subprocess.CompletedProcess[str]:
    for name in ("sh", "id"):
        (folder / name).symlink_to(Path("/bin", name) if Path("/bin", name).exists() else Path("/usr/bin", name))
    for name, text in {"sudo": 'shift; exec "$@"\n', **tools}.items():
        executable(folder / name.replace("_", "-"), f"#!/bin/sh\n{text}")
    python = executable(folder / "python", WRAPPER.format(mark=folder / "installed", python=sys.executable))
    return subprocess.run(
        ["/bin/sh", str(SCRIPT), str(python)],
        env={"PATH": str(folder), "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(SCRIPT.parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )


def apt(folder: Path, *, lists: bool = True) -> str:
    """Return an apt-get that notes its arguments, and knows no package before `update` where it has no lists."""
    known = "" if lists else f"[ -e {folder}/updated ] || {{ echo 'Unable to locate package' >&2; exit 100; }}; "
    return (
        f'echo "$@" >>{folder}/said\ncase "$1" in\nupdate) : >{folder}/updated ;;\n'
        f"install) {known}: >{folder}/installed ;;\nesac\n"
    )


def test_the_packages_are_those_of_the_table_each_once():
    assert packages() == list(dict.fromkeys(p for language in LANGUAGES.values() for p in language.packages))
    assert {"g++", "golang-go", "libjavatuples-java", "ruby-test-unit", "node-typescript"} <= set(packages())


def test_a_library_that_no_path_tells_of_is_asked_for():
    ruby = LANGUAGES["ruby"]
    if lacks(ruby) is not None:
        pytest.skip(lacks(ruby))
    without = dataclasses.replace(ruby, extra=("ruby", "-e", "require 'no/such/library'"))
    assert "ruby-test-unit" in (lacks(without) or "")


def test_missing_packages_are_installed_through_apt_get(tmp_path):
    done = install(tmp_path, apt_get=apt(tmp_path))
    assert done.returncode == 0, done.stderr
    words = (tmp_path / "said").read_text().split()
    assert words[0] == "install"
    assert words[-4:] == ["ruby", "ruby-test-unit", "rustc", "gcc"]


def test_package_lists_are_fetched_where_they_are_missing(tmp_path):
    done = install(tmp_path, apt_get=apt(tmp_path, lists=False))
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in (tmp_path / "said").read_text().splitlines()] == [
        "install",
        "update",
        "install",
    ]


def test_nothing_is_installed_where_nothing_is_missing(tmp_path):
    (tmp_path / "installed").touch()
    done = install(tmp_path, apt_get=apt(tmp_path))
    assert done.returncode == 0
    assert not (tmp_path / "said").exists()


@pytest.mark.parametrize("manager", ["dnf", "pacman", "brew", ""])
def test_without_apt_get_the_packages_are_named_and_the_command_fails(tmp_path, manager):
    done = install(tmp_path, **({manager: "exit 0\n"} if manager else {}))
    assert done.returncode == 1
    assert "ruby ruby-test-unit rustc gcc" in done.stderr
    assert manager in done.stderr


def test_an_installation_that_leaves_something_out_fails(tmp_path):
    done = install(tmp_path, apt_get="exit 0\n")
    assert done.returncode == 1
    assert "still missing: ruby ruby-test-unit rustc gcc" in done.stderr
