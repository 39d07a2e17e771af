"""`eval --suite perplexity --text [NAME=]PATH`: files and folders by name, bits per byte and per token."""

import gzip
import json
import math

import pandas as pd
import pytest
from typer.testing import CliRunner

from fusebench.cli import app
from fusebench.errors import DataError
from fusebench.pipeline.scoring import named_files
from tests.tiny_models import save_byte_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_byte_model(tmp_path_factory.mktemp("tiny") / "model", positions=64)


@pytest.fixture
def texts(tmp_path):
    folder = tmp_path / "poems"
    (folder / "more").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "a.txt").write_text("roses are red " * 20)
    (folder / "b.md").write_text("violets")
    (folder / "more" / "c.jsonl").write_text('{"text": "blue"}\n{"text": "as the sky"}\n')
    (folder / "more" / "d.jsonl.gz").write_bytes(gzip.compress(b'{"text": "d\\u00e9j\\u00e0"}\n'))
    pd.DataFrame({"text": ["in a table"]}).to_parquet(folder / "e.parquet")
    (folder / ".hidden" / "x.txt").write_text("not this")
    (folder / "f.pdf").write_text("nor this")
    return folder


def test_a_folder_stands_for_all_its_readable_files_under_one_name(texts):
    found = named_files(f"verse={texts}")
    assert {file.domain for file in found} == {"verse"}
    assert [file.path.rpartition("/")[2] for file in found] == ["a.txt", "b.md", "e.parquet", "c.jsonl", "d.jsonl.gz"]
    assert {file.domain for file in named_files(str(texts))} == {"poems"}


def test_a_bare_file_keeps_its_own_name_and_may_hold_an_equals_sign(tmp_path):
    path = tmp_path / "a=b.txt"
    path.write_text("x")
    (bare,) = named_files(str(path))
    (named,) = named_files(f"n={path}")
    assert (bare.domain, bare.path, named.domain, named.path) == ("", str(path), "n", str(path))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("n={}/none", "no text file or folder"),
        ("={}", "empty name"),
        ("n={}/empty", "has no texts"),
        ("{}/x.txt", "no "),
    ],
)
def test_a_text_that_cannot_be_read_is_named(tmp_path, given, says):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=says) as caught:
        named_files(given.format(tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert caught.value.fix


def test_eval_gives_bits_per_byte_and_per_token_by_name(model, texts, tmp_path):
    argv = ["eval", str(model), "--suite", "perplexity", "--text", f"verse={texts}", "--text", str(texts / "b.md")]
    done = CliRunner().invoke(app, [*argv, "--run-dir", str(tmp_path / "run"), "--json"])
    assert done.exit_code == 0, done.output
    lines = json.loads(done.stdout)
    found = {(line["task"], line["metric"]): line for line in lines}
    assert {task for task, _ in found} == {"verse", "b", "average"}
    # One token a byte here, and no BOS: both count the same tokens, but the first of each text.
    for task, n in (("verse", 6), ("b", 1)):
        per_byte, per_token = found[task, "bits_per_byte"], found[task, "bits_per_token"]
        assert per_byte["n"] == per_token["n"] == n
        assert per_token["value"] == pytest.approx(per_byte["value"], rel=1e-6)
    assert 0 < found["verse", "bits_per_byte"]["value"] < 2 * math.log2(257)
    assert {line["metric"] for line in lines if line["task"] == "average"} == {"bits_per_byte"}


def test_eval_without_texts_says_how_to_give_them(model, tmp_path):
    done = CliRunner().invoke(app, ["eval", str(model), "--suite", "perplexity", "--run-dir", str(tmp_path)])
    assert isinstance(done.exception, DataError)
    assert "--text [NAME=]PATH" in done.exception.fix
