"""`fusebench eval` killed at half of its generations and run again: the same samples as of a run left alone."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from fusebench.evaluate.sandbox import missing
from tests.tiny_models import save_byte_model

ROOT = Path(__file__).parents[1]
PROBLEM = {
    "name": "HumanEval_0_f",
    "language": "py",
    "prompt": "def f():\n",
    "tests": "f()\n",
    "stop_tokens": ["\ndef"],
    "original": "f",
    "doctests": "transform",
    "prompt_terminology": "reworded",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_byte_model(tmp_path_factory.mktemp("tiny") / "model", positions=1024)


def start(model: str, suite: str, limit: int, data: Path, run: Path) -> "subprocess.Popen[bytes]":
    argv = [sys.executable, "-m", "fusebench", "eval", model, "--suite", suite, "--limit", str(limit), "--quiet"]
    argv += ["--batch-size", "2", "--max-length", "700", "--data-root", str(data), "--run-dir", str(run)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, start_new_session=True)


def lines(run: Path) -> list[str]:
    """Return the requests whose completions are on disk."""
    found = []
    for path in run.glob("generations/*.jsonl"):
        for line in path.read_bytes().splitlines():
            if line.endswith(b"}"):
                found.append(json.loads(line)["request"])
    return found


def samples(run: Path) -> pd.DataFrame:
    (path,) = run.rglob("samples.parquet")
    return pd.read_parquet(path)


@pytest.mark.slow
@pytest.mark.parametrize(("suite", "limit"), [("toy_bbh", 10), ("multipl_e_py", 1)])
def test_a_run_killed_at_half_of_its_generations_ends_as_one_left_alone(model, tmp_path, suite, limit):
    if suite == "multipl_e_py" and (reason := missing("python")) is not None:
        pytest.skip(reason)
    data, whole, killed = tmp_path / "data", tmp_path / "whole", tmp_path / "killed"
    (data / "multipl_e").mkdir(parents=True)
    (data / "multipl_e" / "humaneval-py-reworded.jsonl.gz").write_bytes(gzip.compress(json.dumps(PROBLEM).encode()))
    assert start(model, suite, limit, data, whole).wait(timeout=120) == 0
    total = len(lines(whole))
    assert total == {"toy_bbh": 40, "multipl_e_py": 20}[suite]

    process = start(model, suite, limit, data, killed)
    while process.poll() is None and len(lines(killed)) < total // 2:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was still at work"
    kept = lines(killed)
    assert total // 2 <= len(kept) < total
    assert not list(killed.rglob("samples.parquet"))

    assert start(model, suite, limit, data, killed).wait(timeout=120) == 0
    assert lines(killed)[: len(kept)] == kept
    assert sorted(lines(killed)) == sorted(lines(whole)), "none was generated twice"
    pd.testing.assert_frame_equal(samples(killed), samples(whole))
