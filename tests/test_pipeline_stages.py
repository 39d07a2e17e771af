"""Stages: content addresses, freshness, resumption, order."""

from pathlib import Path

import pytest

from fusebench.artifacts import read_manifest
from fusebench.errors import ArtifactError, DataError
from fusebench.pipeline.executor import execute, lock
from fusebench.pipeline.functions import FUNCTIONS, Function
from fusebench.pipeline.stage import Stage, find_folder, freshness, in_order


def count(inputs, params, out, context):
    """Write the sum of the inputs' numbers and of one parameter, and leave a trace of having run."""
    total = params["add"] + sum(int((folder / "number").read_text()) for folder in inputs.values())
    (out / "number").write_text(str(total))
    with Path(params["trace"]).open("a") as trace:
        trace.write(f"{params['add']}\n")
    context.progress(1, 1)


def fail(inputs, params, out, context):
    """Fail as a stage does on bad data, after it has kept a part."""
    (out / "part").write_text("kept")
    raise DataError("the data are bad", why="a test", fix="none")


@pytest.fixture(autouse=True)
def functions(monkeypatch):
    """Register the functions above for the time of a test."""
    monkeypatch.setitem(FUNCTIONS, "count", Function(count, 1, "Number"))
    monkeypatch.setitem(FUNCTIONS, "fail", Function(fail, 1, "Number"))


def number(tmp_path, add, label="", **inputs):
    """Return a counting stage."""
    return Stage("numbers", label or str(add), "count", 1, inputs, {"add": add, "trace": str(tmp_path / "trace")})


def ran(tmp_path):
    """Return what ran so far, in order."""
    trace = tmp_path / "trace"
    return trace.read_text().split() if trace.exists() else []


def run(tmp_path, *stages):
    """Run stages here and return how many ran."""
    return execute(list(stages), tmp_path / "run", workers=1, listener=lambda event: None)


def test_a_stage_reads_its_inputs(tmp_path):
    top = number(tmp_path, 3, a=number(tmp_path, 1), b=number(tmp_path, 2))
    run(tmp_path, top)
    assert (find_folder(top, tmp_path / "run") / "number").read_text() == "6"


def test_a_second_run_executes_nothing(tmp_path):
    top = number(tmp_path, 3, a=number(tmp_path, 1))
    assert run(tmp_path, top) == 2
    assert run(tmp_path, top) == 0
    assert len(ran(tmp_path)) == 2


def test_equal_work_under_two_labels_runs_once(tmp_path):
    a, b = number(tmp_path, 1, "first"), number(tmp_path, 1, "second")
    run(tmp_path, number(tmp_path, 5, a=a, b=b))
    assert ran(tmp_path).count("1") == 1


def test_work_made_under_another_label_is_found(tmp_path):
    run(tmp_path, number(tmp_path, 1, "first"))
    assert run(tmp_path, number(tmp_path, 1, "second")) == 0


def test_a_changed_parameter_runs_the_stage_and_what_stands_on_it_alone(tmp_path):
    other = number(tmp_path, 10)
    run(tmp_path, number(tmp_path, 3, "top", a=number(tmp_path, 1), b=other))
    assert run(tmp_path, number(tmp_path, 3, "top", a=number(tmp_path, 2), b=other)) == 2
    assert ran(tmp_path).count("10") == 1


def test_the_plan_names_the_changed_parameter(tmp_path):
    run(tmp_path, number(tmp_path, 1, "same"))
    assert freshness(number(tmp_path, 2, "same"), tmp_path / "run").reason == "changed: add"


def test_a_lost_file_makes_its_stage_run_again(tmp_path):
    stage = number(tmp_path, 1)
    run(tmp_path, stage)
    (find_folder(stage, tmp_path / "run") / "number").unlink()
    assert run(tmp_path, stage) == 1


def test_a_failed_stage_keeps_its_part_and_what_was_finished(tmp_path):
    good = number(tmp_path, 1)
    bad = Stage("numbers", "bad", "fail", 1, {"a": good})
    with pytest.raises(DataError, match="the data are bad"):
        run(tmp_path, bad)
    assert freshness(good, tmp_path / "run").cached
    folder = bad.folder(tmp_path / "run")
    assert folder.with_name(folder.name + ".partial").joinpath("part").read_text() == "kept"
    assert read_manifest(folder) is None
    assert "interrupted" in freshness(bad, tmp_path / "run").reason


def test_a_part_of_another_key_is_thrown_away(tmp_path):
    stage = number(tmp_path, 1)
    partial = stage.folder(tmp_path / "run").with_name(stage.folder(tmp_path / "run").name + ".partial")
    partial.mkdir(parents=True)
    (partial / ".key").write_text("another")
    (partial / "stray").write_text("x")
    run(tmp_path, stage)
    assert not (stage.folder(tmp_path / "run") / "stray").exists()


def test_an_input_of_another_type_is_an_error_and_not_a_wrong_number(tmp_path, monkeypatch):
    base = number(tmp_path, 1)
    run(tmp_path, base)
    monkeypatch.setitem(FUNCTIONS, "count", Function(count, 1, "Word"))
    with pytest.raises(ArtifactError, match="holds Number, not Word"):
        run(tmp_path, number(tmp_path, 2, a=base))


def test_order_puts_inputs_first(tmp_path):
    base = number(tmp_path, 1)
    middle = number(tmp_path, 2, a=base)
    assert [s.key for s in in_order([number(tmp_path, 3, a=middle, b=base)])][:2] == [base.key, middle.key]


def test_two_commands_do_not_write_one_run(tmp_path):
    with lock(tmp_path / "run"), pytest.raises(ArtifactError, match="is in use"), lock(tmp_path / "run"):
        pass


def test_where_a_model_lies_does_not_change_the_key_but_makes_it_fresh(tmp_path):
    here = Stage("numbers", "m", "count", 1, {}, {"add": 1, "trace": str(tmp_path / "trace")}, {"ref": "/a"})
    there = Stage("numbers", "m", "count", 1, {}, {"add": 1, "trace": str(tmp_path / "trace")}, {"ref": "/b"})
    run(tmp_path, here)
    assert here.key == there.key
    assert freshness(there, tmp_path / "run").reason == "its model moved"


def test_a_run_folder_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "run").write_text("a file, not a folder")
    with pytest.raises(ArtifactError, match="cannot write to the run folder"):
        run(tmp_path, number(tmp_path, 1))
