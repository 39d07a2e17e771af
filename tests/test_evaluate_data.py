"""`fusebench data pull` against a small hub on this machine: whole files, continued after a kill, honest counts."""

import dataclasses
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fusebench.errors import DataError
from fusebench.evaluate import data_check
from fusebench.evaluate.data import SOURCES, find_file, load_local, read_items
from fusebench.evaluate.data_check import check_data, pull_data
from tests.fake_hub import hub, repositories

ROOT = Path(__file__).parents[1]
PULL = """
import dataclasses, sys
from fusebench.evaluate import data
for name, source in data.SOURCES.items():
    if source.hub[0] == "json":
        data.SOURCES[name] = dataclasses.replace(source, hub=("json", sys.argv.pop(1), "train"))
from fusebench.cli import main
main()
"""


def start(address: str, folder: Path, home: Path) -> "subprocess.Popen[str]":
    env = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    env |= {"HF_DATASETS_OFFLINE": "0", "HF_HUB_DOWNLOAD_TIMEOUT": "5", "HF_HUB_ETAG_TIMEOUT": "5"}
    beside = address.replace("127.0.0.1", "localhost")  # under the hub's own address it would be taken for a data set
    argv = [sys.executable, "-c", PULL, f"{beside}/raw/py.json", "data", "pull", "--to", str(folder), "--json"]
    return subprocess.Popen(
        argv, env=env, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def pull(address: str, folder: Path, home: Path) -> tuple[int, str, str]:
    process = start(address, folder, home)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_a_pull_fills_the_folder_that_the_check_and_the_suites_read(tmp_path):
    with hub(repositories()) as (address, _):
        code, out, err = pull(address, tmp_path / "data", tmp_path / "home")
    assert code == 0, err
    assert {f["state"] for f in json.loads(out)} == {"ok"}
    assert {f.state for f in check_data(tmp_path / "data")} == {"ok"}
    assert load_local("arc_easy", tmp_path / "data")[7]["question"] == "What is 7?"
    assert load_local("boolq", tmp_path / "data")[0]["label"] == 1


def test_a_killed_pull_leaves_whole_files_and_is_continued(tmp_path):
    folder = tmp_path / "data"
    with hub(repositories()) as (address, asked):
        process = start(address, folder, tmp_path / "home")
        while process.poll() is None and len(list(folder.rglob("*.jsonl.gz"))) < 5:
            time.sleep(0.01)
        assert process.poll() is None, "it ended before it was killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        there = {path.name for path in folder.rglob("*.jsonl.gz")}
        states = {f"{f.name}.jsonl.gz": f.state for f in check_data(folder)}
        assert {states[name] for name in there} == {"ok"}
        asked.clear()
        code, _, err = pull(address, folder, tmp_path / "other")
    assert code == 0, err
    again = {path.split("/")[-2] for path in asked if path.startswith("GET") and path.endswith("test.jsonl.gz")}
    assert not {name.removesuffix(".jsonl.gz") for name in there} & again


def test_what_the_hub_lacks_or_has_in_another_number_is_said(tmp_path):
    files = repositories()
    del files["Rowan/hellaswag"]
    short = files["SaylorTwift/bbh"]
    short["snarks/test.jsonl.gz"] = gzip.compress(b'{"input": "a", "target": "b"}\n')
    with hub(files) as (address, _):
        code, _, err = pull(address, tmp_path / "data", tmp_path / "home")
    assert code == 2
    assert "error: cannot fetch `Rowan/hellaswag`" in err
    assert "Traceback" not in err
    states = {f.name: (f.state, f.items) for f in check_data(tmp_path / "data")}
    assert states["hellaswag_validation"] == ("missing", 0)
    assert states["snarks"] == ("short", 1)
    assert sum(state == "ok" for state, _ in states.values()) == 40


def test_without_a_network_the_error_names_every_data_set_and_the_hub_is_asked_once(tmp_path, monkeypatch):
    asked = []

    def unreachable(source):
        asked.append(source.hub[0])
        raise ConnectionError("no route to host")

    monkeypatch.setattr(data_check, "load_hub", unreachable)
    with pytest.raises(DataError, match=r"SaylorTwift/bbh.*aps/super_glue.*humaneval-py") as caught:
        pull_data(tmp_path)
    assert "no route to host" in caught.value.why
    assert asked == ["SaylorTwift/bbh", "json"]
    assert caught.value.exit_code == 2


def test_a_data_set_that_fails_is_asked_for_once(tmp_path, monkeypatch):
    asked = []

    def damaged(source):
        asked.append(source.hub[0])
        raise ValueError("no such split")

    monkeypatch.setattr(data_check, "load_hub", damaged)
    with pytest.raises(DataError, match="SaylorTwift/bbh"):
        pull_data(tmp_path)
    assert len(asked) == len(set(asked)) == 7


def test_a_file_of_another_kind_that_was_not_whole_is_replaced(tmp_path, monkeypatch):
    (tmp_path / "bbh").mkdir()
    (tmp_path / "bbh" / "snarks.jsonl").write_text('{"input": "old", "target": ""}\n')
    items = [{"input": str(n), "target": ""} for n in range(178)]
    only = {name: source for name, source in SOURCES.items() if source.test == "bbh/snarks"}
    monkeypatch.setattr(data_check, "SOURCES", only)
    monkeypatch.setattr(data_check, "load_hub", lambda _: items)
    assert [f.state for f in pull_data(tmp_path)] == ["ok"]
    path = find_file(tmp_path, "bbh/snarks")
    assert path is not None and read_items(path) == items


def test_parquet_items_are_plain_values_and_a_damaged_file_is_named(tmp_path):
    import pandas as pd

    item = {"id": "1", "choices": {"text": ["a", "b"], "label": ["A", "B"]}}
    pd.DataFrame([item]).to_parquet(tmp_path / "a.parquet")
    assert read_items(tmp_path / "a.parquet") == [item]
    (tmp_path / "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"b\.parquet"):
        read_items(tmp_path / "b.parquet")


def test_multipl_e_in_python_comes_from_a_fixed_revision_since_the_hub_lacks_it():
    name, address, _ = SOURCES["multipl_e_py"].hub
    assert (name, address.split("/")[5]) == ("json", "11b407bd2dd98c8204afea4d20043faf2145c20c")
    assert dataclasses.replace(SOURCES["multipl_e_py"]).items == 161
