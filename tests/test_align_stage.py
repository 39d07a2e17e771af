"""Alignment as a stage: rows, spans and map on disk."""

import numpy as np
import pytest

from fusebench.align import align_source, map_vocabulary
from fusebench.align.links import EXACT, FALLBACK
from fusebench.artifacts import SpanTable, VocabMap
from fusebench.artifacts.alignment import WITH_ROW
from fusebench.errors import ArtifactError
from fusebench.recipe import AlignSection
from tests import align_helpers as h

TEXTS = [*h.TEXTS, "", "x"]


def aligned(tmp_path, source, target, section=None, *, bos=(False, False), eos=True, texts=TEXTS, **kw):
    s, t = (h.table(tok, texts, bos=b, eos=eos) for tok, b in zip((source, target), bos, strict=True))
    rows = h.random_rows(tmp_path / "teach", s, len(source), **kw)
    out = tmp_path / "align"
    out.mkdir()
    got = align_source(source, target, s, t, rows, section or AlignSection(), out, chunks=h.chunks(texts))
    return s, t, rows, got, SpanTable.load(out)


PAIRS = [(h.byte_level, h.sentencepiece), (h.sentencepiece, h.byte_level), (h.unigram, h.byte_level)]


@pytest.mark.parametrize("sequence", ["dtw", "offset"])
@pytest.mark.parametrize("build", PAIRS)
def test_mapped_mass_and_tail_sum_to_one(tmp_path, build, sequence):
    source, target = (b() for b in build)
    _, t, _, got, spans = aligned(tmp_path, source, target, AlignSection(sequence=sequence))
    ids, rows = got.rows(0, len(t))
    mass = np.exp(rows.astype(np.float64)).sum(1)
    assert (mass <= 1 + 1e-5).all()
    assert (rows[:, 1:] <= rows[:, :-1]).all(), "largest first"
    assert (ids[np.isneginf(rows)] == 0).all() and (ids < len(target)).all()
    one_hot = ~np.isin(spans.outcomes, WITH_ROW)
    np.testing.assert_allclose(mass[one_hot][mass[one_hot] > 0], 1)


def test_with_min_ed_no_mass_is_lost_but_that_of_special_tokens(tmp_path):
    source, target = h.byte_level(), h.sentencepiece()
    _s, t, _rows, got, spans = aligned(tmp_path, source, target, mass=0.7)
    mass = np.exp(got.rows(0, len(t))[1].astype(np.float64)).sum(1)
    real = np.isin(spans.outcomes, WITH_ROW)
    assert real.sum() > 15
    # Every id of the source maps (its only special, the end token, has a role), so 0.7 arrives whole.
    np.testing.assert_allclose(mass[real], 0.7, atol=1e-5)


@pytest.mark.parametrize("sequence", ["dtw", "offset"])
@pytest.mark.parametrize("build", [h.byte_level, h.sentencepiece, h.unigram])
def test_a_tokenizer_with_itself_is_the_identity(tmp_path, build, sequence):
    tokenizer = build()
    s, t, rows, got, spans = aligned(tmp_path, tokenizer, tokenizer, AlignSection(sequence=sequence))
    for mine, theirs in zip(got.rows(0, len(t)), rows.rows(0, len(s)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (spans.outcomes == EXACT).all()
    assert (VocabMap.load(tmp_path / "align").target == np.arange(len(tokenizer))).all()


def test_a_fallback_row_holds_the_next_gold_token_and_nothing_at_the_end_of_a_chunk(tmp_path):
    _, t, _, got, spans = aligned(tmp_path, h.byte_level(), h.sentencepiece(), AlignSection(vocabulary="em"), eos=False)
    ids, rows = got.rows(0, len(t))
    seen = 0
    for chunk in range(len(t)):
        span = t.span(chunk)
        for p in range(span.start, span.stop):
            if spans.outcomes[p] == FALLBACK and p + 1 < span.stop:
                assert ids[p, 0] == t.ids[p + 1] and rows[p, 0] == 0
                seen += 1
            elif spans.outcomes[p] == FALLBACK:
                assert np.isneginf(rows[p]).all()
    assert seen


def test_specials_link_by_role_and_a_one_sided_bos_falls_back(tmp_path):
    source, target = h.byte_level(bos=True), h.sentencepiece()
    _, t, _, _, spans = aligned(tmp_path, source, target, bos=(True, True))
    first = t.offsets[:-1]
    last = t.offsets[1:] - 1
    filled = np.diff(t.offsets) > 2
    assert (spans.outcomes[first[filled]] == EXACT).all() and (spans.outcomes[last[filled]] == EXACT).all()
    (tmp_path / "one").mkdir()
    _, t, _, _, spans = aligned(tmp_path / "one", source, target, bos=(False, True))
    assert (spans.outcomes[t.offsets[:-1][filled]] == FALLBACK).all()


def test_the_row_of_a_linked_position_is_the_linked_source_row_in_target_ids(tmp_path):
    source, target = h.byte_level(), h.sentencepiece()
    section = AlignSection(sequence="offset", collisions="max")
    s, t, rows, got, spans = aligned(tmp_path, source, target, section, eos=False)
    known = map_vocabulary(source, target, "min_ed")
    s_ids, s_rows = rows.rows(0, len(s))
    ids, out = got.rows(0, len(t))
    chunk = np.repeat(np.arange(len(t)), np.diff(t.offsets))
    checked = 0
    for p in np.flatnonzero(np.isin(spans.outcomes, WITH_ROW)):
        j = int(s.offsets[chunk[p]]) + int(spans.indices[spans.indptr[p]])
        assert s.ends[j] == t.ends[p]
        want = {}
        for i, value in zip(known.target[s_ids[j]], s_rows[j], strict=True):
            want[int(i)] = max(want.get(int(i), -np.inf), float(value))
        assert dict(zip(ids[p].tolist(), out[p].tolist(), strict=True)).items() >= want.items()
        checked += 1
    assert checked > 15


def test_rows_of_another_tokenizer_or_corpus_are_refused(tmp_path):
    source, target = h.byte_level(), h.sentencepiece()
    s, t = h.table(source, TEXTS), h.table(target, TEXTS)
    rows = h.random_rows(tmp_path / "teach", s, len(source))
    with pytest.raises(ArtifactError, match="are tagged"):
        align_source(source, target, t, t, rows, AlignSection(), tmp_path, chunks=h.chunks(TEXTS))
    with pytest.raises(ArtifactError, match="different corpora"):
        align_source(source, target, s, t, rows, AlignSection(), tmp_path, chunks=h.chunks(TEXTS[1:]))
