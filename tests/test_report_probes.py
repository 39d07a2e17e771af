"""The record of the attacks on the sandbox: kept by evaluation, gathered, shown."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from fusebench.artifacts import Candidate, ProbeRecord
from fusebench.evaluate.sandbox import available, gate, probe_record, sandbox_holds
from fusebench.evaluate.sandbox.probes import PROBES, ProbeResult
from fusebench.pipeline.collect import _probes
from fusebench.pipeline.functions import FUNCTIONS, Context
from fusebench.report import RunReport, render
from fusebench.report.probes import probe_table

RUN = runpy.run_path(str(Path(__file__).with_name("synthetic_run.py")))
EVIL = "<script>alert(1)</script>"
needs_sandbox = pytest.mark.skipif(available() is not None, reason=f"no sandbox: {available()}")


def quick(**changes: object) -> RunReport:
    return RunReport(**{**RUN["parts"](scale=0.1), "bootstrap": 40, **changes})


def test_a_record_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    record = RUN["probes"](through=("ptrace",))
    record.save(tmp_path)
    assert ProbeRecord.load(tmp_path) == record and record.contained == 2


def test_an_older_run_has_no_record_and_no_table(tmp_path: Path) -> None:
    assert ProbeRecord.load(tmp_path) is None
    assert _probes([tmp_path]) == []
    assert probe_table(quick(probes=[])) is None
    assert 'id="probes"' not in render(quick(probes=[]), tmp_path).read_text()


@pytest.mark.parametrize("text", ["", "{}", "[]", "not json", '{"outcomes": [1]}'])
def test_a_damaged_record_is_none(text: str) -> None:
    assert ProbeRecord.parse(text) is None


def test_equal_records_of_several_evaluations_are_gathered_once(tmp_path: Path) -> None:
    early, late = RUN["probes"](), RUN["probes"](created="2026-01-03T00:00:00+00:00")
    for name, record in (("a", late), ("b", early), ("c", early)):
        (tmp_path / name).mkdir()
        record.save(tmp_path / name)
    assert _probes(tmp_path / name for name in "abc") == [early, late]


def test_the_table_names_attack_outcome_sandbox_and_time() -> None:
    table = probe_table(quick())
    assert table is not None
    assert table.body[0] == [
        "network",
        "contained",
        "connect to a server on the host",
        "[Errno 101] Network is unreachable",
    ]
    assert "3 of 3 contained (bubblewrap 0.8.0, 2026-01-02 03:04 UTC, machine start 36214bfd)" in table.caption
    assert table.body[1][3] == "x" * 60 + "…"


def test_an_attack_that_got_through_in_any_record_got_through() -> None:
    table = probe_table(quick(probes=[RUN["probes"](through=("ptrace",)), RUN["probes"]()]))
    assert table is not None
    assert [line[1] for line in table.body] == ["contained", "contained", "got through"]
    assert table.body[2][3] == "the attack succeeded" and "2 of 3" in table.caption


def test_the_table_stands_in_page_and_markdown_escaped(tmp_path: Path) -> None:
    record = RUN["probes"]()
    evil = ProbeRecord(EVIL, "", record.created, tuple(type(o)(o.name, EVIL, False, EVIL) for o in record.outcomes))
    text = render(quick(probes=[evil]), tmp_path).read_text()
    assert 'href="#probes"' in text and "✗ got through" in text and EVIL not in text
    assert "## Sandbox probes" in (tmp_path / "tables.md").read_text()


@needs_sandbox
def test_the_gate_keeps_the_record_for_other_processes() -> None:
    assert sandbox_holds() is None
    record = probe_record()
    assert record is not None and record.contained == len(record.outcomes) == len(PROBES) == 14
    code = "from fusebench.evaluate.sandbox import probe_record; print(probe_record().json())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert ProbeRecord.parse(other) == record


def test_a_failed_probe_is_recorded_but_not_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    results = [ProbeResult("network", "connect", False, "the attack succeeded", 0.1)]
    monkeypatch.setattr(gate, "run_probes", lambda: results)
    monkeypatch.setattr(gate, "describe", lambda: "a weak sandbox")
    monkeypatch.setattr(gate.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(gate, "_RECORDS", {})
    assert "network" in (gate.sandbox_holds() or "")
    record = gate.probe_record()
    assert record is not None and record.contained == 0 and record.backend == "a weak sandbox"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("suite", "kept"), [("toy_code", True), ("toy_bbh", False)])
def test_evaluation_keeps_the_record_where_programs_were_scored(
    suite: str, kept: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("fusebench.evaluate.evaluate_candidate", lambda *_, **__: [], raising=False)
    monkeypatch.setattr("fusebench.evaluate.sandbox.probe_record", RUN["probes"])
    Candidate("model", ["none"], parameters=1).save(tmp_path)
    params = {
        "point": None,
        "suites": [{"name": suite, "tasks": None, "limit": 1, "shots": None}],
        "batch_size": 1,
        "max_length": None,
    }
    context = Context(1, lambda *_: None, tmp_path)
    FUNCTIONS["evaluate"].run({"candidate": tmp_path}, params, tmp_path, context)
    assert (ProbeRecord.load(tmp_path) is not None) == kept
