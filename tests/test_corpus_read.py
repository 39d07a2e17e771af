"""Every kind of file is read, files are taken in turn, and a wrong one is named with its fix."""

import gzip
import json
import lzma

import pandas as pd
import pytest

from fusebench.corpus.read import file_documents, hub_documents, round_robin
from fusebench.errors import DataError
from fusebench.recipe.sections import FileText, HubText

TEXTS = ["one", "two ä", "three"]


def lines(texts, field="text"):
    return "".join(json.dumps({field: t}) + "\n" for t in texts)


def write(path, texts):
    if path.name.endswith(".jsonl"):
        path.write_text(lines(texts))
    elif path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines(texts).encode()))
    elif path.name.endswith(".xz"):
        path.write_bytes(lzma.compress(lines(texts).encode()))
    elif path.name.endswith(".parquet"):
        pd.DataFrame({"text": texts}).to_parquet(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.xz", "a.parquet"])
def test_every_kind_of_file_gives_its_texts(tmp_path, name):
    write(tmp_path / name, TEXTS)
    assert list(file_documents([FileText(path=str(tmp_path / name))])) == [("a", t) for t in TEXTS]


def test_a_text_file_is_one_document(tmp_path):
    (tmp_path / "book.txt").write_text("a\n\nb")
    assert list(file_documents([FileText(path="book.txt", domain="prose")], tmp_path)) == [("prose", "a\n\nb")]


def test_limit_takes_documents_from_the_start(tmp_path):
    write(tmp_path / "a.jsonl", TEXTS)
    assert [t for _, t in file_documents([FileText(path=str(tmp_path / "a.jsonl"), limit=2)])] == TEXTS[:2]


def test_files_are_taken_in_turn(tmp_path):
    write(tmp_path / "a.jsonl", ["a1", "a2", "a3"])
    write(tmp_path / "b.jsonl", ["b1"])
    got = [t for _, t in file_documents([FileText(path="a.jsonl"), FileText(path="b.jsonl")], tmp_path)]
    assert got == ["a1", "b1", "a2", "a3"]


def test_round_robin_reads_no_further_than_asked():
    def source(name):
        yield "d", name + "1"
        raise AssertionError("read too far")

    turns = round_robin([source("a"), source("b")])
    assert [next(turns), next(turns)] == [("d", "a1"), ("d", "b1")]


@pytest.mark.parametrize(
    ("name", "content", "what", "why"),
    [
        ("none.jsonl", None, "is not there", "names it"),
        ("a.csv", b"text\n", "unknown kind", ".parquet"),
        ("a.jsonl", b"", "holds no text", "empty"),
        ("a.jsonl", b'{"body": "x"}\n', "line 1 has no `text`", "`body`"),
        ("a.jsonl", b"{oops\n", "line 1 is not JSON", "property name"),
        ("a.jsonl", b'{"text": 5}\n', "`text` is int, not text", "text"),
        ("a.jsonl", b"[1]\n", "is not an object", "list"),
        ("a.jsonl.gz", b"not gzip", "cannot be read", "gzip"),
        ("a.jsonl.xz", b"not xz", "cannot be read", "format"),
        ("a.parquet", b"not parquet", "not a parquet file", "arquet"),
    ],
)
def test_a_wrong_file_is_named_with_reason_and_fix(tmp_path, name, content, what, why):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(file_documents([FileText(path=str(tmp_path / name))]))
    assert name in caught.value.what
    assert what in caught.value.what
    assert why in caught.value.why
    assert caught.value.fix


def test_parquet_without_the_column_tells_which_it_has(tmp_path):
    pd.DataFrame({"body": ["x"]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="`body`"):
        list(file_documents([FileText(path=str(tmp_path / "a.parquet"))]))


def test_lone_surrogates_are_replaced(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "x\\ud83dy"}\n')
    assert next(file_documents([FileText(path=str(tmp_path / "a.jsonl"))]))[1] == "x?y"


def test_a_data_set_that_cannot_be_reached_is_named():
    with pytest.raises(DataError, match="data set `nobody/nothing`") as caught:
        list(hub_documents([HubText(name="nobody/nothing")]))
    assert "corpus.files" in caught.value.fix


def test_hub_data_sets_are_streamed_and_limited(monkeypatch):
    def load(name, config, *, split, streaming):
        assert streaming
        return ({"body": f"{name} {i}"} for i in range(10**9))

    monkeypatch.setattr("datasets.load_dataset", load)
    got = list(hub_documents([HubText(name="o/a", field="body", limit=2), HubText(name="b", field="body", limit=1)]))
    assert got == [("a", "o/a 0"), ("b", "b 0"), ("a", "o/a 1")]


def test_a_data_set_without_the_field_tells_which_it_has(monkeypatch):
    monkeypatch.setattr("datasets.load_dataset", lambda *a, **k: iter([{"body": "x"}]))
    with pytest.raises(DataError, match="`body`"):
        list(hub_documents([HubText(name="a")]))
