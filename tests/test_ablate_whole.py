"""A whole ablation of tiny models: every kind of row, the second run, an added row, a killed run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from fusebench.artifacts import read_manifest
from fusebench.pipeline import RunOptions, ablate, fuse_one, plan
from fusebench.recipe import load_recipe
from tests.recipes import small_recipe, trained, write


def whole_recipe():
    """Return a recipe with every method and two experiments."""
    raw = small_recipe()
    raw["models"] |= {"bigger": trained(tokenizer_of="target", hidden=32)}
    for name in ("left", "right"):
        section = trained()["train"]
        raw["models"][name] = {"train": {"base": "target", "text": section["text"], "train": section["train"]}}
    raw["experiments"][0]["rows"] += [
        {"name": "Bigger", "method": "model", "model": "bigger"},
        {"name": "AvgCE", "method": "fusion", "fuse": {"rule": "avg_ce"}},
        {"name": "EM", "method": "fusion", "align": {"vocabulary": "em"}},
        {"name": "KD", "method": "kd", "teacher": "bigger"},
    ]
    raw["experiments"][0]["rows"][2]["points"] = 2
    raw["experiments"][0]["rows"][3]["points"] = 2
    raw["experiments"].append(
        {
            "name": "domains",
            "target": "target",
            "sources": ["left", "right"],
            "rows": [
                {"name": "Base", "method": "model", "model": "target"},
                {"name": "Left", "method": "model", "model": "left"},
                {"name": "Ensemble", "method": "ensemble"},
                {"name": "Merge", "method": "merge", "options": {"kind": "linear"}},
                {"name": "Fusion", "method": "fusion"},
            ],
        }
    )
    raw["evaluate"]["suites"] = [{"name": "toy_commonsense", "limit": 4}, {"name": "perplexity"}]
    return raw


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the folder of a finished whole run and its outcome."""
    folder = tmp_path_factory.mktemp("whole")
    recipe = load_recipe(write(folder, whole_recipe()))
    return folder, ablate(recipe, options(folder))


def options(folder: Path, **rest) -> RunOptions:
    """Return the options of a run in `folder`."""
    return RunOptions(run=folder / "run", report=folder / "report", **rest)


def results(folder: Path) -> pd.DataFrame:
    """Return the lines of results.jsonl."""
    return pd.read_json(folder / "report" / "results.jsonl", lines=True)


def test_every_row_has_a_number_for_every_suite(finished):
    folder, _ = finished
    final = results(folder).query("step == -1 and task == 'average'")
    found = final.groupby("experiment")["method"].nunique()
    assert dict(found) == {"main": 8, "domains": 5}
    assert set(final["suite"]) == {"toy_commonsense", "perplexity"}
    assert final["value"].notna().all()


def test_methods_that_train_share_their_batches(finished):
    folder, _ = finished
    hashes = set()
    for path in (folder / "run" / "methods").glob("main-*/candidate.json"):
        hashes.add(json.loads(path.read_text())["batches"])
    assert len(hashes - {""}) == 1


def test_the_report_lies_whole_in_its_folder(finished):
    folder, outcome = finished
    names = {path.name for path in (folder / "report").iterdir()}
    assert {"index.html", "tables.md", "tables.tex", "results.jsonl", "samples.parquet"} <= names
    assert outcome.page == folder / "report" / "index.html"


def test_a_second_run_executes_no_stage(finished):
    folder, first = finished
    again = ablate(load_recipe(str(folder / "recipe.yaml")), options(folder))
    assert (first.ran, again.ran) == (first.stages, 0)


def test_an_added_row_runs_its_own_stages_alone(finished):
    folder, _ = finished
    raw = yaml.safe_load((folder / "recipe.yaml").read_text())
    raw["experiments"][0]["rows"].append({"name": "Half", "method": "fusion", "train": {"clm_weight": 0.5}})
    (folder / "more").mkdir(exist_ok=True)
    recipe = load_recipe(write(folder / "more", raw))
    to_run = [stage.title for stage, fresh in plan(recipe, options(folder)) if not fresh.cached]
    assert to_run == ["methods/main Half", "evaluate/main Half", "report"]


def test_the_fused_model_is_an_ordinary_folder(finished, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, _ = finished
    recipe = load_recipe(str(folder / "recipe.yaml"))
    out, ran = fuse_one(recipe, options(folder), row=None, out=tmp_path / "fused")
    assert ran == 0
    words = AutoTokenizer.from_pretrained(out)
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.config.vocab_size >= len(words)
    assert (out / "README.md").is_file()


def test_every_finished_folder_has_true_checksums(finished):
    from fusebench.artifacts import check_folder

    folder, _ = finished
    folders = [path.parent for path in (folder / "run").glob("*/*/manifest.json")]
    assert len(folders) > 20
    for place in folders:
        manifest = read_manifest(place)
        assert manifest is not None
        check_folder(place, type=manifest.type, deep=True)


def test_a_killed_run_goes_on(tmp_path):
    recipe = write(tmp_path, whole_recipe())
    command = [sys.executable, "-m", "fusebench", "ablate", recipe, "-q", "--run-dir", str(tmp_path / "run")]
    command += ["--report-dir", str(tmp_path / "report")]
    process = subprocess.Popen(command, start_new_session=True, env={**os.environ})
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "run").glob("models/*/manifest.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path.parent.name for path in (tmp_path / "run").glob("*/*/manifest.json")}
    assert len(kept) >= 2
    outcome = ablate(load_recipe(recipe), options(tmp_path))
    assert outcome.ran <= outcome.stages - len(kept)
    assert outcome.page.is_file()
