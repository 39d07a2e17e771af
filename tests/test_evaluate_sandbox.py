"""The sandbox: outcomes of programs, and what happens on a machine without one."""

import pytest

from fusebench.errors import DataError
from fusebench.evaluate.programs import assemble, cut, pass_at_k, program_filter
from fusebench.evaluate.sandbox import LANGUAGES, Limits, Program, available, missing, run_programs
from fusebench.evaluate.sandbox.jail import Step, run

needs_sandbox = pytest.mark.skipif(available() is not None, reason=f"no sandbox: {available()}")
SHORT = Limits(cpu=1, wall=20)


def needs(language: str) -> None:
    if (reason := missing(language)) is not None:
        pytest.skip(reason)


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_right_wrong_broken_and_endless_programs_are_told_apart(language):
    needs(language)
    test = LANGUAGES[language].test
    programs = [Program(language, source) for source in (test.ok, test.wrong, test.broken, test.endless)]
    assert [o.status for o in run_programs(programs, limits=SHORT)] == ["ok", "wrong", "compile_error", "timeout"]


def test_without_bubblewrap_programs_are_unavailable_and_never_run(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("FUSEBENCH_SANDBOX", raising=False)
    assert "bwrap" in (available() or "") or "Linux" in (available() or "")
    witness = tmp_path / "ran"
    (outcome,) = run_programs([Program("python", f"open({str(witness)!r}, 'w')")])
    assert outcome.status == "unavailable"
    assert "install" in outcome.stderr
    assert not witness.exists()


def test_without_an_interpreter_only_its_language_is_unavailable(monkeypatch):
    if available() is not None:
        pytest.skip(available())
    import dataclasses

    absent = dataclasses.replace(LANGUAGES["javascript"], tools=("no-such-tool",))
    monkeypatch.setitem(LANGUAGES, "javascript", absent)
    first, second = run_programs([Program("javascript", ""), Program("python", "")])
    assert (first.status, second.status) == ("unavailable", "ok")
    assert "nodejs" in first.stderr


def test_an_unknown_language_is_an_error_that_names_the_nearest():
    with pytest.raises(DataError, match="python"):
        run_programs([Program("pyton", "")])


@needs_sandbox
def test_equal_programs_run_once(monkeypatch):
    from fusebench.evaluate.sandbox import score

    ran = []
    monkeypatch.setattr(score, "run_one", lambda program, limits: ran.append(program) or score.Outcome("ok"))
    assert len(run_programs([Program("python", "a")] * 3 + [Program("python", "b")])) == 4
    assert len(ran) == 2


@needs_sandbox
def test_a_sandbox_that_does_not_start_is_an_error_not_a_wrong_answer(monkeypatch):
    from fusebench.evaluate.sandbox import score
    from fusebench.evaluate.sandbox.jail import Ended

    monkeypatch.setattr(score, "run", lambda *_: Ended(False, 1, 0, "", "", "bwrap: no space left", 0.0))
    (outcome,) = run_programs([Program("python", "")])
    assert outcome.status == "error"


@needs_sandbox
def test_output_is_kept_up_to_the_limit_and_a_flood_is_stopped():
    ended = run([Step(("sh", "-c", "yes"), Limits(cpu=5, wall=20, output=4))], {})
    assert ended.killed == "output"
    assert len(ended.stdout) == 4 << 10


@needs_sandbox
def test_a_second_step_runs_only_after_the_first_succeeded():
    failed = run([Step(("sh", "-c", "exit 3"), SHORT), Step(("echo", "ran"), SHORT)], {})
    assert (failed.step, failed.exit_code, failed.stdout) == (0, 3, "")
    passed = run([Step(("true",), SHORT), Step(("sh", "-c", "echo ran; exit 4"), SHORT)], {})
    assert (passed.step, passed.exit_code, passed.stdout) == (1, 4, "ran\n")


@needs_sandbox
def test_a_program_sees_its_own_files_and_no_variable_of_ours(monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_HOST", "1")
    ended = run([Step(("sh", "-c", "env; ls; ls /"), SHORT)], {"a.txt": b"x"})
    assert "SECRET" not in ended.stdout
    assert "a.txt" in ended.stdout
    assert not {"home", "root"} & set(ended.stdout.split())


def test_a_completion_is_cut_at_its_first_stop_token():
    assert cut("a\ndef b\n\nc", ["\n\n", "\ndef"]) == "a"
    assert assemble({"prompt": "P", "tests": "T", "stop_tokens": ["#"]}, "body#rest") == "Pbody\nT"


def test_pass_at_k_agrees_with_counting_all_draws():
    from itertools import combinations

    statuses = ["ok", "wrong", "timeout", "ok", "compile_error"]
    draws = list(combinations(statuses, 3))
    outcomes = [{"status": s} for s in statuses]
    assert pass_at_k(outcomes, 3) == pytest.approx(sum("ok" in d for d in draws) / len(draws))


def test_pass_at_k_leaves_out_what_the_machine_could_not_run():
    outcomes = [{"status": s} for s in ("ok", "error", "unavailable")]
    assert pass_at_k(outcomes, 1) == 1.0
    assert pass_at_k(outcomes[1:], 1) != pass_at_k(outcomes[1:], 1), "nothing scored is NaN, not 0"


def test_the_filter_gives_one_outcome_per_completion():
    needs("python")
    doc = {"language": "python", "prompt": "def f():\n", "tests": "assert f() == 1\n", "stop_tokens": []}
    (outcomes,) = program_filter([["    return 1", "    return 2"]], [doc])
    assert [o["status"] for o in outcomes] == ["ok", "wrong"]
