"""The released reference's own outputs: paths, rows, vocabulary distances, ties and choices."""

import json
from functools import cache

import numpy as np
import pytest
from scipy.special import log_softmax

from fusebench.align import Pair, dtw, link, project, spell
from fusebench.align.links import FALLBACK, ONE_TO_MANY
from fusebench.align.stage import fallback_gold
from fusebench.align.vocabulary import map_spellings
from fusebench.artifacts.alignment import WITH_ROW
from fusebench.recipe import AlignSection
from tests.align_helpers import bare_table, real_tokenizer, shared

REFERENCE = {"ties": "first", "spelling": "raw", "fallback": "current", "collisions": "max", "tail": "renormalise"}


@cache
def golden():
    return json.loads(shared("golden/alignment.json").read_text())["pairs"][0]


@cache
def pair(method, ties="first", spelling="raw"):
    pair_ = golden()
    source, target = spell(real_tokenizer(pair_["source"])), spell(real_tokenizer(pair_["target"]))
    vocabulary = map_spellings(source, target, method, ties=ties, spelling=spelling)
    return Pair(source, target, vocabulary, spelling)


@pytest.mark.parametrize("number", range(9))
def test_every_path_equals_the_references(number):
    text = golden()["texts"][number]
    source, target = pair("em").encoded
    path, cost = dtw(source, target, np.array(text["source_ids"]), np.array(text["target_ids"]))
    found = [path[path[:, 1] == p, 0].tolist() for p in range(len(text["target_ids"]))]
    assert found == text["target_to_source"]
    assert cost == text["dtw_cost"]


def rows_of(text, method, section):
    source = bare_table(text["source_ids"], "source")
    target = bare_table(text["target_ids"], "target")
    links = link(pair(method), source, target, "dtw")
    ids = np.array(text["source_top_ids"], dtype=np.int32)
    rows = np.tile(log_softmax(text["source_top_logits"]), (len(ids), 1)).astype(np.float32)
    return links, project(
        ids,
        rows,
        links.pick,
        pair(method).vocabulary.target,
        fallback_gold(target, section),
        collisions=section.collisions,
        tail=section.tail,
        keep_empty=section.fallback == "current",
    )


@pytest.mark.parametrize("method", ["em", "min_ed"])
@pytest.mark.parametrize("number", range(9))
def test_every_row_of_the_reference_preset_equals_the_references(method, number):
    text = golden()["texts"][number]
    _, (ids, rows, _) = rows_of(text, method, AlignSection(vocabulary=method, **REFERENCE))
    for position, (want_ids, logits) in enumerate(zip(text[f"{method}_ids"], text[f"{method}_logits"], strict=True)):
        count = len(want_ids)
        assert ids[position, :count].tolist() == want_ids
        assert np.isneginf(rows[position, count:]).all()
        if count:
            np.testing.assert_allclose(rows[position, :count], log_softmax(logits), atol=1e-6)


@pytest.mark.parametrize("number", range(9))
def test_the_fallback_of_the_paper_preset_is_the_next_gold_token(number):
    text = golden()["texts"][number]
    links, (ids, rows, mass) = rows_of(text, "min_ed", AlignSection())
    target = text["target_ids"]
    lost = np.flatnonzero(mass == 0)
    assert len(lost)
    assert np.isin(links.spans.outcomes[links.pick < 0], (FALLBACK, ONE_TO_MANY)).all()
    for position in lost:
        if position + 1 < len(target):
            assert ids[position, 0] == target[position + 1] and rows[position, 0] == 0
        else:
            assert np.isneginf(rows[position]).all()


def test_every_vocabulary_distance_tie_count_and_choice_equals_the_references():
    known = pair("min_ed")
    place = {token: index for index, token in enumerate(known.source.raw)}
    v = known.vocabulary
    for entry in golden()["vocabulary"]:
        index = place[entry["source"]]
        assert (v.distance[index], v.ties[index]) == (entry["distance"], entry["ties"]), entry
        assert known.target.raw[v.target[index]] == entry["reference"]
    assert int((v.distance == 0).sum()) == golden()["exact"]
    assert len(v.target) == golden()["source_vocab"] and len(known.target) == golden()["target_vocab"]


def test_where_both_write_plain_ascii_words_text_and_raw_spellings_have_equal_distances():
    raw, text = pair("min_ed"), pair("min_ed", "prefix", "text")
    place = {token: index for index, token in enumerate(raw.source.raw)}
    words = [
        place[e["source"]]
        for e in golden()["vocabulary"]
        if e["source"].lstrip("Ġ").isalpha() and e["source"].lstrip("Ġ").isascii()
    ]
    assert len(words) > 60
    assert raw.vocabulary.distance[words].tolist() == text.vocabulary.distance[words].tolist()
    assert np.isin(text.vocabulary.distance[words], 0).sum() == 0 and WITH_ROW == (0, 1, 2)
