"""Teacher rows are the model's own probabilities, whatever the batching, and an interrupted capture continues."""

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MptConfig,
)

from fusebench.artifacts import TokenTable
from fusebench.errors import ModelError
from fusebench.teach import capture, forward
from fusebench.teach.topk import top_rows

V, K = 40, 6
small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
CONFIGS = {
    "llama": LlamaConfig(vocab_size=V, **small),
    "gpt_neox": GPTNeoXConfig(vocab_size=V, **small),
    "gpt2": GPT2Config(vocab_size=V, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0),
    "mpt": MptConfig(vocab_size=V, d_model=16, n_layers=2, n_heads=2, max_seq_len=64),
    # Its logits are capped after the head, so the head alone is not the model.
    "gemma2": Gemma2Config(vocab_size=V, head_dim=8, num_key_value_heads=1, final_logit_softcapping=0.5, **small),
}


def tiny(name="llama"):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIGS[name]).eval()


def table(chunks=30, longest=25):
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, longest, chunks)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    count = int(offsets[-1])
    zero = np.zeros(count, dtype=np.int32)
    ids = generator.integers(0, V, count).astype(np.int32)
    return TokenTable(ids, zero, zero, np.zeros(count, dtype=bool), offsets, "own")


@torch.no_grad()
def alone(model, tokens, chunk):
    ids = torch.from_numpy(tokens.ids[tokens.span(chunk)].astype(np.int64))[None]
    return model(ids.to(model.device)).logits[0].log_softmax(-1).cpu()


@pytest.mark.parametrize("name", list(CONFIGS))
def test_rows_are_those_of_each_chunk_alone(name, tmp_path):
    model, tokens = tiny(name), table()
    rows = capture(model, tokens, tmp_path, top_k=K, batch_tokens=64)
    assert np.array_equal(rows.offsets, tokens.offsets)
    rows.require(tokens="own", vocab="own")
    for chunk in range(len(tokens)):
        want = alone(model, tokens, chunk)
        ids, logprobs = rows.rows(chunk, chunk + 1)
        gold = rows.gold(chunk, chunk + 1)
        assert np.allclose(logprobs, want.topk(K).values.numpy(), atol=1e-5)
        assert np.allclose(logprobs, want.gather(-1, torch.from_numpy(ids).long()).numpy(), atol=1e-5)
        following = torch.from_numpy(tokens.ids[tokens.span(chunk)].astype(np.int64))[1:]
        assert np.isnan(gold[-1])
        assert np.allclose(gold[:-1], want[:-1].gather(-1, following[:, None])[:, 0].numpy(), atol=1e-5)


def test_batching_does_not_change_rows(tmp_path):
    model, tokens = tiny(), table()
    big = capture(model, tokens, tmp_path / "big", top_k=K, batch_tokens=4096)
    small = capture(model, tokens, tmp_path / "small", top_k=K, batch_tokens=1)
    assert np.allclose(big.rows(0, 30)[1], small.rows(0, 30)[1], atol=1e-5)
    assert np.allclose(big.gold(0, 30), small.gold(0, 30), atol=1e-5, equal_nan=True)


@pytest.mark.parametrize(("name", "split"), [("llama", True), ("gemma2", False)])
def test_the_head_is_sliced_only_where_it_gives_the_models_logits(name, split, tmp_path, monkeypatch):
    tokens, seen = table(), []
    original = forward._Reader._can_split

    def spy(self, inputs):
        seen.append(original(self, inputs))
        return seen[-1]

    monkeypatch.setattr(forward._Reader, "_can_split", spy)
    monkeypatch.setattr(forward, "LOGIT_BYTES", 4 * V * 5)
    sliced = capture(tiny(name), tokens, tmp_path / "sliced", top_k=K, batch_tokens=256)
    monkeypatch.undo()
    whole = capture(tiny(name), tokens, tmp_path / "whole", top_k=K, batch_tokens=256)
    assert seen == [split]
    assert np.allclose(sliced.rows(0, 30)[1], whole.rows(0, 30)[1], atol=1e-5)


def test_rows_are_sorted_and_leave_the_tail(tmp_path):
    _, logprobs = capture(tiny(), table(), tmp_path, top_k=K, batch_tokens=64).rows(0, 30)
    assert (np.diff(logprobs, axis=1) <= 0).all()
    assert (np.exp(logprobs).sum(1) < 1).all()


def test_more_than_the_vocabulary_is_the_whole_distribution(tmp_path):
    rows = capture(tiny(), table(), tmp_path, top_k=1000, batch_tokens=64)
    assert rows.k == V
    assert np.allclose(np.exp(rows.rows(0, 30)[1]).sum(1), 1, atol=1e-5)


def test_an_interrupted_capture_continues_to_equal_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(forward, "GROUP_TOKENS", 60)
    model, tokens = tiny(), table()
    whole = capture(model, tokens, tmp_path / "whole", top_k=K, batch_tokens=64)

    class Killed(Exception):
        pass

    def kill(done, total):
        if done > total / 2:
            raise Killed

    with pytest.raises(Killed):
        capture(model, tokens, tmp_path / "killed", top_k=K, batch_tokens=64, progress=kill)
    seen = []
    rows = capture(
        model, tokens, tmp_path / "killed", top_k=K, batch_tokens=64, progress=lambda done, total: seen.append(done)
    )
    assert seen[0] > int(tokens.offsets[-1]) / 3
    assert seen[-1] == tokens.offsets[-1]
    assert len(rows.shards) > 3
    for got, want in zip((*rows.rows(0, 30), rows.gold(0, 30)), (*whole.rows(0, 30), whole.gold(0, 30)), strict=True):
        assert np.array_equal(got, want, equal_nan=True)


def test_a_chunk_beyond_the_context_is_an_error(tmp_path):
    model = tiny("mpt")
    model.config.max_seq_len = 8
    with pytest.raises(ModelError, match="takes 8 tokens"):
        capture(model, table(), tmp_path, top_k=K, batch_tokens=64)


def test_ids_that_the_model_lacks_are_an_error(tmp_path):
    tokens = table()
    tokens.ids[3] = V
    with pytest.raises(ModelError, match="do not belong together"):
        capture(tiny(), tokens, tmp_path, top_k=K, batch_tokens=64)


def test_top_rows_are_computed_in_float32():
    logits = torch.randn(5, V, generator=torch.Generator().manual_seed(1)).bfloat16()
    following = torch.tensor([0, 5, -1, 2, 3])
    ids, logprobs, gold = top_rows(logits, following, K)
    want = logits.double().log_softmax(-1)
    assert logprobs.dtype == torch.float32
    assert torch.allclose(logprobs.double(), want.gather(-1, ids), atol=1e-6)
    assert torch.isnan(gold).tolist() == [False, False, True, False, False]
