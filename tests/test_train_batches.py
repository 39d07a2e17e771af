"""Packing keeps chunks whole, targets stay inside a chunk, and the order depends on nothing but the seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusebench.artifacts import DistributionsWriter, TokenTable
from fusebench.errors import ArtifactError, RecipeError
from fusebench.train import batches as module
from fusebench.train.batches import BlockBatches, order_of, pack


def table(lengths):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    count = int(offsets[-1])
    zero = np.zeros(count, dtype=np.int32)
    return TokenTable(np.arange(count, dtype=np.int32) + 10, zero, zero, np.zeros(count, dtype=bool), offsets, "t")


def data(lengths, width=16, batch=2, rows=None, restart=True, **order):
    tokens = table(lengths)
    blocks = pack(tokens, width, seed=3)
    given = {"seed": 3, "epochs": 1.0, "steps": None} | order
    return BlockBatches(tokens, blocks, order_of(blocks, batch_blocks=batch, **given), rows, pad_id=1, restart=restart)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 16), min_size=1, max_size=80), st.integers(0, 5))
def test_packing_takes_every_chunk_once_and_overfills_no_block(lengths, seed):
    blocks = pack(table(lengths), 16, seed)
    assert sorted(blocks.chunks.tolist()) == list(range(len(lengths)))
    for block in range(len(blocks)):
        assert 0 < sum(lengths[c] for c in blocks.members(block)) <= 16


def test_packing_fills_blocks_well():
    lengths = np.random.default_rng(0).integers(10, 60, 2000)
    blocks = pack(table(lengths), 128, 0)
    assert lengths.sum() / (len(blocks) * 128) > 0.97


def test_packing_depends_on_the_seed_alone():
    assert pack(table([5, 6, 7, 8] * 9), 16, 1).digest() == pack(table([5, 6, 7, 8] * 9), 16, 1).digest()
    assert pack(table([5, 6, 7, 8] * 9), 16, 1).digest() != pack(table([5, 6, 7, 8] * 9), 16, 2).digest()


def test_a_chunk_longer_than_a_block_is_an_error():
    with pytest.raises(RecipeError, match="block_tokens"):
        pack(table([17]), 16, 0)


def test_no_chunks_is_an_error():
    with pytest.raises(RecipeError, match="no chunks"):
        pack(table([]), 16, 0)


def test_a_target_is_the_next_token_of_the_same_chunk():
    lengths = [5, 1, 7, 16, 3, 4, 2]
    made = data(lengths)
    last = set((np.cumsum(lengths) - 1 + 10).tolist())
    seen = []
    for visit in range(len(made)):
        batch = made[visit]
        for token, target in zip(batch["input_ids"][0].tolist(), batch["targets"][0].tolist(), strict=True):
            if token == 1:
                assert target == -100
                continue
            seen.append(token)
            assert target == (-100 if token in last else token + 1)
    assert sorted(seen) == list(range(10, 10 + sum(lengths)))


def test_positions_restart_at_every_chunk_and_at_padding():
    batch = data([5, 7, 3, 9, 2])[0]
    segments, positions = batch["segment_ids"][0].tolist(), batch["position_ids"][0].tolist()
    for place in range(1, 16):
        same = segments[place] == segments[place - 1]
        assert positions[place] == (positions[place - 1] + 1 if same else 0)


def test_open_positions_run_through_the_block():
    assert data([5, 7, 3, 9, 2], restart=False)[0]["position_ids"][0].tolist() == list(range(16))


def test_batches_are_the_blocks_one_below_the_other():
    made = data([5, 7, 3, 9, 2, 8, 8, 4])
    both = made.__getitems__([0, 1])
    for name in ("input_ids", "targets", "position_ids", "segment_ids"):
        assert (both[name][0] == made[0][name][0]).all()
        assert (both[name][1] == made[1][name][0]).all()


def test_step_targets_count_the_targets_of_the_optimiser_step():
    made = data([5, 7, 3, 9, 2, 8, 8, 4], batch=2)
    for first in range(0, len(made), 2):
        visits = list(range(first, min(first + 2, len(made))))
        batch = made.__getitems__(visits)
        assert batch["step_targets"] == (batch["targets"] >= 0).sum()
        assert made[first]["step_targets"] == batch["step_targets"]


def test_tokens_by_step_count_no_padding():
    assert data([5, 7, 3, 9, 2, 8, 8, 4], batch=2).tokens_by_step()[-1] == 46


def test_every_pass_visits_every_block_in_another_order():
    blocks = pack(table([9] * 40), 16, 0)
    order = order_of(blocks, seed=1, batch_blocks=4, epochs=3.0, steps=None)
    passes = order.blocks.reshape(3, 40)
    assert all(sorted(p.tolist()) == list(range(40)) for p in passes)
    assert passes[0].tolist() == list(range(40))
    assert passes[1].tolist() != passes[2].tolist()


def test_steps_decide_the_length_whatever_the_corpus():
    blocks = pack(table([9] * 5), 16, 0)
    assert order_of(blocks, seed=1, batch_blocks=4, epochs=1.0, steps=7).steps == 7
    assert order_of(blocks, seed=1, batch_blocks=4, epochs=0.5, steps=None).steps == 1


def write_rows(folder, lengths, k=3):
    folder.mkdir(exist_ok=True)
    writer = DistributionsWriter(folder, tokens="t", vocab="t", k=k)
    start = 10
    for length in lengths:
        ids = np.arange(start, start + length, dtype=np.int32)[:, None] + np.arange(k, dtype=np.int32)
        writer.append(ids, -ids.astype(np.float32))
        start += length
    return writer.close()


@pytest.mark.parametrize("held", [0, 1 << 20])
def test_rows_stand_beside_their_tokens(tmp_path, monkeypatch, held):
    monkeypatch.setattr(module, "HELD_BYTES", held)
    lengths = [5, 7, 3, 9, 2]
    batch = data(lengths, rows=write_rows(tmp_path / "rows", lengths)).__getitems__([0, 1])
    real = batch["input_ids"] > 1
    assert (batch["row_ids"][real][:, 0] == batch["input_ids"][real]).all()
    assert (batch["row_logprobs"][real][:, 2] == -(batch["input_ids"][real] + 2)).all()
    assert batch["row_logprobs"][~real].max() == -np.inf


def test_rows_of_another_corpus_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match="another number of positions"):
        data([5, 7], rows=write_rows(tmp_path / "rows", [5, 6]))
