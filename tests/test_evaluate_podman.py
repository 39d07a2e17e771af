"""podman as the sandbox: which one is chosen, the walls of its boxes, and whose exit code is whose."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from fusebench.evaluate.sandbox import available, describe, gate, jail, podman
from fusebench.evaluate.sandbox.box import Box, Limits, Step
from fusebench.evaluate.sandbox.jail import run
from fusebench.evaluate.sandbox.podman import Way, command, read_marks, script, seccomp_profile
from fusebench.evaluate.sandbox.score import Program, run_one
from fusebench.evaluate.sandbox.syscalls import names_of_denied

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="boxes need Linux")
LIMITS = Limits(cpu=1, wall=20, memory=100, processes=7, file=3)

FAKE = """#!/bin/sh
# Stands for podman: notes its words, and runs the box's command on the spot, in a folder instead of /box.
echo "$@" >>{folder}/said
case "$1" in
--version) echo "podman version 9.9.9"; exit 0 ;;
kill|rm) [ -e {folder}/running ] && kill -9 $(cat {folder}/running); exit 0 ;;
esac
case "$*" in {refuse}) echo "Error: refused" >&2; exit 125 ;; esac
echo $$ >{folder}/running
while [ "$1" != --rootfs ]; do shift; done
shift 2
mkdir -p {folder}/box && cd {folder}/box
shift 2
exec /bin/sh -c "$(printf %s "$1" | sed "s#/box#{folder}/box#g")"
"""


@pytest.fixture
def fake(monkeypatch):
    """A machine whose one sandbox is something like podman; yields its folder."""
    if shutil.which("prlimit") is None:
        pytest.skip("no prlimit (util-linux) on this machine")
    folder = Path(tempfile.mkdtemp())
    for tool in ("sh", "tar", "prlimit", "env", "sed", "mkdir", "cat", "sleep", "runc", "kill", "true"):
        if (found := shutil.which(tool)) is not None:
            (folder / tool).symlink_to(found)
    if not (folder / "runc").exists():
        (folder / "runc").symlink_to("/bin/sh")
    behave(folder)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("FUSEBENCH_SANDBOX", raising=False)
    yield folder
    shutil.rmtree(folder)


def behave(folder: Path, refuse: str = "nothing") -> None:
    (folder / "podman").write_text(FAKE.format(folder=folder, refuse=refuse))
    (folder / "podman").chmod(0o755)
    (folder / "said").write_text("")


def step(text: str, limits: Limits = LIMITS) -> Step:
    return Step(("sh", "-c", text), limits)


def test_podman_is_used_where_bubblewrap_is_missing(fake):
    assert available() is None
    assert describe() == "podman 9.9.9"


def test_podman_is_used_where_bubblewrap_cannot_build_a_box(fake):
    for tool in ("bwrap", "setpriv"):
        (fake / tool).write_text("#!/bin/sh\necho 'bwrap: no permission' >&2\nexit 1\n")
        (fake / tool).chmod(0o755)
    assert describe() == "podman 9.9.9"


def test_a_choice_is_kept_and_where_it_fails_there_is_no_other(fake, monkeypatch):
    monkeypatch.setenv("FUSEBENCH_SANDBOX", "bubblewrap")
    assert "bwrap" in (available() or "")
    monkeypatch.setenv("FUSEBENCH_SANDBOX", "podmann")
    assert "did you mean `podman`?" in (available() or "")
    monkeypatch.setenv("FUSEBENCH_SANDBOX", "podman")
    assert available() is None


def test_where_neither_works_the_reasons_of_both_are_said(fake):
    behave(fake, "*run*")
    assert "`bwrap` is not installed" in (available() or "")
    assert "podman cannot build a box here: Error: refused" in (available() or "")


@pytest.mark.parametrize(
    ("refuse", "way"), [("*--memory*", ", no resource groups"), ("*--events-backend=none\\ run*", ", runtime runc")]
)
def test_another_way_of_running_podman_is_found(fake, refuse, way):
    behave(fake, refuse)
    assert describe() == f"podman 9.9.9{way}"


def test_an_exit_code_of_the_program_is_told_from_a_failure_of_podman(fake):
    podman_cannot_start = (125, 126, 127)
    for code in podman_cannot_start:
        ended = run([step(f"echo said; exit {code}")], {})
        assert (ended.started, ended.exit_code, ended.stdout) == (True, code, "said\n")
    behave(fake, "*run*")
    ended = run([step("true")], {})
    assert (ended.started, ended.exit_code) == (False, None)
    assert run_one(Program("python", "")).status == "error"


def test_files_lie_in_the_box_and_a_second_step_runs_only_after_the_first_succeeded(fake):
    failed = run([step("exit 3"), step("echo ran")], {})
    assert (failed.step, failed.exit_code, failed.stdout) == (0, 3, "")
    passed = run([step("true"), step("cat a.txt; exit 4")], {"a.txt": b"content"})
    assert (passed.step, passed.exit_code, passed.stdout) == (1, 4, "content")


def test_a_client_that_is_killed_is_a_failure_of_the_machine(fake):
    pid = fake / "running"
    ended = run([step(f"kill -9 $(cat {pid}); sleep 1")], {})
    assert (ended.started, ended.exit_code, ended.killed) == (True, None, "")


def test_a_program_that_runs_too_long_is_ended_through_podman(fake):
    ended = run([step("sleep 30", Limits(cpu=1, wall=1))], {})
    assert (ended.killed, ended.exit_code) == ("wall", None)
    assert [line for line in (fake / "said").read_text().splitlines() if line.startswith("kill --signal KILL")]


@pytest.mark.parametrize(
    "wall",
    [
        "--network=none",
        "--read-only",
        "--read-only-tmpfs=false",
        "--cap-drop=all",
        "--security-opt=no-new-privileges",
        "--security-opt=seccomp=/skeleton/seccomp.json",
        "--pids-limit=15",
        "--memory=200m",
        "--pull=never",
        "--rm",
        "--http-proxy=false",
        "--shm-size=3m",
        "--timeout=50",
    ],
)
def test_the_box_has_its_wall(wall):
    argv = command(Box(), LIMITS, Way("", True), Path("/skeleton"), "name", Path("/pid"))
    assert wall in argv


def test_of_the_host_only_the_toolchain_is_bound_and_read_only():
    box = Box(readonly=(("/opt/lang", "/lang"),))
    argv = command(box, LIMITS, Way("", True), Path("/skeleton"), "name", Path("/pid"))
    volumes = [argv[n + 1] for n, word in enumerate(argv) if word == "--volume"]
    assert "/usr:/usr:ro" in volumes and "/opt/lang:/lang:ro" in volumes
    assert all(volume.endswith(":ro") for volume in volumes)
    tops = {Path(volume).parts[1] for volume in volumes}
    assert not tops & {"home", "root", "tmp", "var", "proc", "run"}


def test_a_program_is_no_user_of_the_host_and_counts_its_own_processes():
    argv = command(Box(), LIMITS, Way("", True), Path("/skeleton"), "name", Path("/pid"))
    maps = [word for word in argv if word.startswith("--uidmap=")]
    assert maps == (["--uidmap=0:65533:2"] if os.geteuid() == 0 else ["--uidmap=0:0:1"])


def test_every_step_has_its_own_limits_and_none_of_our_variables(monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_HOST", "1")
    text = script([Step(("compile",), Limits(cpu=60)), Step(("./run",), LIMITS)], Box(environment=(("A", "b c"),)))[-1]
    assert text.index("--cpu=60:61") < text.index("compile") < text.index("--cpu=1:2") < text.index("./run")
    assert text.count("env -i PATH=") == 2 and "'A=b c'" in text
    assert "SECRET" not in text + repr(podman._environment())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", (False, None, 0)),
        ("b", (True, None, 0)),
        ("be0.", (True, 0, 0)),
        ("be137.", (True, 137, 0)),
        ("bx", (True, None, 1)),
        ("bxe126.", (True, 126, 1)),
        ("be1", (True, None, 0)),
    ],
)
def test_marks_tell_how_far_a_box_came(text, found):
    assert read_marks(text) == found


@pytest.mark.parametrize("own_list", [True, False])
def test_no_refused_system_call_is_allowed(monkeypatch, tmp_path, own_list):
    allowed = '{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read", "ptrace", "clone", "clone3"],'
    (tmp_path / "a.json").write_text(allowed + '"action": "SCMP_ACT_ALLOW"}]}')
    monkeypatch.setattr(podman, "PROFILES", (tmp_path / ("a.json" if own_list else "none"),))
    profile = seccomp_profile()
    free = {n for e in profile["syscalls"] if e["action"] == "SCMP_ACT_ALLOW" and not e.get("args") for n in e["names"]}
    refused = {n for e in profile["syscalls"] if e["action"] == "SCMP_ACT_ERRNO" for n in e["names"]}
    assert not free & {*names_of_denied(), "clone", "clone3"}
    assert {*names_of_denied(), "clone3"} <= refused
    (clone,) = [e for e in profile["syscalls"] if "clone" in e["names"]]
    assert clone["args"][0]["value"] == 0x10000000
    assert (profile["defaultAction"] == "SCMP_ACT_ERRNO", "read" in free) == (own_list, own_list)


def test_probes_are_run_for_each_sandbox_and_each_way_of_it(fake, monkeypatch, tmp_path):
    monkeypatch.setattr(gate.tempfile, "gettempdir", lambda: str(tmp_path))
    attacked = []
    monkeypatch.setattr(gate, "run_probes", lambda: attacked.append(describe()) or [])
    gate._holds.cache_clear()
    assert gate.sandbox_holds() is None
    gate._holds.cache_clear()
    assert gate.sandbox_holds() is None, "the mark is found"
    behave(fake, "*--memory*")
    jail._choose.cache_clear()
    podman._way.cache_clear()
    assert gate.sandbox_holds() is None
    gate._holds.cache_clear()
    assert attacked == ["podman 9.9.9", "podman 9.9.9, no resource groups"]


def test_a_root_folder_that_was_tidied_away_in_part_is_made_again(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = podman._skeleton(Box())
    (made / "root" / "usr").rmdir()
    assert podman._skeleton(Box()) == made
    assert (made / "root" / "usr").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == [made.name]
