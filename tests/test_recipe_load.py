"""Recipes: presets, profiles, overrides, and errors that name the key, the reason and the fix."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusebench.errors import RecipeError
from fusebench.recipe import AlignSection, Recipe, built_in_recipes, load_recipe, recipe_json, resolve
from fusebench.recipe.load import _put
from tests.recipes import small_recipe, write


def load(folder, recipe=None, **rest):
    """Return the loaded recipe."""
    return load_recipe(write(folder, recipe or small_recipe()), **rest)


def failure(folder, recipe, **rest):
    """Return the text of the error that loading raises."""
    with pytest.raises(RecipeError) as caught:
        load(folder, recipe, **rest)
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(built_in_recipes()))
def test_every_built_in_recipe_is_valid_in_every_profile(name):
    import yaml

    raw = yaml.safe_load(built_in_recipes()[name].read_text())
    for profile in [None, *(raw.get("profiles") or {})]:
        assert load_recipe(name, profile=profile).experiments


def test_a_recipe_survives_the_way_through_json(tmp_path):
    recipe = load(tmp_path)
    assert Recipe.model_validate(recipe_json(recipe)) == recipe


def test_the_reference_preset_sets_its_switches(tmp_path):
    recipe = load(tmp_path, {**small_recipe(), "preset": "reference"})
    assert (recipe.align.fallback, recipe.align.collisions, recipe.align.tail) == ("current", "max", "renormalise")
    assert recipe.train.packed_attention == "open"


def test_a_key_of_the_recipe_beats_the_preset(tmp_path):
    recipe = load(tmp_path, {**small_recipe(), "preset": "reference", "align": {"fallback": "next"}})
    assert (recipe.align.fallback, recipe.align.collisions) == ("next", "max")


def test_a_profile_is_laid_over_the_recipe(tmp_path):
    raw = {**small_recipe(), "profiles": {"smoke": {"train.steps": 1, "corpus.toy.documents": 5}}}
    recipe = load(tmp_path, raw, profile="smoke")
    assert recipe.train.steps == 1
    assert recipe.corpus.toy is not None
    assert recipe.corpus.toy.documents == 5


def test_set_reaches_into_lists_by_name(tmp_path):
    recipe = load(tmp_path, overrides=["experiments.main.rows.Fusion.train={clm_weight: 0.5}"])
    row = recipe.experiments[0].rows[3]
    assert resolve(recipe, row)[2].clm_weight == 0.5


def test_a_row_changes_only_what_it_names(tmp_path):
    raw = small_recipe()
    raw["experiments"][0]["rows"][3]["align"] = {"vocabulary": "em"}
    recipe = load(tmp_path, raw)
    align, _, _ = resolve(recipe, recipe.experiments[0].rows[3])
    assert align == AlignSection(vocabulary="em")


def test_seed_replaces_the_recipes_seed(tmp_path):
    assert load(tmp_path, seed=7).seed == 7


def test_an_unknown_key_of_a_row_is_named_with_its_place(tmp_path):
    raw = small_recipe()
    raw["experiments"][0]["rows"][3]["align"] = {"vocabulry": "em"}
    text = failure(tmp_path, raw)
    assert "`rows.Fusion.align.vocabulry`" in text
    assert "did you mean `vocabulary`?" in text


def test_an_unknown_profile_is_named(tmp_path):
    raw = {**small_recipe(), "profiles": {"smoke": {}}}
    assert "did you mean `smoke`?" in failure(tmp_path, raw, profile="smok")


def test_two_origins_of_a_model_do_not_fit_together(tmp_path):
    raw = small_recipe()
    raw["models"]["target"]["path"] = "somewhere"
    assert "exactly one of `hub`, `path`, `train`" in failure(tmp_path, raw)


def test_set_without_a_value_says_how_to_write_it(tmp_path):
    assert "--set key=value" in failure(tmp_path, small_recipe(), overrides=["seed"])


keys = st.text("abc", min_size=1, max_size=3)


@given(st.lists(keys, min_size=1, max_size=4), st.integers())
def test_what_is_put_at_a_dotted_key_is_found_there(steps, value):
    raw = {}
    _put(raw, ".".join(steps), value)
    for step in steps:
        raw = raw[step]
    assert raw == value
