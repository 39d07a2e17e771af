"""The doctor: its findings, their three forms, and hard texts."""

import gzip
import io
import json
import re

import pytest
from rich.console import Console

from fusebench.align.doctor import diagnose, read_texts, vocabulary_report
from fusebench.align.passage import groups
from fusebench.artifacts import OUTCOMES
from fusebench.errors import DataError, ModelError
from tests import align_helpers as h

HARD = {
    "code": 'for (int i = 0; i < 10; ++i) {\n\tprintf("%d\\n", i);\n}\n',
    "chinese": "知识融合的目标是将多个预训练模型的能力结合起来。",
    "emoji": "🙂🚀👨‍👩‍👧‍👦 ok",
    "no space": "ab猫c" * 1500,
    "empty": "",
    "nul": "a\0b \0",
    "markup": "<script>alert(1)</script> [bold]x[/bold] &amp; \x1b[31m",
    "special look-alikes": "<s> </s> <|endoftext|> <0x0A> ▁",
    "accents": "e\u0301 \ufb01 Å ﷺ",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    found = {}
    for name, build in (("bytes", h.byte_level), ("pieces", h.sentencepiece), ("unigram", h.unigram)):
        path = folder / f"{name}.json.gz"
        path.write_bytes(gzip.compress(build().backend_tokenizer.to_str().encode()))
        found[name] = path
    return found


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("sequence", ["dtw", "offset"])
@pytest.mark.parametrize("pair", [("bytes", "pieces"), ("pieces", "unigram"), ("unigram", "bytes")])
@pytest.mark.parametrize("preset", ["paper", "reference"])
def test_no_hard_text_breaks_it_and_shares_sum_to_one(files, pair, sequence, preset):
    target, source = (files[name] for name in pair)
    found = diagnose(target, source, list(HARD.values()), sequence=sequence, preset=preset)
    assert sum(found.summary.shares.values()) == pytest.approx(1)
    for shares in found.summary.kinds.values():
        assert sum(shares.values()) == pytest.approx(1)
    assert sum(found.summary.kind_positions.values()) == found.summary.positions
    for text, want in zip(found.texts, HARD.values(), strict=True):
        assert text.text == want
        assert len(text.target_ids) == len(text.target_to_source) == len(text.outcomes) == len(text.target_tokens)
        assert all(0 <= j < len(text.source_ids) for links in text.target_to_source for j in links)
        if want and sequence == "dtw":
            linked = [j for links in text.target_to_source for j in links]
            assert sorted(set(linked)) == list(range(len(text.source_ids)))


def test_json_holds_every_text_and_is_ascii(files):
    found = diagnose(files["pieces"], files["bytes"], [HARD["chinese"], HARD["code"]])
    text = found.to_json()
    assert text.isascii()
    got = json.loads(text)
    assert {"target_ids", "source_ids", "target_to_source", "outcomes"} <= set(got["texts"][0])
    assert set(got["texts"][1]["outcomes"]) <= set(OUTCOMES)
    assert got["texts"][0]["text"] == HARD["chinese"]


def test_html_is_inert_and_self_contained(files):
    page = diagnose(files["pieces"], files["bytes"], [HARD["markup"], HARD["nul"]]).to_html()
    assert "<script" not in page and "&lt;" in page
    assert not re.search(r"(?:src|href|url)\s*[=(]|https?://", page)
    assert "\0" not in page and "\x1b" not in page


def test_the_terminal_shows_markup_and_control_characters_as_text(files):
    found = diagnose(files["pieces"], files["bytes"], ["\x1b[31m [bold]x[/bold]"])
    console = Console(width=100, record=True, force_terminal=True, file=io.StringIO())
    console.print(found)
    shown = console.export_text()
    assert "\\x1b" in shown and "\x1b" not in shown and shown.count("b") > 2


def test_the_picture_shows_every_token_once_in_order(files):
    for sequence in ("dtw", "offset"):
        found = diagnose(
            files["pieces"], files["bytes"], [h.TEXTS[1] + HARD["chinese"] + HARD["code"]], sequence=sequence
        )
        (text,) = found.texts
        shown = groups(text)
        assert [t for g in shown for t in g.target] == text.target_tokens
        assert [t for g in shown for t in g.source] == text.source_tokens


def test_the_worst_tokens_are_those_most_often_without_a_row(files):
    found = diagnose(files["bytes"], files["unigram"], ["qqqq " * 5 + "the cat"], vocabulary="em")
    worst = found.summary.worst
    assert [w.lost for w in worst] == sorted((w.lost for w in worst), reverse=True)
    assert worst[0].lost <= worst[0].count and "‹" in worst[0].example and worst[0].source


def test_texts_are_read_whole_or_record_by_record(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.py").write_text("x = 1\n")
    (tmp_path / "c.jsonl").write_text('{"text": "first"}\n{"text": "second"}\n')
    assert read_texts([tmp_path / "a.txt", tmp_path / "b.py"]) == ["one\ntwo\n", "x = 1\n"]
    assert read_texts([tmp_path / "c.jsonl"], limit=1) == ["first"]


def test_invalid_utf8_is_a_clear_error(tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"abc \xff\xfe")
    with pytest.raises(DataError, match=r"is not UTF-8\n.*byte 4 is 0xFF[\s\S]*fix:"):
        read_texts([tmp_path / "bad.txt"])
    with pytest.raises(DataError, match="cannot be read"):
        read_texts([tmp_path / "missing.txt"])


def test_a_text_too_long_for_the_quadratic_table_is_a_clear_error(files, monkeypatch):
    monkeypatch.setattr("fusebench.align.sequence.MAX_CELLS", 10)
    with pytest.raises(DataError, match=r"too long for `dtw`[\s\S]*offset"):
        diagnose(files["pieces"], files["bytes"], ["the cat sat on the mat"])
    diagnose(files["pieces"], files["bytes"], ["the cat sat on the mat"], sequence="offset")


def test_a_missing_tokenizer_is_a_clear_error(files, tmp_path):
    with pytest.raises(ModelError, match="no tokenizer at"):
        diagnose(tmp_path / "none.json", files["bytes"], ["x"])
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(ModelError, match=r"not a tokenizer\.json"):
        diagnose(tmp_path / "broken.json", files["bytes"], ["x"])


def test_the_vocabulary_report_has_one_entry_for_every_source_id(files):
    report = vocabulary_report(files["pieces"], files["bytes"])
    got = json.loads(report.to_json())["entries"]
    assert [e["id"] for e in got] == list(range(len(h.byte_level())))
    assert {"token", "spelling", "target_id", "distance", "ties"} <= set(got[0])
    space = next(e for e in got if e["token"] == "Ġ")
    assert space["spelling"] == "▁" and space["distance"] == 0 and space["target_token"] == "▁"
    end = next(e for e in got if e["token"] == "<|endoftext|>")
    assert end["spelling"] is None and end["target_token"] == "</s>"
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(report)
    assert "0 (exact)" in console.export_text()


def test_golden_paths_come_out_of_the_doctor_in_the_reference_preset():
    texts = json.loads(h.shared("golden/alignment.json").read_text())["pairs"][0]["texts"]
    paths = [h.shared(f"tokenizers/{name}/tokenizer.json.gz") for name in ("llama2", "neox20b")]
    found = diagnose(*paths, [t["text"] for t in texts], preset="reference")
    for got, want in zip(found.texts, texts, strict=True):
        assert got.target_ids == want["target_ids"] and got.source_ids == want["source_ids"]
        assert got.target_to_source == want["target_to_source"]
