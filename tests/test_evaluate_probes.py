"""The attacks on the sandbox, and what an attack that succeeds does to scoring."""

import shutil
import tempfile
from pathlib import Path

import pytest

from fusebench.evaluate.sandbox import Program, available, gate, run_programs
from fusebench.evaluate.sandbox.box import Box
from fusebench.evaluate.sandbox.probes import PROBES, run_probes, verdict_of


@pytest.fixture(autouse=True, params=["bubblewrap", pytest.param("podman", marks=pytest.mark.slow)])
def sandbox(request, monkeypatch):
    """Return the name of the sandbox under attack; every test is made for each that works here."""
    monkeypatch.setenv("FUSEBENCH_SANDBOX", request.param)
    if (reason := available()) is not None:
        pytest.skip(f"no {request.param}: {reason}")
    return request.param


def through(box: Box) -> set[str]:
    return {result.name for result in run_probes(box) if not result.contained}


def test_all_fourteen_attacks_are_contained():
    results = run_probes()
    assert len(results) == len(PROBES) == 14
    assert verdict_of(results) is None


@pytest.mark.parametrize(
    ("weakness", "seen_by"),
    [
        ("network", "network"),
        ("host_files", "read secrets"),
        ("host_files", "another sample's files"),
        pytest.param("host_processes", "background child", marks=pytest.mark.slow),
    ],
)
def test_a_weakened_sandbox_is_seen(sandbox, monkeypatch, weakness, seen_by):
    folder = Path(tempfile.mkdtemp())  # what an attack leaves in the folder of temporary files goes with it
    folder.chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    if (sandbox, weakness) == ("podman", "host_processes"):
        pytest.skip("podman ends what a box leaves behind by its resource group too")
    try:
        assert seen_by in through(Box(**{weakness: True}))
    finally:
        shutil.rmtree(folder)


def test_an_attack_that_succeeds_blocks_scoring(monkeypatch):
    results = run_probes(Box(network=True))
    monkeypatch.setattr(gate, "sandbox_holds", lambda: verdict_of(results))
    (outcome,) = run_programs([Program("python", "")])
    assert outcome.status == "unavailable"
    assert "network" in outcome.stderr


def test_a_runner_that_fails_its_self_test_makes_its_language_unavailable(monkeypatch):
    import dataclasses

    from fusebench.evaluate.sandbox.language import SelfTest
    from fusebench.evaluate.sandbox.table import LANGUAGES, PYTHON

    lenient = dataclasses.replace(PYTHON, test=SelfTest(ok="", wrong="pass", broken="", endless=""))
    monkeypatch.setitem(LANGUAGES, "python", lenient)
    assert "wrong test program" in (gate._self_test("python") or "")
