"""Grading of samples from anywhere, the data folder's check, and generations that survive a kill."""

import json

import pytest

from fusebench.errors import DataError
from fusebench.evaluate.data import SOURCES
from fusebench.evaluate.data_check import check_data
from fusebench.evaluate.generations import GenerationStore, Request
from fusebench.evaluate.grade import grade
from fusebench.evaluate.sandbox import missing


def write(path, items):
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def test_each_line_gets_its_outcome_and_keeps_its_keys(tmp_path):
    if (reason := missing("python")) is not None:
        pytest.skip(reason)
    parts = {"language": "py", "prompt": "def f():\n", "tests": "assert f() == 1\n"}
    samples = write(
        tmp_path / "in.jsonl",
        [
            {**parts, "completion": "    return 1\ndef g(", "stop_tokens": ["\ndef"], "id": "a"},
            {**parts, "completion": "    return 2", "id": "b"},
            {"language": "python", "program": "print('said')", "id": "c"},
            {"language": "python", "program": "def f(", "id": "d"},
        ],
    )
    counts = grade(samples, tmp_path / "out.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert counts == {"ok": 2, "wrong": 1, "compile_error": 1}
    assert [(line["id"], line["status"]) for line in lines] == [
        ("a", "ok"),
        ("b", "wrong"),
        ("c", "ok"),
        ("d", "compile_error"),
    ]
    assert (lines[2]["stdout"], lines[2]["exit_code"]) == ("said\n", 0)


@pytest.mark.parametrize(
    ("item", "says"), [({"language": "python"}, "prompt"), ({"language": "cobol", "program": ""}, "cobol")]
)
def test_a_line_that_cannot_be_graded_is_named(tmp_path, item, says):
    with pytest.raises(DataError, match=says):
        grade(write(tmp_path / "in.jsonl", [item]), tmp_path / "out.jsonl")


def test_grading_without_a_sandbox_writes_unavailable(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    samples = write(tmp_path / "in.jsonl", [{"language": "python", "program": ""}])
    assert grade(samples, tmp_path / "out.jsonl") == {"unavailable": 1}


def test_the_data_check_counts_and_finds_what_is_missing(tmp_path):
    (tmp_path / "bbh").mkdir()
    write(tmp_path / "bbh" / "snarks.jsonl", [{"input": "", "target": ""}] * 178)
    write(tmp_path / "bbh" / "navigate.jsonl", [{"input": "", "target": ""}] * 9)
    (tmp_path / "bbh" / "hyperbaton.jsonl.gz").write_bytes(b"no gzip")
    states = {f.name: (f.state, f.items) for f in check_data(tmp_path)}
    assert states["snarks"] == ("ok", 178)
    assert states["navigate"] == ("short", 9)
    assert states["hyperbaton"] == ("unreadable", 0)
    assert states["boolq_validation"] == ("missing", 0)


def test_the_known_sizes_are_those_of_the_published_data_sets(shared):
    findings = check_data(shared / "data")
    assert {f.state for f in findings} == {"ok"}
    assert sum(f.items for f in findings if f.suite == "bbh") == 6511
    assert len({s.test for s in SOURCES.values()}) == len(findings) == 42


def test_generations_of_a_killed_run_are_read_again_up_to_the_torn_line(tmp_path):
    path = tmp_path / "generations.jsonl"
    requests = [Request("p", "rules", 1, n) for n in range(3)]
    GenerationStore(path, "m").put(requests[:2], ["a", "b"])
    with path.open("a") as file:
        file.write('{"model": "m", "requ')
    again = GenerationStore(path, "m")
    again.put(requests[2:], ["c"])
    final = GenerationStore(path, "m")
    assert [final.get(r) for r in requests] == ["a", "b", "c"]
    assert GenerationStore(path, "other").get(requests[0]) is None


def test_the_numbers_of_a_sample_depend_on_prompt_seed_and_number():
    first = Request("p", "r", 1, 0)
    assert (first.uniform(4) == Request("p", "r", 1, 0).uniform(4)).all()
    for other in (Request("q", "r", 1, 0), Request("p", "r", 2, 0), Request("p", "r", 1, 1)):
        assert (first.uniform(4) != other.uniform(4)).all()
