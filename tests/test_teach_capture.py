"""Teacher rows: what they mean, and what they do not depend on."""

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from fusebench.artifacts import TokenTable
from fusebench.errors import ModelError
from fusebench.teach import capture
from fusebench.teach import forward as forward_module
from fusebench.teach.topk import top_k_rows

VOCABULARY = 37


def llama():
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=64, **shape)).eval()


def gpt2():
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=16, n_layer=2, n_head=2)).eval()


def table(*lengths, seed=0):
    """Return a token table of chunks of the given lengths."""
    generator = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = generator.integers(0, VOCABULARY, offsets[-1]).astype(np.int32)
    ends = np.arange(1, offsets[-1] + 1, dtype=np.int32)
    return TokenTable(ids, ends - 1, ends, np.zeros(offsets[-1], dtype=bool), offsets, "hash")


@pytest.mark.parametrize("build", [llama, gpt2])
def test_rows_are_those_of_each_chunk_alone(tmp_path, build):
    model, tokens = build(), table(5, 1, 30, 12)
    rows = capture(model, tokens, tmp_path, top_k=4, batch_tokens=64)
    for chunk in range(len(tokens)):
        ids = torch.from_numpy(tokens.ids[tokens.span(chunk)].astype(np.int64))
        want = model(input_ids=ids[None]).logits[0].detach().float().log_softmax(-1)
        got_ids, got = rows.rows(chunk, chunk + 1)
        best, where = want.topk(4)
        np.testing.assert_allclose(got, best.numpy(), atol=1e-5)
        np.testing.assert_array_equal(got_ids, where.numpy())
        gold = rows.gold(chunk, chunk + 1)
        np.testing.assert_allclose(gold[:-1], want[:-1].gather(-1, ids[1:, None])[:, 0].numpy(), atol=1e-5)
        assert np.isnan(gold[-1])


def test_a_capture_cut_short_goes_on_where_it_was(tmp_path, monkeypatch):
    model, tokens = llama(), table(8, 8, 8, 8, 8, 8)
    monkeypatch.setattr(forward_module, "GROUP_ROWS", 16)
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = capture(model, tokens, tmp_path / "whole", top_k=3, batch_tokens=16)
    calls = []
    inner = forward_module._capture_group

    def stop_at_second(*arguments):
        calls.append(arguments[2])
        if len(calls) == 2:
            raise KeyboardInterrupt
        inner(*arguments)

    monkeypatch.setattr(forward_module, "_capture_group", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        capture(model, tokens, tmp_path / "cut", top_k=3, batch_tokens=16)
    again = capture(model, tokens, tmp_path / "cut", top_k=3, batch_tokens=16)
    assert calls == [0, 2, 2, 4]
    np.testing.assert_array_equal(again.rows(0, 6)[1], whole.rows(0, 6)[1])


def test_the_tail_is_what_the_top_k_leaves():
    logits = torch.randn(9, VOCABULARY, generator=torch.Generator().manual_seed(1))
    _, logprobs, _ = top_k_rows(logits, torch.zeros(9, dtype=torch.long), 5)
    mass = logprobs.exp().sum(-1)
    want = logits.softmax(-1).topk(5).values.sum(-1)
    torch.testing.assert_close(mass, want)


def test_a_vocabulary_smaller_than_k_pads_with_nothing():
    ids, logprobs, _ = top_k_rows(torch.zeros(2, 3), torch.tensor([0, -1]), 5)
    assert torch.isneginf(logprobs[:, 3:]).all()
    assert (ids[:, 3:] == 0).all()
    torch.testing.assert_close(logprobs.exp().sum(-1), torch.ones(2))


def test_slices_change_nothing(monkeypatch):
    from fusebench.teach import topk

    logits = torch.randn(50, VOCABULARY, generator=torch.Generator().manual_seed(2))
    following = torch.arange(50) % VOCABULARY
    whole = top_k_rows(logits, following, 4)
    monkeypatch.setattr(topk, "SLICE_BYTES", 4 * VOCABULARY * 7)
    for a, b in zip(whole, top_k_rows(logits, following, 4), strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)


def test_a_chunk_longer_than_the_context_is_one_clear_error(tmp_path):
    with pytest.raises(ModelError, match="takes 64 tokens, but a chunk has 65") as caught:
        capture(llama(), table(65), tmp_path, top_k=2, batch_tokens=64)
    assert "corpus.chunk_tokens" in caught.value.fix


def test_a_tokenizer_of_another_model_is_one_clear_error(tmp_path):
    tokens = table(4)
    tokens.ids[0] = VOCABULARY
    with pytest.raises(ModelError, match="do not belong together"):
        capture(llama(), tokens, tmp_path, top_k=2, batch_tokens=64)


def test_damaged_weights_are_one_clear_error(tmp_path):
    model = llama()
    model.lm_head.weight.data.fill_(torch.nan)
    with pytest.raises(ModelError, match="gives NaN"):
        capture(model, table(4), tmp_path, top_k=2, batch_tokens=64)
