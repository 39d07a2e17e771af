"""Bad input is one clear message that names the thing, the reason and the fix: exit code 2, no traceback."""

import sys
from pathlib import Path

import pytest
import torch

from fusebench import cli
from tests.recipes import small_recipe, write


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Return a function that runs the command line and returns exit code and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["fusebench", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0), capsys.readouterr().err

    return run


def explains(outcome: tuple[int, str], *parts: str) -> None:
    """Assert that an outcome is one error a person can act on, with the given parts in it."""
    code, text = outcome
    assert code == 2, text
    message = text[text.index("error: ") :]
    assert message.count("error: ") == 1
    assert "Traceback" not in text
    assert "  why: " in message
    assert "  fix: " in message
    for part in parts:
        assert part in message


def test_an_unknown_key_gets_a_suggestion(command, tmp_path):
    raw = small_recipe()
    raw["train"]["learning_rat"] = 1
    outcome = command("ablate", write(tmp_path, raw))
    explains(outcome, "unknown key `train.learning_rat`", "did you mean `learning_rate`?")


def test_a_wrong_type_is_named_with_its_value(command, tmp_path):
    raw = small_recipe()
    raw["train"]["batch_blocks"] = "many"
    explains(command("ablate", write(tmp_path, raw)), "`train.batch_blocks` is 'many'", "valid integer")


def test_a_missing_recipe_is_named_with_the_nearest_built_in(command):
    explains(command("ablate", "quickstrat"), "no recipe `quickstrat`", "did you mean `quickstart`?")


def test_a_missing_corpus_file_is_named(command, tmp_path):
    raw = small_recipe()
    raw["corpus"] = {"files": [{"path": "gone.jsonl"}]}
    explains(command("ablate", write(tmp_path, raw), "-q"), "gone.jsonl")


def test_an_empty_corpus_is_named(command, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    raw = small_recipe()
    raw["corpus"] = {"files": [{"path": "empty.txt"}]}
    explains(command("ablate", write(tmp_path, raw), "-q"), "empty")


def test_one_source_that_is_the_target_is_no_fusion(command, tmp_path):
    raw = small_recipe()
    raw["experiments"][0]["sources"] = ["target"]
    explains(command("ablate", write(tmp_path, raw)), "has one source, the target `target` itself", "add a model")


def test_the_same_name_twice_is_an_error(command, tmp_path):
    raw = small_recipe()
    raw["experiments"][0]["rows"].append({"name": "clm", "method": "clm"})
    explains(command("ablate", write(tmp_path, raw)), "has the name `clm` twice", "rename")


def test_a_model_folder_without_weights_is_named(command, tmp_path):
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text('{"model_type": "llama"}')
    raw = small_recipe()
    raw["models"]["other"] = {"path": "bare"}
    explains(command("ablate", write(tmp_path, raw)), "bare", "weights")


def test_a_pickle_checkpoint_is_refused(command, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text('{"model_type": "llama"}')
    torch.save({}, tmp_path / "old" / "pytorch_model.bin")
    raw = small_recipe()
    raw["models"]["other"] = {"path": "old"}
    explains(command("ablate", write(tmp_path, raw)), "old", "pickle", "safetensors")


def test_an_unknown_suite_gets_a_suggestion(command, tmp_path):
    raw = small_recipe()
    raw["evaluate"]["suites"] = [{"name": "comonsense"}]
    explains(command("ablate", write(tmp_path, raw)), "comonsense", "did you mean `commonsense`?")


def test_an_unwritable_run_folder_is_named(command, tmp_path):
    (tmp_path / "taken").write_text("a file")
    outcome = command("ablate", write(tmp_path, small_recipe()), "--run-dir", "taken/run")
    explains(outcome, "cannot write to `taken/run`", "--run-dir")


def test_a_recipe_that_is_not_yaml_is_named_with_the_line(command, tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("name: x\ncorpus: [unclosed\n")
    explains(command("ablate", str(path)), "is not YAML", "line")


def test_a_recipe_that_is_a_list_is_refused(command, tmp_path):
    path = tmp_path / "list.yaml"
    path.write_text("- a\n- b\n")
    explains(command("ablate", str(path)), "its top level is list")


def test_a_missing_sandbox_refuses_to_score_programs(command, monkeypatch):
    from fusebench.evaluate import sandbox

    monkeypatch.setattr(sandbox, "unavailable_reason", lambda: "there is no bubblewrap")
    outcome = command("eval", "some/model", "--suite", "toy_code")
    explains(outcome, "suite `toy_code` cannot be scored here", "there is no bubblewrap", "apt-get install bubblewrap")


def test_an_unknown_method_gets_a_suggestion(command, tmp_path):
    raw = small_recipe()
    raw["experiments"][0]["rows"][3]["method"] = "fusoin"
    explains(command("ablate", write(tmp_path, raw)), "`fusoin`", "did you mean `fusion`?")


def test_a_name_that_points_nowhere_gets_a_suggestion(command, tmp_path):
    raw = small_recipe()
    raw["experiments"][0]["sources"] = ["othr"]
    explains(command("ablate", write(tmp_path, raw)), "names the model `othr`", "did you mean `other`?")


def test_a_folder_that_is_no_run_has_no_report(command, tmp_path):
    explains(command("report", str(tmp_path)), "is not the folder of a run")


def test_nothing_is_written_where_the_recipe_is_wrong(command, tmp_path):
    raw = small_recipe()
    raw["surplus"] = 1
    command("ablate", write(tmp_path, raw))
    assert sorted(path.name for path in Path(tmp_path).iterdir()) == ["recipe.yaml"]


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (("--limit", "0"), ("`--limit 0`", "at least 1", "`--limit SUITE=10`")),
        (("--limit", "bbh=few"), ("`--limit bbh=few`", "whole number")),
        (("--shots", "bhb=3"), ("`--shots bhb=3`", "suite `bhb` is not evaluated", "did you mean `bbh`?")),
    ],
    ids=["zero", "a word", "another suite"],
)
def test_a_number_for_suites_that_cannot_be_one_is_named(command, given, parts):
    explains(command("eval", "model", "--suite", "bbh", *given), *parts)
