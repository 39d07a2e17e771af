"""MultiPL-E: right and wrong solutions of three problems in ten languages, prompts and stops of the data set."""

from pathlib import Path

import pytest
import yaml

from fusebench.evaluate.data import SOURCES, load_local
from fusebench.evaluate.programs import assemble
from fusebench.evaluate.sandbox import LANGUAGES, Program, missing, run_programs
from fusebench.evaluate.suites import SUITES, tasks_folder

NAMES = {language.code: name for name, language in LANGUAGES.items()}
PROBLEMS = ("HumanEval_53_add", "HumanEval_23_strlen", "HumanEval_45_triangle_area")
# PHP has its own strlen, which no program can declare again: that translation cannot be solved.
PROBLEMS_OF = {"php": ("HumanEval_53_add", "HumanEval_60_sum_to_n", "HumanEval_45_triangle_area")}
SLOW = ("cpp", "go", "java", "r", "rs", "ts")
# Bodies of: x + y, the length of a string (PHP: the sum 1..n), half of a times h; then the same, subtly wrong.
RIGHT = {
    "cpp": ("    return x + y;\n", "    return string.length();\n", "    return a * h / 2.0f;\n"),
    "go": ("    return x + y\n}\n", "    return len(myString)\n}\n", "    return float64(a*h) / 2\n}\n"),
    "java": ("        return x + y;\n", "        return string.length();\n", "        return a * h / 2.0f;\n"),
    "js": ("  return x + y;\n}\n", "  return string.length;\n}\n", "  return a * h / 2;\n}\n"),
    "php": ("    return $x + $y;\n}\n", "    return $n * ($n + 1) / 2;\n}\n", "    return $a * $h / 2.0;\n}\n"),
    "py": ("\n    return x + y\n", "\n    return len(string)\n", "\n    return a * h / 2\n"),
    "r": ("\n    x + y\n}\n", "\n    nchar(string)\n}\n", "\n    a * h / 2\n}\n"),
    "rb": ("  x + y\nend\n", "  string.length\nend\n", "  a * h / 2.0\nend\n"),
    "rs": ("    x + y\n", "    string.len() as isize\n", "    (a * h) as f64 / 2.0\n"),
    "ts": ("  return x + y;\n}\n", "  return string.length;\n}\n", "  return a * h / 2;\n}\n"),
}
WRONG = {
    "cpp": ("    return x - y;\n", "    return string.length() + 1;\n", "    return a * h / 2;\n"),
    "go": ("    return x - y\n}\n", "    return len(myString) + 1\n}\n", "    return float64(a * h / 2)\n}\n"),
    "java": ("        return x - y;\n", "        return string.length() + 1;\n", "        return a * h / 2;\n"),
    "js": ("  return x - y;\n}\n", "  return string.length + 1;\n}\n", "  return Math.floor(a * h / 2);\n}\n"),
    "php": (
        "    return $x - $y;\n}\n",
        "    return $n * ($n - 1) / 2;\n}\n",
        "    return intdiv($a * $h, 2);\n}\n",
    ),
    "py": ("\n    return x - y\n", "\n    return len(string) + 1\n", "\n    return a * h // 2\n"),
    "r": ("\n    x - y\n}\n", "\n    nchar(string) + 1\n}\n", "\n    a * h %/% 2\n}\n"),
    "rb": ("  x - y\nend\n", "  string.length + 1\nend\n", "  a * h / 2\nend\n"),
    "rs": ("    x - y\n", "    string.len() as isize + 1\n", "    (a * h / 2) as f64\n"),
    "ts": ("  return x - y;\n}\n", "  return string.length + 1;\n}\n", "  return Math.floor(a * h / 2);\n}\n"),
}


def problems(shared: Path, code: str) -> list[dict[str, object]]:
    by_name = {item["name"]: item for item in load_local(f"multipl_e_{code}", shared / "data")}
    return [by_name[name] for name in PROBLEMS_OF.get(code, PROBLEMS)]


@pytest.mark.parametrize("code", [pytest.param(c, marks=pytest.mark.slow) if c in SLOW else c for c in RIGHT])
def test_right_solutions_pass_and_subtly_wrong_ones_fail(shared, code):
    if (reason := missing(NAMES[code])) is not None:
        pytest.skip(reason)
    docs = problems(shared, code)
    tried = [
        Program(NAMES[code], assemble(doc, body))
        for bodies in (RIGHT[code], WRONG[code])
        for doc, body in zip(docs, bodies, strict=True)
    ]
    outcomes = run_programs(tried)
    assert [o.status for o in outcomes] == ["ok"] * 3 + ["wrong"] * 3, [o.stderr[-300:] for o in outcomes]


@pytest.mark.parametrize("code", list(RIGHT))
def test_prompts_and_stop_strings_are_those_of_the_data_set(shared, code):
    from fusebench.evaluate.tasks import load_tasks

    name = f"multipl_e_greedy_{code}"
    task = load_tasks([name], data_root=shared / "data")[name]
    items = load_local(f"multipl_e_{code}", shared / "data")
    assert len(items) == SOURCES[f"multipl_e_{code}"].items
    assert [task.doc_to_text(doc) for doc in list(task.eval_docs)] == [item["prompt"].strip() for item in items]
    assert task.config.generation_kwargs["until"] == items[0]["stop_tokens"]


def test_the_sampled_tasks_follow_the_papers_protocol():
    for name in SUITES["multipl_e"].tasks:
        text = (tasks_folder() / "multipl_e" / f"{name}.yaml").read_text()
        settings = yaml.safe_load(text)["generation_kwargs"]
        assert (settings["temperature"], settings["top_p"], settings["do_sample"]) == (0.2, 0.95, True)
    assert "repeats: 20" in (tasks_folder() / "multipl_e" / "_sampled_template_yaml").read_text()


def test_every_task_names_its_language_and_both_protocols_have_all_ten():
    for suite in ("multipl_e", "multipl_e_greedy"):
        named = []
        for name in SUITES[suite].tasks:
            text = (tasks_folder() / "multipl_e" / f"{name}.yaml").read_text()
            named.append(yaml.safe_load(text)["metadata"]["language"])
        assert named == list(LANGUAGES)
