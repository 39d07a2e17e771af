"""Commands as a person types them: what they print, and what they do not load."""

import json
import subprocess
import sys

import pytest

from fusebench import cli
from tests.recipes import small_recipe, write

COMMANDS = ("ablate", "fuse", "eval", "report", "plan", "doctor", "align", "vocabulary", "grade", "data")


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Return a function that runs the command line and returns what it prints."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["fusebench", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        outcome = capsys.readouterr()
        assert not stopped.value.code, outcome.err
        return outcome.out

    return run


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(command, name):
    assert "Usage:" in command(name, "--help")


def test_help_loads_no_model_library():
    heavy = "{'torch', 'transformers', 'lm_eval', 'pandas'}"
    code = f"""
import sys
sys.argv = ["fusebench", "--help"]
from fusebench.cli import main
try:
    main()
except SystemExit:
    print(sorted({heavy} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")


def test_a_plan_lists_every_stage_and_why_it_runs(command, tmp_path):
    rows = json.loads(command("plan", write(tmp_path, small_recipe()), "--json"))
    kinds = {row["stage"].split("/")[0] for row in rows}
    assert {"corpus", "models", "teach", "align", "fuse", "methods", "evaluate", "report"} <= kinds
    assert {(row["cached"], row["why"]) for row in rows} == {(False, "not made yet")}


def test_alignment_as_json_links_every_target_position(command, shared):
    tokenizers = shared / "tokenizers"
    pair = [str(tokenizers / name / "tokenizer.json.gz") for name in ("llama2", "neox20b")]
    golden = json.loads((shared / "golden" / "alignment.json").read_text())["pairs"][0]["texts"][0]
    text = command("align", *pair, "--preset", "reference", "--json", "--text", _file(golden["text"]))
    found = json.loads(text)["texts"][0]
    assert found["target_ids"] == golden["target_ids"]
    assert found["source_ids"] == golden["source_ids"]
    assert found["target_to_source"] == golden["target_to_source"]
    assert len(found["outcomes"]) == len(golden["target_ids"])


def _file(text: str) -> str:
    with open("text.txt", "w", encoding="utf-8", newline="") as file:  # noqa: PTH123  in the test's own folder
        file.write(text)
    return "text.txt"


def test_a_vocabulary_as_json_has_an_entry_for_every_source_id(command, shared):
    tokenizers = shared / "tokenizers"
    pair = [str(tokenizers / name / "tokenizer.json.gz") for name in ("llama2", "mistral7b")]
    found = json.loads(command("vocabulary", *pair, "--vocabulary", "em", "--json"))
    assert [entry["id"] for entry in found["entries"]] == list(range(32000))
    assert {"token", "spelling", "target_id", "distance", "ties"} <= set(found["entries"][0])


def test_the_doctor_names_the_sandbox_and_the_device(command):
    names = {finding["what"] for finding in json.loads(command("doctor", "--json"))}
    assert {"torch", "device", "sandbox", "disk"} <= names


def test_a_word_that_an_option_does_not_know_gets_a_suggestion(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fusebench", "align", "a", "b", "--sequence", "dwt"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert "did you mean `dtw`?" in capsys.readouterr().err
