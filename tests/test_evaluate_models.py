"""Scoring, generation, perplexity and ensembles against the plain way of computing them, on tiny models."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from fusebench.errors import ModelError
from fusebench.evaluate import packed, prefixes
from fusebench.evaluate.ensembles.average import Ensemble
from fusebench.evaluate.forward import Piece, score_plainly
from fusebench.evaluate.generate import Decoding, Group, ModelStepper, Stops, _padded, cut_at, generate
from fusebench.evaluate.packed import score
from fusebench.evaluate.perplexity import cut_windows, score_texts
from fusebench.evaluate.shared_prefix import SharedPrefixStepper, common_prefix, stepper_of

VOCABULARY = 260


def byte_tokenizer(bos: bool) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: n for n, token in enumerate(["<s>", "</s>", "<pad>", "<x>", *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def tiny(architecture: str = "llama", seed: int = 0):
    torch.manual_seed(seed)
    if architecture == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=96))
    elif architecture == "gpt_neox":
        config = GPTNeoXConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=96,
        )
        model = GPTNeoXForCausalLM(config)
    else:
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=96,
        )
        model = LlamaForCausalLM(config)
    for parameter in model.parameters():
        parameter.data.mul_(3)
    return model.eval()


def plain_logprobs(model, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0].double()
    return logits.log_softmax(1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox"])
def test_scores_in_batches_are_those_of_single_texts(architecture):
    model = tiny(architecture)
    pieces = [Piece([5 + (7 * n * m) % 250 for m in range(1, 4 + 5 * n)], 1 + n) for n in range(6)]
    got, _ = score(model, pieces, batch_size=4)
    want = [float(plain_logprobs(model, list(p.ids))[p.start - 1 :].sum()) for p in pieces]
    assert got == pytest.approx(want, abs=1e-4)


def test_the_greedy_mark_is_set_only_for_the_likeliest_continuation():
    model = tiny()
    best = int(model(torch.tensor([[7, 8, 9]])).logits[0, -1].argmax())
    _, greedy = score(model, [Piece([7, 8, 9, best], 3), Piece([7, 8, 9, (best + 1) % VOCABULARY], 3)], batch_size=2)
    assert greedy.tolist() == [True, False]


@given(st.integers(0, 200), st.integers(1, 3), st.integers(2, 40), st.data())
def test_windows_score_every_token_once_with_at_most_the_context(length, start, max_length, data):
    stride = data.draw(st.integers(1, max_length))
    ids = list(range(length))
    pieces = cut_windows(ids, start, max_length, stride)
    scored = [token for piece in pieces for token in piece.ids[piece.start :]]
    assert scored == ids[start:]
    assert all(len(piece.ids) - 1 <= max_length and piece.start >= 1 for piece in pieces)


@pytest.mark.parametrize("bos", [True, False])
def test_bits_per_byte_are_the_bits_of_the_scored_tokens_over_their_bytes(bos):
    model, tokenizer = tiny(), byte_tokenizer(bos)
    text = "Café, naïve — ünï."
    (found,) = score_texts(model, tokenizer, [text], max_length=96, batch_size=2)
    ids = tokenizer(text)["input_ids"]
    assert found.bits == pytest.approx(-float(plain_logprobs(model, ids).sum()) / math.log(2), rel=1e-5)
    assert found.bytes == len(text.encode()) - (0 if bos else 1)


def test_long_texts_are_scored_in_windows_with_at_least_half_a_context():
    model, tokenizer = tiny(), byte_tokenizer(True)
    text = "the quick brown fox jumps over it " * 8
    (found,) = score_texts(model, tokenizer, [text], max_length=64, batch_size=3)
    ids = tokenizer(text)["input_ids"]
    bits, done = 0.0, 1
    while done < len(ids):
        end = min(len(ids), 65 if done == 1 else done + 32)
        begin = max(0, end - 65)
        bits -= float(plain_logprobs(model, ids[begin:end])[done - begin - 1 :].sum()) / math.log(2)
        done = end
    assert found.bits == pytest.approx(bits, rel=1e-5)
    assert found.tokens == len(ids) - 1


def run_generate(model_or_stepper, tokenizer, prompts, **more):
    stepper = model_or_stepper if hasattr(model_or_stepper, "begin") else ModelStepper(model_or_stepper)
    settings = {"end_ids": [1], "max_new": 12, **more, "until": [more.get("until", [])] * len(prompts)}
    encoded = [tokenizer(p)["input_ids"] for p in prompts]
    return generate(
        stepper, encoded, stops=Stops(tokenizer, VOCABULARY), pad_id=2, device=torch.device("cpu"), **settings
    )


PROMPTS = ["Hello there", "a", "What is the time, please?", "xyz xyz"]


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox"])
def test_greedy_generation_in_a_batch_is_what_transformers_generates_alone(architecture):
    model, tokenizer = tiny(architecture), byte_tokenizer(True)
    model.generation_config.eos_token_id = 1
    want = []
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        out = model.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=2)
        want.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    assert run_generate(model, tokenizer, PROMPTS) == want


def test_a_stop_string_ends_its_row_and_leaves_the_others_as_they_were():
    model, tokenizer = tiny(), byte_tokenizer(True)
    free = run_generate(model, tokenizer, PROMPTS)
    stop = free[0][3:5]
    assert run_generate(model, tokenizer, PROMPTS, until=[stop]) == [text.split(stop)[0] for text in free]


def test_samples_depend_on_their_own_numbers_alone():
    model, tokenizer = tiny(), byte_tokenizer(True)
    uniform = np.random.default_rng(0).random((4, 12))
    warm = {"decoding": Decoding(temperature=0.8, top_p=0.9)}
    together = run_generate(model, tokenizer, PROMPTS, uniform=uniform.__getitem__, **warm)
    alone = [
        run_generate(model, tokenizer, [p], uniform=lambda _, n=n: uniform[n], **warm)[0] for n, p in enumerate(PROMPTS)
    ]
    assert together == alone
    assert together != run_generate(model, tokenizer, PROMPTS)


LONG = [
    "The same long beginning of all of these texts here: " + end for end in ("a", "what is it?", "so on", "b c d", "e")
]


def family(name):
    """Return a tiny model: grouped keys, a sliding window shorter than the prompts, absolute places, ..."""
    if name == "gemma3":
        from transformers import Gemma3ForCausalLM, Gemma3TextConfig

        torch.manual_seed(0)
        config = Gemma3TextConfig(
            vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, head_dim=8, sliding_window=16, max_position_embeddings=256,
            layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        )  # fmt: skip
        return Gemma3ForCausalLM(config).eval()
    return tiny(name)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "gemma3"])
def test_rows_that_join_behind_shared_prefixes_get_what_they_get_alone(architecture):
    model, tokenizer = family(architecture), byte_tokenizer(True)
    alone = [run_generate(ModelStepper(model), tokenizer, [text])[0] for text in LONG + PROMPTS]
    stepper = stepper_of(model)
    assert isinstance(stepper, SharedPrefixStepper)
    prompts = [tokenizer(text)["input_ids"] for text in LONG]
    common = common_prefix(*_padded(prompts, 0))
    assert common >= 50
    groups = [Group([0, 1, 2, 3, 4], common), Group([5, 6, 7, 8])]
    stops = [next(c for c in text[3:] if c.isascii()) for text in (alone[0], alone[2], alone[5])]
    finished, beside = [], []
    join = stepper.join
    stepper.join = lambda *a: beside.append(stepper.cache is not None) or join(*a)
    together = run_generate(
        stepper,
        tokenizer,
        LONG + PROMPTS,
        groups=groups,
        rows=4,
        until=stops,
        done=lambda *a: finished.append(a),
    )
    assert together == [cut_at(text, stops) for text in alone]
    assert sorted(finished) == list(enumerate(together))
    assert any(beside), "no row came in while others were on their way"


def test_a_model_whose_attention_is_not_known_is_left_to_itself():
    from transformers import BloomConfig, BloomForCausalLM

    config = BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=1, n_head=2)
    assert isinstance(stepper_of(BloomForCausalLM(config).eval()), ModelStepper)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "gemma3"])
def test_continuations_of_one_context_score_packed_as_they_do_alone(architecture, monkeypatch):
    model = family(architecture)
    numbers = [(5 + 7 * n * n) % 250 for n in range(40)]
    contexts = [numbers[:3], numbers[3:10], numbers[9:11]]
    tails = [numbers[20:21], numbers[21:25], numbers[30:32], numbers[25:26]]
    pieces = [Piece([*c, *t], len(c)) for t in tails for c in contexts] + [Piece(numbers, 30), Piece(numbers, 1)]
    plain = [score_plainly(model, [piece], batch_size=1)[0][0] for piece in pieces]
    seen = []
    whole = packed._score_batch
    monkeypatch.setattr(packed, "_score_batch", lambda *a: seen.append(len(a[1])) or whole(*a))
    found, _ = score(model, pieces, batch_size=8)
    assert np.abs(found - plain).max() < 1e-4
    assert sum(seen[1:] if seen[0] == 2 else seen) == len(contexts)


def test_a_packed_continuation_is_greedy_exactly_where_it_is_alone():
    model = tiny()
    context = [5, 9, 100]
    likely = int(model(torch.tensor([context])).logits[0, -1].argmax())
    pieces = [
        Piece([*context, likely], 3),
        Piece([*context, (likely + 1) % VOCABULARY], 3),
        Piece([*context, likely, 3], 3),
    ]
    assert score(model, pieces, batch_size=4)[1].tolist() == score_plainly(model, pieces, batch_size=1)[1].tolist()


def test_prompts_are_grouped_by_a_long_common_prefix_and_the_rest_by_length(monkeypatch):
    monkeypatch.setattr(prefixes, "SHARED_FROM", 3)
    prompts = [[1, 2, 3, 4], [9], [1, 2, 3, 5, 6], [7, 7], [1, 2, 3, 4, 8], [7, 7, 1]]
    groups = prefixes.group_prompts(prompts)
    assert [(list(g.numbers), g.common) for g in groups] == [([0, 4, 2], 3), ([5, 3, 1], 0)]


def test_two_copies_of_a_model_are_the_model():
    model, tokenizer = tiny(), byte_tokenizer(True)
    both = Ensemble([model, tiny()])
    pieces = [Piece([5, 9, 100, 7, 30], 2), Piece([8, 8, 8], 1)]
    single, double = score(model, pieces, batch_size=2)[0], score(both, pieces, batch_size=2)[0]
    assert np.abs(single - double).max() < 1e-5
    assert run_generate(both.stepper(), tokenizer, PROMPTS) == run_generate(model, tokenizer, PROMPTS)


def test_an_ensemble_averages_probabilities_not_logits():
    first, second = tiny(seed=1), tiny("gpt2", seed=2)
    ids = [5, 9, 100, 7]
    chances = (plain_logprobs(first, ids).exp() + plain_logprobs(second, ids).exp()) / 2
    got, _ = score(Ensemble([first, second]), [Piece(ids, 1)], batch_size=1)
    assert got[0] == pytest.approx(float(chances.log().sum()), abs=1e-4)


def test_models_of_different_vocabularies_are_no_ensemble():
    other = LlamaForCausalLM(LlamaConfig(vocab_size=40, hidden_size=8, num_hidden_layers=1, num_attention_heads=1))
    with pytest.raises(ModelError, match="260, 40"):
        Ensemble([tiny(), other])
