"""The stage table: what a stage's key depends on, and what it does not."""

import pytest

from fusebench.errors import RecipeError
from fusebench.evaluate import sandbox
from fusebench.pipeline.stage import in_order
from fusebench.pipeline.stages import Roots
from fusebench.pipeline.table import build_table
from fusebench.recipe import load_recipe
from tests.recipes import small_recipe, write


def table(folder, **changes):
    """Return the table of the small recipe with some of its sections replaced."""
    return build_table(load_recipe(write(folder, {**small_recipe(), **changes})), Roots())


def keys(found, kind):
    """Return the keys of all stages of a kind, by title."""
    return {stage.title: stage.key for stage in in_order([found.report]) if stage.kind == kind}


def test_a_sandbox_installed_later_makes_programs_be_scored(tmp_path, monkeypatch):
    suites = {"suites": [{"name": "toy_code", "limit": 1}]}
    monkeypatch.setattr(sandbox, "missing", lambda language: "there is no sandbox")
    before = keys(table(tmp_path, evaluate=suites), "evaluate")
    monkeypatch.setattr(sandbox, "missing", lambda language: None)
    after = keys(table(tmp_path, evaluate=suites), "evaluate")
    assert before.keys() == after.keys()
    assert all(before[title] != after[title] for title in before)


def test_a_language_that_no_suite_runs_changes_nothing(tmp_path, monkeypatch):
    before = keys(table(tmp_path), "evaluate")
    monkeypatch.setattr(sandbox, "missing", lambda language: "gone")
    assert keys(table(tmp_path), "evaluate") == before


def test_the_weight_of_the_loss_changes_fusion_and_not_clm(tmp_path):
    before = keys(table(tmp_path), "methods")
    train = {**small_recipe()["train"], "clm_weight": 0.3}
    after = keys(table(tmp_path, train=train), "methods")
    assert before["methods/main CLM"] == after["methods/main CLM"]
    assert before["methods/main Fusion"] != after["methods/main Fusion"]


def test_the_seed_changes_training_and_not_the_tokenizers(tmp_path):
    before, after = table(tmp_path), table(tmp_path, seed=7)
    assert keys(before, "tokenizers") == keys(after, "tokenizers")
    assert not set(keys(before, "models").values()) & set(keys(after, "models").values())


def test_perplexity_reads_the_texts_that_its_suite_names_instead_of_the_held_out_ones(tmp_path):
    (tmp_path / "law.txt").write_text("The right of the people")
    own = {"suites": [{"name": "perplexity", "texts": [f"laws={tmp_path / 'law.txt'}"]}]}
    stages = [s for s in in_order([table(tmp_path, evaluate=own).report]) if s.kind == "evaluate"]
    assert {s.inputs["corpus"].function for s in stages} == {"texts"}
    held_out = table(tmp_path, evaluate={"suites": [{"name": "perplexity"}]})
    assert {s.inputs["corpus"].function for s in in_order([held_out.report]) if s.kind == "evaluate"} == {"corpus"}


def test_texts_belong_to_perplexity_alone(tmp_path):
    with pytest.raises(RecipeError, match="belong to the suite `perplexity`"):
        table(tmp_path, evaluate={"suites": [{"name": "toy_bbh", "texts": ["a.txt"]}]})


def test_clm_and_fusion_stand_on_the_same_blocks(tmp_path):
    rows = {row.row.name: row for row in table(tmp_path).rows}
    assert rows["CLM"].method.inputs["blocks"].key == rows["Fusion"].method.inputs["blocks"].key


def test_an_option_that_a_method_ignores_is_refused_before_anything_runs(tmp_path):
    raw = small_recipe()
    raw["experiments"][0]["rows"].append({"name": "Merge", "method": "merge", "options": {"kindd": "linear"}})
    with pytest.raises(RecipeError, match="would ignore it") as caught:
        build_table(load_recipe(write(tmp_path, raw)), Roots())
    assert "did you mean `kind`?" in caught.value.fix
