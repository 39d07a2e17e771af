"""The machine's own failures are never wrong answers: no compiler, no room, a broken runner, a loaded machine."""

import dataclasses
import gzip
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from fusebench.evaluate.grade import grade
from fusebench.evaluate.sandbox import LANGUAGES, Limits, Program, available, caches, gate, language, missing
from fusebench.evaluate.sandbox.box import Ended
from fusebench.evaluate.sandbox.jail import choose
from fusebench.evaluate.sandbox.language import COMPILE
from fusebench.evaluate.sandbox.score import run_one

pytestmark = pytest.mark.skipif(available() is not None, reason=f"no sandbox: {available()}")
ROOT = Path(__file__).parents[1]


def needs(*languages: str) -> None:
    for name in languages:
        if (reason := missing(name)) is not None:
            pytest.skip(reason)


def graded(folder: Path, *programs: tuple[str, str]) -> list[dict]:
    samples = folder / "in.jsonl"
    samples.write_text("".join(json.dumps({"language": n, "program": source}) + "\n" for n, source in programs))
    grade(samples, folder / "out.jsonl")
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


@pytest.fixture
def only_python(tmp_path, monkeypatch):
    """A machine whose folders of executables hold Python alone."""
    needs("python")
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "python3").symlink_to(shutil.which("python3", path=language.PATH) or sys.executable)
    monkeypatch.setattr(language, "PATH", str(tools))


def test_without_their_compiler_or_interpreter_programs_are_unavailable_and_others_are_scored(tmp_path, only_python):
    right = [(name, LANGUAGES[name].test.ok) for name in ("cpp", "javascript", "python")]
    lines = graded(tmp_path, *right)
    assert [line["status"] for line in lines] == ["unavailable", "unavailable", "ok"]
    assert "apt-get install g++" in lines[0]["stderr"]
    assert "apt-get install nodejs" in lines[1]["stderr"]


def test_a_task_without_its_compiler_or_interpreter_has_no_score_not_zero(tmp_path, only_python):
    from fusebench.artifacts import write_samples
    from fusebench.artifacts.results import read_samples
    from fusebench.evaluate import SuiteRun, evaluate_candidate, find_suite
    from fusebench.stats import summarise
    from tests.tiny_models import save_byte_model

    for code in ("cpp", "js", "py"):
        doc = {"name": "f", "language": code, "prompt": "", "tests": "", "stop_tokens": ["\n"], "original": "f"}
        path = tmp_path / "data" / "multipl_e" / f"humaneval-{code}-reworded.jsonl.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress((json.dumps(doc) + "\n").encode()))
    suite = find_suite("multipl_e_greedy", ["cpp", "js", "py"])
    settings = {"held_out": None, "batch_size": 2, "max_length": None, "seed": 0, "data_root": tmp_path / "data"}
    rows = evaluate_candidate(
        [save_byte_model(tmp_path / "model")], "model", [SuiteRun(suite)], out=tmp_path, **settings
    )
    place = {"experiment": "e", "row": "m", "seed": 0, "step": -1, "tokens": 0}
    write_samples(tmp_path / "samples.parquet", [{**place, **row} for row in rows])
    lines = {line.task: line for line in summarise(read_samples(tmp_path / "samples.parquet")).itertuples()}
    for code in ("cpp", "js"):
        line = lines[f"multipl_e_greedy_{code}"]
        assert (line.n, math.isnan(line.value)) == (0, True)
    assert lines["multipl_e_greedy_py"].n == 1
    assert {r["status"] for r in rows if r["task"] != "multipl_e_greedy_py"} == {"unavailable"}


@pytest.fixture
def crashing(monkeypatch):
    """A sandbox whose runner is killed while the program runs, as often as the file `crashes` has lines."""
    backend, _ = choose()
    assert backend is not None
    tool = {"bubblewrap": "bwrap", "podman": "podman"}[backend.name]
    real = shutil.which(tool)
    # Not pytest's own folder: where we are root, the runner is another user, who may not look into that.
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    script = (
        f'#!/bin/sh\ncase "$*" in *"sleep(0.7)"*|*main.py*)\n'
        f"if [ -s {folder}/crashes ]; then\n"
        f"sed 1d {folder}/crashes >{folder}/left; cat {folder}/left >{folder}/crashes\n"
        f'(sleep 0.3; kill -9 $$) >/dev/null 2>&1 & fi;; esac\nexec {real} "$@"\n'
    )
    (folder / tool).write_text(script)
    (folder / tool).chmod(0o755)
    (folder / "crashes").write_text("")
    (folder / "crashes").chmod(0o666)
    (folder / "left").write_text("")
    (folder / "left").chmod(0o666)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    yield folder / "crashes"
    shutil.rmtree(folder)


SLEEPER = Program("python", "import time\ntime.sleep(1.2)\n")


def test_a_runner_that_is_killed_is_tried_again(crashing):
    needs("python")
    crashing.write_text("x\nx\n")
    assert run_one(SLEEPER).status == "ok"
    assert crashing.read_text() == ""


def test_a_runner_that_is_always_killed_leaves_the_sample_unscored(crashing):
    needs("python")
    crashing.write_text("x\n" * 9)
    assert run_one(SLEEPER).status == "error"
    assert crashing.read_text() == "x\n" * 6


def test_a_compiler_without_room_leaves_the_sample_unscored(monkeypatch):
    needs("cpp")
    tiny = dataclasses.replace(COMPILE, file=1)
    monkeypatch.setattr(language, "COMPILE", tiny)
    fill = ("sh", "-c", "head -c 900000 /dev/zero >a && head -c 900000 /dev/zero >b")
    monkeypatch.setitem(LANGUAGES, "cpp", dataclasses.replace(LANGUAGES["cpp"], compile=fill))
    outcome = run_one(Program("cpp", "int main() {}"), Limits(file=1))
    assert outcome.status == "error"
    assert "No space left" in outcome.stderr


def test_a_program_that_fills_its_own_room_is_wrong():
    needs("python")
    fill = "import itertools\nfor n in itertools.count():\n    open(str(n), 'wb').write(bytes(900000))\n"
    assert run_one(Program("python", fill), Limits(cpu=2, wall=20, file=1)).status == "wrong"


def test_a_sandbox_that_finds_no_room_on_the_host_is_an_error(monkeypatch):
    needs("python")
    from fusebench.evaluate.sandbox import backend

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    for name in ("bubblewrap", "podman"):
        monkeypatch.setattr(f"fusebench.evaluate.sandbox.{name}.memory_file", full)
    monkeypatch.setattr(backend, "memory_file", full)
    outcome = run_one(Program("python", ""))
    assert (outcome.status, outcome.exit_code) == ("error", None)
    assert "No space left" in outcome.stderr


def test_a_full_disk_costs_the_cache_and_the_memory_of_probes_not_the_answer(monkeypatch):
    needs("go")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caches.tempfile, "mkdtemp", full)
    monkeypatch.setattr(gate.tempfile, "mkstemp", full)
    renamed = dataclasses.replace(LANGUAGES["go"], name="go-on-a-full-disk")
    assert caches.warm_cache(renamed) is None
    assert gate._remembered("nothing", "", lambda: None) is None
    assert gate._remembered("nothing", "", lambda: "found") == "found", "not remembered, so looked for again"


def test_a_box_that_did_not_begin_is_tried_three_times(monkeypatch):
    from fusebench.evaluate.sandbox import score

    tries = []
    monkeypatch.setattr(score, "run", lambda *_: tries.append(1) or Ended(False, None, 0, "", "", "no", 0.0))
    assert run_one(Program("python", "")).status == "error"
    assert len(tries) == 3


BUSY = "while True: pass"


def test_a_loaded_machine_does_not_turn_a_right_answer_into_a_timeout():
    needs("python")
    work = "import time\nwhile time.process_time() < 1: pass\n"
    # Each in a session of its own, for which some kernels share the processor out.
    argv = [sys.executable, "-c", BUSY]
    load = [subprocess.Popen(argv, start_new_session=True) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        outcome = run_one(Program("python", work), Limits(cpu=2, wall=60))
    finally:
        for process in load:
            process.kill()
            process.wait()
    assert outcome.status == "ok"
    assert outcome.seconds > 2, "it took longer by the clock than it may take of the processor"


RACE = """
import json, sys
from fusebench.evaluate.sandbox import LANGUAGES, Program, run_programs
names = sys.argv[1:]
programs = [Program(n, source) for n in names for source in (LANGUAGES[n].test.ok, LANGUAGES[n].test.wrong)]
print(json.dumps([(o.status, o.stderr[-200:]) for o in run_programs(programs)]))
"""


@pytest.mark.slow
def test_processes_that_start_at_once_on_a_cold_machine_all_get_right_answers():
    names = [name for name in ("go", "python") if missing(name) is None]
    folder = tempfile.mkdtemp()
    Path(folder).chmod(0o755)
    env = {**os.environ, "TMPDIR": folder}
    argv = [sys.executable, "-c", RACE, *names]
    try:
        started = [subprocess.Popen(argv, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        answers = [json.loads(process.communicate(timeout=300)[0]) for process in started]
        left = {path.name.split("-")[2].partition(".")[0] for path in Path(folder).glob("fusebench-*")}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for answer in answers:
        assert [status for status, _ in answer] == ["ok", "wrong"] * len(names), answer
    assert left <= {"go", "probes", "self", "podman"}, "nothing half made is left"
