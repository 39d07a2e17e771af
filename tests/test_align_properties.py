"""Properties of alignment on random input, against slow and obvious versions of the same."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from fusebench.align import Pair, dtw, link, project, spell
from fusebench.align.doctor import plain_tokens
from fusebench.align.edit import encode
from fusebench.align.vocabulary import _nearest, map_spellings
from tests import align_helpers as h

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
WORDS = st.lists(st.text("ab猫\udce2 ▁", max_size=6), min_size=1, max_size=12)
LONG = st.lists(
    st.one_of(st.text("abcdé", max_size=9), st.text("ab", min_size=60, max_size=70)), min_size=1, max_size=9
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def plain_dtw(source, target):
    """The reference's programme, word for word: argmin over [diagonal, source step, target step]."""
    n, m = len(source), len(target)
    table = np.full((n + 1, m + 1), np.inf)
    table[0, 0] = 0
    for i in range(n):
        for j in range(m):
            best = min(table[i, j + 1], table[i + 1, j], table[i, j])
            table[i + 1, j + 1] = Levenshtein.distance(source[i], target[j]) + best
    i, j = n - 1, m - 1
    path = [(i, j)]
    while i > 0 or j > 0:
        step = int(np.argmin([table[i, j], table[i, j + 1], table[i + 1, j]]))
        i, j = (i - 1, j - 1) if step == 0 else (i - 1, j) if step == 1 else (i, j - 1)
        path.append((i, j))
    return path[::-1], table[-1, -1]


@FEW
@given(WORDS, WORDS, st.data())
def test_the_path_equals_plain_dynamic_programming(source, target, data):
    s_ids = data.draw(st.lists(st.integers(0, len(source) - 1), min_size=1, max_size=15))
    t_ids = data.draw(st.lists(st.integers(0, len(target) - 1), min_size=1, max_size=15))
    path, cost = dtw(*encode(source, target), np.array(s_ids), np.array(t_ids))
    want, total = plain_dtw([source[i] for i in s_ids], [target[i] for i in t_ids])
    assert [tuple(p) for p in path.tolist()] == want
    assert cost == total


@FEW
@given(WORDS, WORDS)
def test_the_path_is_monotone_and_complete(source, target):
    path, _ = dtw(*encode(source, target), np.arange(len(source)), np.arange(len(target)))
    steps = np.diff(path, axis=0)
    assert (steps >= 0).all() and (steps <= 1).all() and (steps.sum(1) > 0).all()
    assert set(path[:, 0]) == set(range(len(source))) and set(path[:, 1]) == set(range(len(target)))


def choice_by_rule(word, offered, ids, by_prefix):
    distances = [Levenshtein.distance(word, other) for other in offered]
    least = min(distances)
    rivals = [(other, index) for other, index, d in zip(offered, ids, distances, strict=True) if d == least]

    def rank(rival):
        other, index = rival
        shared = 0
        while shared < min(len(word), len(other)) and word[shared] == other[shared]:
            shared += 1
        return (-shared, abs(len(other) - len(word)), index) if by_prefix else index

    return min(rivals, key=rank)[1], least, len(rivals)


@FEW
@given(LONG, LONG, st.booleans(), st.randoms())
def test_the_nearest_token_its_distance_and_its_rivals_equal_brute_force(words, offered, by_prefix, random):
    ids = list(range(100, 100 + len(offered)))
    random.shuffle(ids)
    got = _nearest(words, offered, np.array(ids, dtype=np.int64), by_prefix=by_prefix, workers=2)
    want = [choice_by_rule(word, offered, ids, by_prefix) for word in words]
    assert list(zip(*(part.tolist() for part in got), strict=True)) == want


@pytest.fixture(scope="module")
def pairs():
    found = []
    for source, target in ((h.byte_level(), h.sentencepiece()), (h.sentencepiece(), h.byte_level())):
        own, other = spell(source), spell(target)
        found.append((source, target, Pair(own, other, map_spellings(own, other, "min_ed", hashes=("s", "t")))))
    return found


@FEW
@given(text=TEXT, number=st.integers(0, 1))
def test_offsets_of_random_text_agree_with_an_independent_check(pairs, text, number):
    source, target, pair = pairs[number]
    s, t = plain_tokens([text], source), plain_tokens([text], target)
    found = link(pair, s, t, "offset")
    for p in range(len(t.ids)):
        last_here = p + 1 == len(t.ids) or t.ends[p + 1] != t.ends[p]
        ending = [j for j in range(len(s.ids)) if s.ends[j] == t.ends[p]]
        assert found.pick[p] == (ending[-1] if ending and last_here else -1)
    if text:
        assert t.ends[-1] == s.ends[-1] == len(text.encode()) and found.pick[-1] == len(s.ids) - 1


@FEW
@given(text=TEXT)
def test_a_tokenizer_with_itself_is_the_identity_for_any_text(pairs, text):
    for tokenizer, _, pair in pairs:
        tokens = plain_tokens([text], tokenizer)
        same = map_spellings(pair.source, pair.source, "min_ed", hashes=("", ""))
        for sequence in ("dtw", "offset"):
            found = link(Pair(pair.source, pair.source, same), tokens, tokens, sequence)
            assert (tokens.ids[found.pick] == tokens.ids).all()
            if sequence == "dtw":
                assert found.pick.tolist() == list(range(len(tokens.ids)))


ENTRY = st.tuples(st.integers(0, 6), st.floats(-9, 0))


@FEW
@given(
    st.lists(st.lists(ENTRY, min_size=3, max_size=3), min_size=1, max_size=5),
    st.lists(st.integers(-1, 3), min_size=5, max_size=5),
    st.sampled_from(["sum", "max"]),
    st.sampled_from(["keep", "renormalise"]),
)
def test_projection_equals_a_dictionary_and_conserves_mass(entries, vocabulary, collisions, tail):
    ids = np.array([[i for i, _ in row] for row in entries], dtype=np.int32)
    p = np.exp(np.array([[v for _, v in row] for row in entries]))
    p /= np.maximum(p.sum(1, keepdims=True) * 1.01, 1)
    order = np.argsort(-p, axis=1, kind="stable")
    ids, p = np.take_along_axis(ids, order, 1), np.take_along_axis(p, order, 1)
    pick, gold = np.arange(len(ids)), np.full(len(ids), 9, dtype=np.int32)
    got_ids, rows, mass = project(
        ids,
        np.log(p).astype(np.float32),
        pick,
        np.array(vocabulary, dtype=np.int32),
        gold,
        collisions=collisions,
        tail=tail,
    )
    for row in range(len(ids)):
        want: dict[int, float] = {}
        for index, value in zip(ids[row].tolist(), p[row].tolist(), strict=True):
            place = vocabulary[index] if index < len(vocabulary) else -1
            if place >= 0:
                old = want.get(place, 0.0)
                want[place] = old + value if collisions == "sum" else max(old, value)
        total = sum(want.values())
        assert mass[row] == pytest.approx(total, abs=1e-5)
        if not want:
            want, total = {9: 1.0}, 1.0
        scale = total if tail == "renormalise" else 1.0
        kept = rows[row] > -np.inf
        got = dict(zip(got_ids[row][kept].tolist(), np.exp(rows[row][kept]).tolist(), strict=True))
        assert got == pytest.approx({i: v / scale for i, v in want.items()}, rel=1e-4, abs=1e-6)
        assert (np.diff(rows[row][kept]) <= 1e-6).all()
        lost = sum(p[row]) - total if tail == "keep" and mass[row] else 0.0
        if collisions == "sum" and tail == "keep" and mass[row]:
            unmapped = sum(
                v for i, v in zip(ids[row], p[row], strict=True) if i >= len(vocabulary) or vocabulary[i] < 0
            )
            assert lost == pytest.approx(unmapped, abs=1e-5)
