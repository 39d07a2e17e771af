"""Chunks fit every tokenizer, keep the text, and the held-out part shares nothing with the training part."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from fusebench.corpus.chunk import cut
from fusebench.corpus.tokenize import tokenize
from fusebench.errors import DataError

SENTENCE = "the quick brown fox jumps over the lazy dog while naïve 日本語 writers|keep   writing 😀 long texts"
WORDS = [w.replace("|", "\n") for w in SENTENCE.split(" ")]


def sentence(seed, words):
    return " ".join(WORDS[(seed * 7 + i * i) % len(WORDS)] for i in range(words))


def byte_level(size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["</s>"]
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 9, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(
        WORDS * 5, trainers.UnigramTrainer(vocab_size=80, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>")
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", bos_token="<s>", unk_token="<unk>")


@pytest.fixture(scope="module")
def tokenizers():
    return {"a": byte_level(300), "b": unigram(), "c": byte_level(400)}


def run(documents, tokenizers, **changes):
    given = {"chunk_tokens": 32, "max_chunks": None, "held_out_chunks": 0, "seed": 1} | changes
    return cut(documents, tokenizers, **given)


DOCUMENTS = [(f"d{i % 3}", sentence(i, 3 + 11 * (i % 7))) for i in range(60)]


def test_no_tokenizer_gives_a_chunk_too_many_tokens(tokenizers):
    train, held = run(DOCUMENTS, tokenizers, held_out_chunks=5)
    for chunks in (train, held):
        for tokenizer in tokenizers.values():
            table = tokenize(chunks, tokenizer, append_eos=True)
            assert (table.offsets[1:] - table.offsets[:-1]).max() <= 32


def test_chunks_joined_are_the_documents(tokenizers):
    train, _ = run(DOCUMENTS, tokenizers)
    joined = {}
    for text, number in zip(train.texts, train.documents, strict=True):
        joined[number] = joined.get(number, "") + text
    assert sorted(joined.values()) == sorted(text for _, text in DOCUMENTS)


def test_a_document_that_fits_is_one_chunk(tokenizers):
    train, _ = run([("d", "the fox"), ("d", "lazy dog")], tokenizers)
    assert sorted(train.texts) == ["lazy dog", "the fox"]
    assert train.ends_document == [True, True]


def test_long_documents_are_cut_between_words(tokenizers):
    train, _ = run([("d", sentence(3, 200))], tokenizers)
    assert len(train) > 5
    for before, after in zip(train.texts, train.texts[1:], strict=False):
        assert before.endswith("\n") or after[0].isspace()


def test_text_without_white_space_is_cut_too(tokenizers):
    train, _ = run([("d", "日本語" * 200)], tokenizers)
    assert "".join(train.texts) == "日本語" * 200


def test_only_the_last_chunk_ends_its_document(tokenizers):
    train, _ = run(DOCUMENTS, tokenizers)
    last = {number: i for i, number in enumerate(train.documents)}
    assert [i for i, end in enumerate(train.ends_document) if end] == sorted(last.values())


def test_held_out_documents_are_not_trained_on_even_when_they_repeat(tokenizers):
    documents = [(d, sentence(i, 30)) for i in range(20) for d in ("x", "y")] * 3
    train, held = run(documents, tokenizers, held_out_chunks=4)
    assert not set(held.documents) & set(train.documents)
    assert not set(held.texts) & set(train.texts)
    assert {d: held.domains.count(d) for d in ("x", "y")} == {"x": 4, "y": 4}


def test_max_chunks_are_shared_between_domains(tokenizers):
    documents = [(d, sentence(i, words)) for i in range(50) for d, words in (("long", 60), ("short", 4))]
    train, _ = run(documents, tokenizers, max_chunks=40)
    assert {d: train.domains.count(d) for d in ("long", "short")} == {"long": 20, "short": 20}


def test_a_short_domain_leaves_its_share_to_the_others(tokenizers):
    documents = [("small", "the fox")] + [("big", sentence(i, 5)) for i in range(100)]
    train, _ = run(documents, tokenizers, max_chunks=40)
    assert len(train) == 40
    assert train.domains.count("small") == 1


def test_reading_stops_when_enough_is_taken(tokenizers):
    def endless():
        number = 0
        while True:
            assert number < 20000
            yield f"d{number % 2}", sentence(number, 5)
            number += 1

    train, _ = run(endless(), tokenizers, max_chunks=30)
    assert len(train) == 30


def test_same_seed_same_chunks_other_seed_other_order(tokenizers):
    assert run(DOCUMENTS, tokenizers)[0] == run(DOCUMENTS, tokenizers)[0]
    assert run(DOCUMENTS, tokenizers)[0].texts != run(DOCUMENTS, tokenizers, seed=2)[0].texts


def test_empty_corpus_is_an_error(tokenizers):
    with pytest.raises(DataError, match="the corpus is empty"):
        run([], tokenizers)
    with pytest.raises(DataError, match="the corpus is empty"):
        run([("d", "  \n")], tokenizers)


def test_corpus_that_is_all_held_out_is_an_error(tokenizers):
    with pytest.raises(DataError, match="held_out_chunks"):
        run([("d", "the fox")], tokenizers, held_out_chunks=9)


def test_too_few_chunk_tokens_is_an_error(tokenizers):
    with pytest.raises(DataError, match="chunk_tokens"):
        run(DOCUMENTS, tokenizers, chunk_tokens=4)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=300), min_size=1, max_size=5))
def test_any_text_is_cut_whole_and_short(tokenizers, texts):
    texts = [text for text in texts if text.strip()]
    if not texts:
        return
    train, _ = run([("d", text) for text in texts], tokenizers)
    joined = {}
    for text, number in zip(train.texts, train.documents, strict=True):
        joined[number] = joined.get(number, "") + text
    assert sorted(joined.values()) == sorted(texts)
    for tokenizer in tokenizers.values():
        lengths = [len(tokenizer.backend_tokenizer.encode(text)) for text in train.texts]
        assert max(lengths) <= 31  # and an EOS
