"""The toy world's items: held out, different from each other, and right by another reckoning."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys

import pytest

from fusebench.errors import DataError
from fusebench.toyworld import DOMAINS, TASKS, commonsense, documents, fewshot, items, mixture, world
from fusebench.toyworld.code import draw, problem_stream
from fusebench.toyworld.seeded import held_out

WORDS = {"a": 1, "an": 1, "two": 2, "three": 3, "four": 4}
KINDS = {name: [t for t, task in TASKS.items() if task.kind == name] for name in ("generate", "choice", "program")}


@pytest.fixture(scope="module")
def training():
    """Return all training text of several seeds, one string per domain."""
    return {d: "\n\n".join(text for seed in range(4) for text in documents(d, 1500, seed)) for d in DOMAINS}


@pytest.mark.parametrize("name", sorted(TASKS))
def test_no_item_occurs_in_any_training_text(name, training):
    text = training[TASKS[name].domain]
    found = items(name, 300)
    # A whole question, as training text asks it: a shorter one may end a longer one of another answer.
    asked = {f"Q: {row['input']}\n" if "input" in row else row.get("question", "") for row in found}
    # Of a program the description, in any function of either language.
    if TASKS[name].kind == "program":
        asked = {re.search(r'(?:"""|// )(.+?)(?:"""|\n)', row["prompt"]).group(1) for row in found}
    assert len(asked) == len(found)
    assert not [question for question in asked if question in text]


def test_what_is_not_held_out_does_occur_in_training_text(training):
    asked = [f"Q: {row['input']}\n" for row in fewshot("toy_boolean_expressions", 50)]
    assert sum(question in training["reasoning"] for question in asked) > 25


@pytest.mark.parametrize("name", sorted(TASKS))
def test_there_are_enough_different_items(name):
    found = items(name, 200)
    assert len(found) >= 100
    assert len({str(row.get("input") or row.get("question") or row["prompt"]) for row in found}) == len(found)
    assert len({row["id"] for row in found}) == len(found)


@pytest.mark.parametrize("name", KINDS["generate"])
def test_few_shot_examples_are_not_items(name):
    asked = {row["input"] for row in items(name, 400)}
    assert not asked & {row["input"] for row in fewshot(name, 200)}


def test_boolean_expressions_are_what_python_says():
    for row in items("toy_boolean_expressions", 200):
        assert str(eval(row["input"].removesuffix(" is"))) == row["target"]


def test_counts_are_those_of_the_named_category():
    categories = {
        "fruits": "apple pear plum grape lemon melon",
        "animals": "cat dog pig cow hen goat",
    }
    checked = 0
    for row in items("toy_object_counting", 300):
        asked = re.search(r"How many (\w+)\?", row["input"]).group(1)
        if asked not in categories:
            continue
        pairs = re.findall(r"\b(an?|two|three|four) (\w+?)s?\b", row["input"])
        total = sum(WORDS[number] for number, word in pairs if word in categories[asked].split())
        assert str(total) == row["target"], row
        checked += 1
    assert checked > 20


def test_sorted_words_are_sorted():
    for row in items("toy_word_sorting", 200):
        words = row["input"].removeprefix("Sort: ").split()
        assert row["target"] == " ".join(sorted(words))


def test_a_walk_ends_where_its_steps_lead():
    answers = set()
    for row in items("toy_navigate", 200):
        steps = dict.fromkeys(("forward", "back", "left", "right"), 0)
        for way, count in re.findall(r"Go (\w+) (\d+)", row["input"]):
            steps[way] += int(count)
        at_start = steps["forward"] == steps["back"] and steps["left"] == steps["right"]
        assert row["target"] == ("Yes" if at_start else "No"), row
        answers.add(row["target"])
    assert answers == {"Yes", "No"}


@pytest.mark.parametrize("name", KINDS["choice"])
def test_choices_differ_and_hold_the_answer(name):
    for row in items(name, 300):
        assert len(set(row["choices"])) == len(row["choices"]) == 4
        assert 0 <= row["answer"] < 4


def test_solutions_pass_their_tests_and_wrong_ones_do_not():
    problems = [draw(problem_stream(seed), test=test) for seed in range(60) for test in (False, True)]
    for problem in problems:
        source = problem.prompt("python") + problem.solution("python") + "\n\n" + problem.tests("python")
        with contextlib.redirect_stdout(io.StringIO()):
            exec(source, {})
        wrong = problem.prompt("python") + "    return object()\n\n" + problem.tests("python")
        with pytest.raises(AssertionError):
            exec(wrong, {})


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")
def test_javascript_solutions_pass_their_tests_and_wrong_ones_do_not():
    rows = items("toy_code_js", 60)
    assertion, programs = "const assert = require('node:assert');\n", []
    for body, caught in (("", ""), ("  return {};\n", "wrong += 1;")):
        for row in rows:
            tests = row["tests"].replace(assertion, "")
            programs.append(f"try {{ (() => {{\n{row['prompt']}{body}{row['solution']}\n{tests}\n}})(); }} ")
            programs.append(
                f"catch (error) {{ if (!(error instanceof assert.AssertionError)) throw error; {caught} }}\n"
            )
            if not caught:
                programs[-1] = "catch (error) { throw error; }\n"
    program = f"{assertion}let wrong = 0;\n{''.join(programs)}console.log(wrong);"
    done = subprocess.run(["node", "-e", program], check=False, capture_output=True, text=True)
    assert (done.stderr, done.stdout.strip()) == ("", str(len(rows)))


def test_a_held_out_fact_is_never_stated(training):
    stated = [
        (
            form.format(A=world.article(thing).capitalize(), v=world.KINDS[kind].shared[slot]),
            held_out(f"{thing}|{slot}", commonsense.HELD_OUT_ONE_IN),
        )
        for thing, kind in world.MEMBER_KIND.items()
        for slot, (form, _) in commonsense._SHARED_STATEMENT.items()
    ] + [
        (form.format(A=person, v=world.TOWNS[town][slot]), held_out(f"{person}|{slot}", commonsense.HELD_OUT_ONE_IN))
        for person, town in world.HOME.items()
        for slot, (form, _) in commonsense._TOWN_STATEMENT.items()
    ]
    kept = [text for text, test_only in stated if not test_only]
    assert not [text for text, test_only in stated if test_only and text in training["commonsense"]]
    assert sum(text in training["commonsense"] for text in kept) > 0.9 * len(kept)


def test_another_process_with_another_hash_seed_makes_the_same_world():
    code = (
        "import hashlib; from fusebench.toyworld import *\n"
        "made = [documents(d, 20, 3) for d in DOMAINS], [items(t, 20) for t in TASKS]\n"
        "print(hashlib.sha256(repr(made).encode()).hexdigest())"
    )
    sums = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(sums) == 1


def test_more_documents_begin_with_the_same_ones():
    assert documents("code", 30, 5)[:10] == documents("code", 10, 5)


def test_a_mixture_has_its_shares():
    made = mixture({"reasoning": 0.8, "code": 0.2}, 1000, 1)
    share = sum(domain == "reasoning" for domain, _ in made) / 1000
    assert 0.75 < share < 0.85
    assert {domain for domain, _ in made} == {"reasoning", "code"}


def test_an_unknown_domain_gets_a_suggestion():
    with pytest.raises(DataError, match="no toy domain `cod`") as caught:
        documents("cod", 1, 0)
    assert "did you mean `code`?" in caught.value.fix
