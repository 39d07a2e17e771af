"""Ensembles of models whose tokenizers differ: distributions, log-likelihood, generation and the whole path."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from fusebench.artifacts import Chunks
from fusebench.evaluate import SuiteRun, evaluate_candidate, find_suite
from fusebench.evaluate.ensembles.aligned import AlignedEnsemble, ensemble_of
from fusebench.evaluate.ensembles.average import Ensemble
from fusebench.evaluate.forward import Piece, score_plainly
from fusebench.evaluate.generate import JoiningStepper, ModelStepper, Stops, generate
from tests.align_helpers import byte_level, sentencepiece, unigram

WORDS = [
    "the cat sat on the mat",
    "a cat and a dog: naïve café",
    "def f(x):\n    return x + 1\n",
    "there then 7 77 777",
]
TEXTS = ["the cat sat", "a dog: naïve café on the mat", "there 777 then", "x + 1\n    猫 🙂 yes", "t"]


def with_bos(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    bos = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    return tokenizer


def tiny(vocabulary: int, seed: int, kind: str = "llama", context: int = 128):
    torch.manual_seed(seed)
    if kind == "gpt2":
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocabulary,
                n_embd=16,
                n_layer=2,
                n_head=2,
                n_positions=context,
                bos_token_id=0,
                eos_token_id=0,
            )
        )
    else:
        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=context,
        )
        model = LlamaForCausalLM(config)
    for parameter in model.parameters():
        parameter.data.mul_(3)
    return model.eval()


@pytest.fixture(scope="module")
def words():
    """Return tokenizers by name."""
    return {
        "bytes": with_bos(byte_level(["th then sa at do"], 300, bos=True)),
        "merged": byte_level(WORDS, 420),
        "pieces": with_bos(sentencepiece(WORDS, 340)),
        "unigram": unigram(WORDS, 100),
    }


@pytest.fixture(scope="module")
def models(words):
    """Return a model for each tokenizer; one has more logits than tokens."""
    return {
        "bytes": tiny(len(words["bytes"]), 1),
        "merged": tiny(len(words["merged"]) + 7, 2, "gpt2"),
        "pieces": tiny(len(words["pieces"]), 3),
        "unigram": tiny(len(words["unigram"]), 4),
    }


@pytest.fixture(scope="module")
def make(words, models):
    """Return a function that makes an ensemble of models by name."""
    return lambda *names, **more: AlignedEnsemble([models[n] for n in names], [words[n] for n in names], **more)


PAIRS = [
    ("bytes", "merged"),
    ("merged", "pieces"),
    ("pieces", "bytes"),
    ("pieces", "unigram"),
    ("unigram", "merged"),
    ("bytes", "merged", "pieces"),
]


def chances(model, ids) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.tensor([list(ids)])).logits[0].double().exp()


@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_every_row_is_a_distribution(make, words, names):
    for text in TEXTS:
        found = chances(make(*names), words[names[0]](text)["input_ids"])
        assert torch.allclose(found.sum(1), torch.ones(len(found), dtype=torch.double), atol=1e-5)


@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_members_change_the_rows(make, models, words, names):
    ids = words[names[0]]("the cat sat")["input_ids"]
    alone = models[names[0]](torch.tensor([ids])).logits[0].double().softmax(1)
    assert (chances(make(*names), ids) - alone).abs().max() > 1e-3


@pytest.mark.parametrize("names", PAIRS, ids="-".join)
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_a_row_depends_on_nothing_behind_it(make, words, names, data):
    ensemble = make(*names)
    size = len(words[names[0]])
    ids = data.draw(
        st.one_of(
            st.lists(st.integers(0, size - 1), min_size=2, max_size=14),
            st.text(alphabet="the catdo 7\né猫🙂", min_size=3, max_size=20).map(
                lambda t: words[names[0]](t)["input_ids"]
            ),
        ).filter(lambda found: len(found) > 1)
    )
    whole = chances(ensemble, ids)
    for upto in range(1, len(ids)):
        assert torch.allclose(chances(ensemble, ids[:upto])[-1], whole[upto - 1], atol=1e-5), (upto, ids)


def test_scores_in_batches_are_those_of_single_texts(make, words):
    ensemble = make("bytes", "merged", "pieces")
    pieces = [Piece(words["bytes"](t)["input_ids"], 1 + n % 2) for n, t in enumerate(TEXTS) if n < 4]
    got, _ = score_plainly(ensemble, pieces, batch_size=4)
    want = [float(score_plainly(ensemble, [piece], batch_size=1)[0][0]) for piece in pieces]
    assert got == pytest.approx(want, abs=1e-4)


def test_padding_changes_nothing_whether_it_is_named_or_not(make, words):
    ensemble = make("bytes", "merged")
    short, long = (words["bytes"](t)["input_ids"] for t in ("the cat", "a dog: naïve café on the mat"))
    width = len(long)
    right = torch.tensor([short + [0] * (width - len(short)), long])
    left = torch.tensor([[5] * (width - len(short)) + short, long])
    mask = torch.tensor([[0] * (width - len(short)) + [1] * len(short), [1] * width])
    want = [chances(ensemble, short), chances(ensemble, long)]
    for found, line in (
        (ensemble(right), 0),
        (ensemble(right, wanted=torch.arange(width) < torch.tensor([[len(short)], [width]])), 0),
        (ensemble(left, attention_mask=mask), width - len(short)),
    ):
        assert torch.allclose(found.logits[0, line : line + len(short)].double().exp(), want[0], atol=1e-5)
        assert torch.allclose(found.logits[1].double().exp(), want[1], atol=1e-5)


def test_only_the_places_asked_for_are_returned(make, words):
    ensemble = make("bytes", "merged")
    ids = torch.tensor([words["bytes"]("a dog: naïve café")["input_ids"]])
    whole = ensemble(ids).logits
    assert torch.allclose(ensemble(ids, logits_to_keep=2).logits, whole[:, -2:], atol=1e-5)
    assert torch.allclose(ensemble(ids, logits_to_keep=torch.tensor([3, 5])).logits, whole[:, [3, 5]], atol=1e-5)


@pytest.mark.parametrize("rows", [None, 2])
@pytest.mark.parametrize("names", [("bytes", "merged"), ("merged", "pieces", "bytes")], ids="-".join)
def test_generation_follows_the_rows_of_the_forward_pass(make, words, names, rows):
    ensemble, tokenizer = make(*names), words[names[0]]
    prompts = [tokenizer(t)["input_ids"] for t in TEXTS]
    settings = {
        "stops": Stops(tokenizer, ensemble.config.vocab_size),
        "until": [[]] * len(prompts),
        "pad_id": 0,
        "max_new": 8,
    }
    got = generate(ensemble.stepper(), prompts, end_ids=[], device=torch.device("cpu"), rows=rows, **settings)
    for prompt, text in zip(prompts, got, strict=True):
        ids = list(prompt)
        for _ in range(8):
            ids.append(int(chances(ensemble, ids)[-1].argmax()))
        assert settings["stops"].text(ids[len(prompt) :]) == text


@pytest.mark.parametrize("same", [False, True])
def test_rows_that_join_a_batch_get_what_they_get_alone(make, models, words, same):
    ensemble = Ensemble([models["bytes"], tiny(len(words["bytes"]), 9)]) if same else make("bytes", "merged")
    stepper, alone = ensemble.stepper(), ensemble.stepper()
    assert isinstance(stepper, JoiningStepper)
    first, second = (torch.tensor([words["bytes"](t)["input_ids"]]) for t in ("the cat sat on", "a dog"))
    stepper.join(first, torch.ones_like(first), 1)
    stepper.step(torch.tensor([70]))
    want = alone.begin(second, torch.ones_like(second))
    assert torch.allclose(stepper.join(second, torch.ones_like(second), 1), want, atol=1e-4)
    for token in (71, 200):
        got = stepper.step(torch.tensor([90, token]))
        assert torch.allclose(got[1:], alone.step(torch.tensor([token])), atol=1e-4)
    stepper.keep(torch.tensor([1]))
    assert torch.allclose(stepper.step(torch.tensor([72])), alone.step(torch.tensor([72])), atol=1e-4)


def test_rows_that_leave_a_batch_change_nothing_for_the_others(make, words):
    ensemble, tokenizer = make("bytes", "merged"), words["bytes"]
    ids = [tokenizer(t)["input_ids"] for t in ("the cat", "a dog")]
    width = max(map(len, ids))
    padded = torch.tensor([[0] * (width - len(own)) + own for own in ids])
    mask = torch.tensor([[0] * (width - len(own)) + [1] * len(own) for own in ids])
    both, alone = ensemble.stepper(), ensemble.stepper()
    both.begin(padded, mask)
    both.keep(torch.tensor([1]))
    alone.begin(torch.tensor([ids[1]]), torch.ones(1, len(ids[1]), dtype=torch.long))
    for token in (70, 200, 75):
        assert torch.allclose(both.step(torch.tensor([token])), alone.step(torch.tensor([token])), atol=1e-4)


@pytest.mark.parametrize("name", ["bytes", "merged"])
def test_two_copies_through_the_alignment_are_the_model(models, words, name):
    model, tokenizer = models[name], words[name]
    double = AlignedEnsemble([model, copy.deepcopy(model)], [tokenizer, tokenizer])
    pieces = [Piece(tokenizer(t)["input_ids"], 1) for t in TEXTS if len(tokenizer(t)["input_ids"]) > 1]
    single, both = score_plainly(model, pieces, batch_size=3), score_plainly(double, pieces, batch_size=3)
    assert np.abs(single[0] - both[0]).max() < 1e-5
    settings = {"stops": Stops(tokenizer, model.config.vocab_size), "pad_id": 0, "max_new": 10}
    settings["until"] = [[]] * len(pieces)
    prompts = [piece.ids for piece in pieces]
    run = [
        generate(s, prompts, end_ids=[], device=torch.device("cpu"), **settings)
        for s in (ModelStepper(model), double.stepper())
    ]
    assert run[0] == run[1]


def test_a_copy_that_reads_the_text_anew_gives_the_same_rows(models, words):
    # One more special token makes it another tokenizer, though its ids are the same. (Runs of spaces before a
    # character without a token of its own are left out: cut behind the run, the text has other tokens.)
    model, tokenizer = models["bytes"], words["bytes"]
    other = copy.deepcopy(tokenizer)
    other.backend_tokenizer.add_special_tokens(["<|never|>"])
    double = AlignedEnsemble([model, model], [tokenizer, other])
    assert not double.others[0].same
    pieces = [Piece(tokenizer(t)["input_ids"], 1) for t in TEXTS if "    " not in t]
    single, both = score_plainly(model, pieces, batch_size=3), score_plainly(double, pieces, batch_size=3)
    assert np.abs(single[0] - both[0]).max() < 1e-5


@pytest.mark.parametrize("text", ["the cat", "the c", "ther", "77"])
def test_a_row_is_the_weighted_mean_and_what_maps_to_nothing_is_the_targets(models, words, text):
    ensemble = AlignedEnsemble([models["bytes"], models["merged"]], [words["bytes"], words["merged"]], vocabulary="em")
    ids = words["bytes"](text)["input_ids"]
    found = chances(ensemble, ids)[-1]
    own = models["bytes"](torch.tensor([ids])).logits[0, -1].detach().double().softmax(0)
    tokens = words["merged"].backend_tokenizer.encode(text, add_special_tokens=False).ids
    rows = models["merged"](torch.tensor([tokens])).logits[0].detach().double().softmax(1)
    theirs, names = rows[-1], words["merged"].get_vocab()
    carried, there = torch.zeros_like(own), words["bytes"].get_vocab()
    for token, index in names.items():
        same = token if token != "<|endoftext|>" else words["bytes"].eos_token
        if same in there:
            carried[there[same]] += theirs[index]
    weight = 1.0
    if len(tokens) > 1:
        last = words["merged"].convert_ids_to_tokens(tokens[-1])
        longer = sum(float(rows[-2, n]) for t, n in names.items() if t.startswith(last) and t != last)
        weight = float(rows[-2, tokens[-1]]) / (float(rows[-2, tokens[-1]]) + longer)
    want = (own + weight * (carried + (1 - carried.sum()) * own)) / (1 + weight)
    assert torch.allclose(found, want, atol=1e-6)


def test_a_member_abstains_inside_a_character(make, models, words):
    ids = words["bytes"]("猫")["input_ids"]
    assert len(ids) == 4
    found = chances(make("bytes", "merged"), ids)
    own = models["bytes"](torch.tensor([ids])).logits[0].double().softmax(1)
    assert torch.allclose(found[1:3], own[1:3], atol=1e-6)
    assert (found[3] - own[3]).abs().max() > 1e-3


def test_a_member_with_a_shorter_context_reads_the_end_of_the_text(models, words):
    short = tiny(len(words["merged"]), 5, "gpt2", context=16)
    ensemble = AlignedEnsemble([models["bytes"], short], [words["bytes"], words["merged"]])
    ids = words["bytes"]("the cat sat on the mat. " * 4)["input_ids"]
    whole = chances(ensemble, ids)
    assert torch.allclose(whole.sum(1), torch.ones(len(ids), dtype=torch.double), atol=1e-5)
    for upto in range(2, len(ids), 5):
        assert torch.allclose(chances(ensemble, ids[:upto])[-1], whole[upto - 1], atol=1e-5)


def test_the_same_vocabulary_still_averages_with_a_mask():
    first, second = tiny(300, 1), tiny(300, 2, "gpt2")
    both = Ensemble([first, second])
    ids = torch.tensor([[0, 0, 5, 9, 100], [7, 8, 9, 10, 11]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    found = both(ids, attention_mask=mask, logits_to_keep=1).logits[0, 0]
    assert torch.allclose(found, both(ids[:1, 2:]).logits[0, -1], atol=1e-5)


@pytest.fixture(scope="module")
def folders(words, models, tmp_path_factory):
    """Return the folders of two models of different tokenizers."""
    found = []
    for name in ("bytes", "merged"):
        folder = tmp_path_factory.mktemp(name)
        models[name].save_pretrained(folder)
        words[name].save_pretrained(folder)
        found.append(str(folder))
    return found


def evaluated(models, kind, out, *suites, **more):
    held_out = Chunks(["the cat sat on the mat", "a dog: naïve café"], ["a", "b"], [0, 1], [True, True])
    return evaluate_candidate(
        models, kind, suites, held_out=held_out, batch_size=4, max_length=None, seed=0, data_root=None, out=out, **more
    )


def test_a_candidate_of_two_tokenizers_is_scored_on_suites(folders, tmp_path):
    suites = [SuiteRun(find_suite(name), 2) for name in ("toy_bbh", "toy_commonsense", "perplexity")]
    rows = evaluated(folders, "ensemble", tmp_path, *suites)
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["suite"] for row in rows} == {"toy_bbh", "toy_commonsense", "perplexity"}
    texts = [r["value"] for r in rows if r["suite"] == "perplexity"]
    for ref in folders:
        single = [r["value"] for r in evaluated([ref], "model", tmp_path / "single", suites[-1])]
        assert all(abs(a - b) > 1e-3 for a, b in zip(texts, single, strict=True))


def test_the_map_of_vocabularies_can_be_chosen(folders, tmp_path):
    suite = SuiteRun(find_suite("perplexity"), 2)
    usual, exact = (
        [r["value"] for r in evaluated(folders, "ensemble", tmp_path, suite, align=align)]
        for align in (None, {"vocabulary": "em"})
    )
    assert usual != exact


def test_models_of_one_tokenizer_are_averaged_id_by_id(words, models):
    assert type(ensemble_of([models["bytes"]] * 2, [words["bytes"]] * 2)) is Ensemble
    assert type(ensemble_of([models["bytes"], models["merged"]], [words["bytes"], words["merged"]])) is AlignedEnsemble
