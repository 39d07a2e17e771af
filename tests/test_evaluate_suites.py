"""Suites: what is built in, what can be named, and what a wrong name says."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fusebench.errors import DataError
from fusebench.evaluate.suites import SUITES, find_suite, fingerprint, metric_of, tasks_folder
from fusebench.toyworld import TASKS


def test_every_toy_task_has_a_definition_and_every_definition_a_toy_task():
    defined = {path.stem for path in (tasks_folder() / "quickstart").glob("*.yaml")}
    assert defined == set(TASKS)


def test_toy_suites_cover_all_toy_tasks_once():
    named = [t for name in ("toy_bbh", "toy_commonsense", "toy_code") for t in SUITES[name].tasks]
    assert sorted(named) == sorted(TASKS)


def test_the_stop_strings_of_program_tasks_are_those_of_the_items():
    from fusebench.toyworld import items

    for name, task in TASKS.items():
        if task.kind == "program":
            text = (tasks_folder() / "quickstart" / f"{name}.yaml").read_text()
            assert yaml.safe_load(text)["generation_kwargs"]["until"] == items(name, 1)[0]["stop_tokens"]


@pytest.mark.parametrize(
    ("name", "tasks", "says"),
    [
        ("toy_bhb", None, "toy_bbh"),
        ("toy_bbh", ["toy_navigat"], "toy_navigate"),
        ("toy_bbh", [], "empty"),
        ("perplexity", ["x"], "takes no tasks"),
        ("../secret", None, "unknown suite"),
    ],
)
def test_a_wrong_name_is_one_clear_error_that_names_the_right_one(name, tasks, says):
    with pytest.raises(DataError, match=says):
        find_suite(name, tasks)


def test_a_part_of_a_suite_keeps_its_family_and_takes_short_task_names():
    suite = find_suite("bbh", ["navigate"])
    assert (suite.family, suite.tasks) == ("bbh", ("bbh_cot_fewshot_navigate",))


def test_any_lm_eval_task_or_group_is_a_suite():
    assert find_suite("gsm8k").tasks == ("gsm8k",)
    assert find_suite("mmlu").kind == "mixed"
    assert find_suite("mine", ["arc_easy", "boolq"]).family == "commonsense"


def test_a_task_of_the_project_alone_is_a_suite_of_its_family():
    suite = find_suite("multipl_e_py")
    assert (suite.family, suite.kind, suite.tasks) == ("multipl_e", "program", ("multipl_e_py",))


def test_boolq_is_scored_by_accuracy_and_its_neighbours_by_normalised_accuracy():
    suite = SUITES["commonsense"]
    assert metric_of(suite, "boolq", ["acc"]) == "acc"
    assert metric_of(suite, "arc_easy", ["acc", "acc_norm"]) == "acc_norm"


def test_naming_suites_imports_neither_torch_nor_lm_eval():
    code = (
        "import sys; from fusebench.evaluate import find_suite; from fusebench.evaluate.suites import fingerprint;"
        "fingerprint(find_suite('toy_bbh')); print(sorted({'torch', 'lm_eval', 'transformers'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[1]
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert out.stdout.strip() == "[]"


def test_the_fingerprint_changes_with_the_tasks():
    assert fingerprint(find_suite("toy_bbh")) != fingerprint(find_suite("toy_bbh", ["toy_navigate"]))
