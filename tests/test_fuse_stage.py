"""Fusion: criteria, rules and the stage."""

import numpy as np
import pytest

from fusebench.align import align_source
from fusebench.artifacts import Blocks, DistributionsWriter, FusionChoice
from fusebench.errors import ArtifactError
from fusebench.fuse import (
    apply_temperature,
    avg_ce_weights,
    block_cross_entropy,
    chunk_sums,
    fuse,
    min_ce_weights,
    mix,
)
from fusebench.fuse.criteria import bfloat16
from fusebench.recipe import AlignSection, FuseSection
from tests import align_helpers as h


def teacher(folder, tokens, nats):
    """Rows whose gold log-probabilities are given (one list per chunk, the last position left out)."""
    folder.mkdir(parents=True)
    writer = DistributionsWriter(folder, tokens=tokens.tokenizer, vocab=tokens.tokenizer, k=1)
    for chunk, cost in enumerate(nats):
        count = tokens.span(chunk).stop - tokens.span(chunk).start
        gold = np.full(count, np.nan, dtype=np.float32)
        gold[: count - 1] = -np.asarray(cost, dtype=np.float32)
        writer.append(np.zeros((count, 1), np.int32), np.full((count, 1), -1, np.float32), gold)
    return writer.close()


def test_finer_tokens_of_one_likelihood_leave_bits_per_byte_and_flip_nats_per_token(tmp_path):
    text = "abcdefgh"
    coarse = h.bare_table([1, 2, 3, 4], "coarse", ends=[2, 4, 6, 8])
    fine = h.bare_table(list(range(8)), "fine", ends=range(1, 9))
    rival = h.bare_table([1, 2, 3, 4], "rival", ends=[2, 4, 6, 8])
    blocks, texts = h.one_block_each(1), h.chunks([text])
    # The same 6 nats for the same 6 bytes, in 3 tokens or in 6 (the fine one's second byte costs nothing extra).
    sources = {
        "coarse": (coarse, teacher(tmp_path / "c", coarse, [[2.0, 2.0, 2.0]])),
        "fine": (fine, teacher(tmp_path / "f", fine, [[7 / 7] * 7])),
        "rival": (rival, teacher(tmp_path / "r", rival, [[1.9, 1.9, 1.9]])),
    }

    def winner(names, unit):
        ce = [
            block_cross_entropy(chunk_sums(sources[n][1], sources[n][0], texts, unit), blocks, unit)[0] for n in names
        ]
        return names[int(np.argmin(ce))], ce

    assert winner(["coarse", "rival"], "bits_per_byte")[0] == "rival"
    assert winner(["coarse", "rival"], "nats_per_token")[0] == "rival"
    name, (fine_ce, _rival_ce) = winner(["fine", "rival"], "bits_per_byte")
    assert name == "rival"
    coarse_ce = winner(["coarse", "rival"], "bits_per_byte")[1][0]
    assert fine_ce == pytest.approx(coarse_ce)
    assert winner(["fine", "rival"], "nats_per_token")[0] == "fine", "only cutting finer made it win"


def test_special_tokens_cost_nothing_per_byte_but_count_per_token(tmp_path):
    tokenizer = h.sentencepiece()
    tokens = h.table(tokenizer, ["ab"], bos=True, eos=True)
    count = len(tokens.ids)
    cost = np.arange(1, count, dtype=float)
    rows = teacher(tmp_path / "t", tokens, [cost])
    texts = h.chunks(["ab"])
    bits = chunk_sums(rows, tokens, texts, "bits_per_byte")[0]
    assert bits[0] == pytest.approx(cost[:-1].sum() / np.log(2)) and bits[1] == 2
    nats = chunk_sums(rows, tokens, texts, "nats_per_token")[0]
    assert nats.tolist() == pytest.approx([cost.sum(), count - 1])


def test_bfloat16_rounds_as_torch_does():
    import torch

    values = np.random.default_rng(0).normal(size=10_000).astype(np.float32) * 10
    want = torch.from_numpy(values).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(bfloat16(values), want)


def test_min_ce_takes_the_least_and_the_stated_side_of_a_tie():
    ce = np.array([[2.0, 1.0, 3.0], [1.0, 1.0, 1.0], [np.nan, 5.0, 4.0], [np.nan, np.nan, np.inf]])
    assert min_ce_weights(ce).argmax(1).tolist() == [1, 0, 2, 0]
    assert min_ce_weights(ce, ties_to_last=True).argmax(1).tolist() == [1, 2, 2, 0]
    assert (min_ce_weights(ce).sum(1) == 1).all()


def test_avg_ce_weights_are_the_softmax_of_exp_of_minus_ce():
    ce = np.array([[0.5, 2.0], [np.nan, 1.0]])
    got = avg_ce_weights(ce)
    a, b = np.exp(np.exp(-0.5)), np.exp(np.exp(-2.0))
    np.testing.assert_allclose(got[0], [a / (a + b), b / (a + b)])
    np.testing.assert_allclose(got.sum(1), 1)
    assert got[1, 1] > got[1, 0] > 0


def test_mixing_adds_up_shared_tokens_and_conserves_mass():
    ids = np.array([[[3, 4]], [[4, 9]]], dtype=np.int32)
    rows = np.log(np.array([[[0.6, 0.3]], [[0.5, 0.2]]], dtype=np.float32))
    got, logs = mix(ids, rows, np.array([[0.5, 0.5]]), 2)
    assert got.tolist() == [[4, 3]]
    np.testing.assert_allclose(np.exp(logs), [[0.4, 0.3]], rtol=1e-6)
    _everything, logs = mix(ids, rows, np.array([[0.5, 0.5]]), 4)
    assert np.exp(logs).sum() == pytest.approx(0.8) and np.isneginf(logs[0, 3])


def test_temperature_is_the_softmax_of_heated_logits_and_leaves_one_hot_and_empty_rows():
    logits = np.array([[3.0, 1.0, 0.0]])
    rows = (logits - np.log(np.exp(logits).sum())).astype(np.float32)
    hot = np.exp(logits / 2) / np.exp(logits / 2).sum()
    np.testing.assert_allclose(np.exp(apply_temperature(rows, 2.0)), hot, rtol=1e-5)
    still = np.array([[0.0, -np.inf], [-np.inf, -np.inf]], dtype=np.float32)
    np.testing.assert_array_equal(apply_temperature(still, 3.0), still)
    assert apply_temperature(rows, 1.0) is rows
    with_tail = np.log(np.array([[0.5, 0.2]], dtype=np.float32))
    assert np.exp(apply_temperature(with_tail, 2.0)).sum() < 1


@pytest.fixture
def world(tmp_path):
    texts = h.TEXTS * 2
    target, other = h.sentencepiece(), h.byte_level()
    t, s = h.table(target, texts, eos=True), h.table(other, texts, eos=True)
    chunks = h.chunks(texts, ["a", "b"] * 4)
    own = h.random_rows(tmp_path / "own", t, len(target), seed=1)
    rows = h.random_rows(tmp_path / "teach", s, len(other), seed=2, k=4)
    out = tmp_path / "aligned"
    out.mkdir()
    got = align_source(other, target, s, t, rows, AlignSection(), out, chunks=chunks)
    return {"target": (own, own, t), "other": (got, rows, s)}, t, chunks, tmp_path


@pytest.mark.parametrize("per", ["block", "token"])
@pytest.mark.parametrize("rule", ["min_ce", "avg_ce"])
def test_fused_rows_conserve_mass_and_shares_sum_to_one(world, rule, per):
    sources, t, chunks, folder = world
    out = folder / "fused"
    out.mkdir()
    blocks = Blocks(np.array([5, 0, 1, 2, 7, 3]), np.array([0, 2, 3, 6]), 64)
    rows, choice = fuse(sources, blocks, t, chunks, FuseSection(rule=rule, per=per), out)
    assert (rows.offsets == t.offsets).all() and rows.k == 5
    _ids, logs = rows.rows(0, len(t))
    assert (np.exp(logs.astype(np.float64)).sum(1) <= 1 + 1e-5).all()
    np.testing.assert_allclose(choice.weights.sum(1), 1)
    assert choice.weights.shape == (3, 2) and choice.domains == ["b", "b", "a"]
    assert FusionChoice.load(out).weights.tolist() == choice.weights.tolist()


def test_min_ce_copies_the_winners_rows(world):
    sources, t, chunks, folder = world
    out = folder / "fused"
    out.mkdir()
    rows, choice = fuse(sources, h.one_block_each(len(chunks)), t, chunks, FuseSection(), out)
    won = choice.weights.argmax(1)
    assert (won == choice.cross_entropy.argmin(1)).all() and len(set(won.tolist())) == 2
    names = list(sources)
    for chunk in range(len(chunks)):
        winner = sources[names[won[chunk]]][0]
        _, want = winner.rows(chunk, chunk + 1)
        np.testing.assert_array_equal(rows.rows(chunk, chunk + 1)[1][:, : winner.k], want)


def test_per_token_no_position_has_less_chance_of_the_gold_token_than_any_real_row(world):
    sources, t, chunks, folder = world
    out = folder / "fused"
    out.mkdir()
    rows, choice = fuse(sources, h.one_block_each(len(chunks)), t, chunks, FuseSection(per="token"), out)
    assert ((choice.weights > 0) & (choice.weights < 1)).any(), "some block is shared"

    def chance(r):
        ids, logs = r.rows(0, len(t))
        gold = np.append(t.ids[1:], -1)
        return np.where(ids == gold[:, None], np.exp(logs), 0).sum(1)

    inner = np.ones(len(t.ids), bool)
    inner[t.offsets[1:] - 1] = False
    assert (chance(rows)[inner] >= chance(sources["target"][0])[inner]).all()


def test_a_source_of_another_corpus_is_refused(world):
    sources, _t, _chunks, folder = world
    target = h.table(h.sentencepiece(), h.TEXTS)
    with pytest.raises(ArtifactError, match="another corpus"):
        fuse(sources, h.one_block_each(4), target, h.chunks(h.TEXTS), FuseSection(), folder)
