"""Rows of a recipe that ensemble models of different tokenizers: their keys, and the whole path."""

import pandas as pd
import pytest

from fusebench.artifacts import Candidate
from fusebench.pipeline import RunOptions, ablate
from fusebench.pipeline.stages import Roots
from fusebench.pipeline.table import build_table
from fusebench.recipe import load_recipe
from tests.recipes import small_recipe, trained, write

ROWS = [
    {"name": "Target", "method": "model", "model": "target"},
    {"name": "Other", "method": "model", "model": "other"},
    {"name": "Ensemble", "method": "ensemble", "sources": ["target", "other"]},
    {"name": "Ensemble EM", "method": "ensemble", "sources": ["target", "other"], "align": {"vocabulary": "em"}},
]


def recipe(**other):
    raw = small_recipe()
    raw["models"] = {"target": trained(), "other": trained("gpt_neox", **other)}
    raw["experiments"][0]["rows"] = ROWS
    raw["evaluate"]["suites"] = [{"name": "toy_commonsense", "limit": 2}, {"name": "perplexity"}]
    return raw


def keys(folder, raw):
    table = build_table(load_recipe(write(folder, raw)), Roots())
    return {row.row.name: row.method.key for row in table.rows}


def test_the_map_of_vocabularies_is_part_of_a_row_only_where_tokenizers_differ(tmp_path):
    different = keys(tmp_path, recipe(tokenizer="unigram"))
    assert different["Ensemble"] != different["Ensemble EM"]
    shared = recipe(tokenizer_of="target")
    shared["models"]["other"]["train"].pop("vocab_size")
    same = keys(tmp_path, shared)
    assert same["Ensemble"] == same["Ensemble EM"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of a finished run."""
    folder = tmp_path_factory.mktemp("ensemble")
    ablate(
        load_recipe(write(folder, recipe(tokenizer="unigram"))),
        RunOptions(run=folder / "run", report=folder / "report"),
    )
    return folder


def test_a_row_of_different_tokenizers_has_a_number_for_every_suite(folder):
    found = pd.read_json(folder / "report" / "results.jsonl", lines=True).query("task == 'average'")
    table = found.pivot(index="method", columns="suite", values="value")
    assert table.shape == (4, 2)
    assert table.notna().all(axis=None)
    assert table.loc["Ensemble", "perplexity"] != table.loc["Ensemble EM", "perplexity"]


def test_a_candidate_keeps_the_rules_that_are_not_the_usual_ones(folder):
    kept = [
        Candidate.load(path.parent).align for path in (folder / "run" / "methods").glob("*Ensemble*/candidate.json")
    ]
    kept = kept or [Candidate.load(p.parent).align for p in (folder / "run" / "methods").glob("*/candidate.json")]
    assert {"vocabulary": "em"} in kept
    assert {} in kept
