"""Byte spans are monotone, cover the text and are exact where the tokens spell it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from fusebench.artifacts import Chunks
from fusebench.corpus.models import load_tokenizer
from fusebench.corpus.tokenize import byte_positions, tokenize
from fusebench.errors import DataError, ModelError

TEXTS = [
    "Hello  world! naïve 日本語 😀 x\n\n  y",
    " lead",
    "  two",
    "a\ufb01b é e\u0301 \u212b and Å",
    "\tdef f(x):\n    return 😀",
    "</s> <|endoftext|> <0x0A> ▁under▁score",
    "trailing   ",
    "ﬀ①Ｈｅｌｌｏ",
    "\u200bzero\u00a0width",
    "🏳️‍🌈👩‍👩‍👧",
]
SHARED = Path(__file__).parents[1] / ".." / "shared" / "tokenizers"


def byte_level(add_prefix_space=False, trim=True, normalizer=None):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim)
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["</s>"]
    )
    tokenizer.train_from_iterator(TEXTS * 5, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


def unigram(normalizer=None, prepend="always"):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=prepend)
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator(["hello world is a naive thing to underscore"] * 5 + TEXTS[:2], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", bos_token="<s>", unk_token="<unk>")


KINDS = {
    "byte_level": byte_level,
    "byte_level_prefix": lambda: byte_level(add_prefix_space=True),
    "byte_level_untrimmed": lambda: byte_level(trim=False),
    "byte_level_nfc": lambda: byte_level(normalizer=normalizers.NFC()),
    "byte_level_nfkc": lambda: byte_level(normalizer=normalizers.NFKC()),
    "unigram": unigram,
    "unigram_nfkc": lambda: unigram(normalizers.NFKC()),
    "unigram_never": lambda: unigram(prepend="never"),
    **{n: (lambda n=n: load_tokenizer(SHARED / n / "tokenizer.json.gz")) for n in ("llama2", "mistral7b", "neox20b")},
}


@pytest.fixture(scope="module", params=list(KINDS))
def tokenizer(request):
    if request.param in ("llama2", "mistral7b", "neox20b") and not SHARED.is_dir():
        pytest.skip("the shared folder of real tokenizers is absent")
    return KINDS[request.param]()


def chunks(texts, ends=True):
    return Chunks(list(texts), ["d"] * len(texts), list(range(len(texts))), [ends] * len(texts))


def check_cover(table, texts):
    for number, text in enumerate(texts):
        span = table.span(number)
        starts, ends = table.starts[span], table.ends[span]
        assert starts[0] == 0
        assert ends[-1] == len(text.encode())
        assert (starts[1:] == ends[:-1]).all()
        assert (starts <= ends).all()
        assert (ends[table.special[span]] == starts[table.special[span]]).all()


def test_spans_are_monotone_and_cover(tokenizer):
    check_cover(tokenize(chunks(TEXTS), tokenizer, append_eos=tokenizer.eos_token_id is not None), TEXTS)


def test_spans_cover_any_text(tokenizer):
    # A large vocabulary takes a second to prepare: few examples of many texts.
    @settings(max_examples=25 if len(tokenizer) < 2000 else 2, deadline=None, derandomize=True)
    @given(st.lists(st.text(min_size=1, max_size=40).filter(lambda t: t.strip()), min_size=20, max_size=40))
    def check(texts):
        texts = [t.encode("utf-8", "replace").decode() for t in texts]
        try:
            table = tokenize(chunks(texts), tokenizer, append_eos=False)
        except DataError as error:  # some normalisers drop a text of control characters whole
            assert "no tokens" in str(error)
            return
        check_cover(table, texts)

    check()


@pytest.mark.parametrize("kind", ["byte_level", "byte_level_prefix", "byte_level_untrimmed"])
def test_each_span_holds_exactly_the_bytes_of_its_token(kind):
    tokenizer = KINDS[kind]()
    table = tokenize(chunks(TEXTS), tokenizer, append_eos=False)
    for number, text in enumerate(TEXTS):
        span, data = table.span(number), text.encode()
        for place in range(span.start, span.stop):
            got = data[table.starts[place] : table.ends[place]]
            piece = tokenizer.convert_ids_to_tokens(int(table.ids[place]))
            want = bytes(decoders_alphabet()[c] for c in piece)
            first = place == span.start and kind == "byte_level_prefix"
            assert got == want or (first and b" " + got == want)


def decoders_alphabet():
    from fusebench.corpus.tokenize import ALPHABET

    assert set(ALPHABET) == set(pre_tokenizers.ByteLevel.alphabet())
    return ALPHABET


def test_byte_fallback_tokens_cover_one_byte_each():
    if not SHARED.is_dir():
        pytest.skip("the shared folder of real tokenizers is absent")
    table = tokenize(chunks(["a 😀"]), load_tokenizer(SHARED / "llama2" / "tokenizer.json.gz"), append_eos=False)
    assert table.ends.tolist() == [1, 2, 3, 4, 5, 6]


def test_changed_text_keeps_character_boundaries_between_words():
    table = tokenize(chunks(["ﬀ x"]), KINDS["byte_level_nfkc"](), append_eos=False)
    assert table.ends[-1] == 5
    assert 3 in table.ends.tolist()


def test_a_chunk_begins_with_bos_and_only_the_last_of_a_document_ends_with_eos():
    tokenizer = unigram()
    pieces = Chunks(["hello world", "is a", "thing"], ["d"] * 3, [0, 0, 1], [False, True, True])
    table = tokenize(pieces, tokenizer, append_eos=True)
    firsts = table.ids[table.offsets[:-1]].tolist()
    lasts = (table.ids[table.offsets[1:] - 1] == 1).tolist()
    assert firsts == [0, 0, 0]
    assert lasts == [False, True, True]
    assert table.special.sum() == 5


def test_text_that_looks_special_is_text():
    tokenizer = byte_level()
    table = tokenize(chunks(["a </s> b"]), tokenizer, append_eos=False)
    assert tokenizer.eos_token_id not in table.ids.tolist()
    assert not table.special.any()


def test_missing_eos_is_an_error_with_a_fix():
    tokenizer = byte_level()
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="append_eos: false"):
        tokenize(chunks(["a"]), tokenizer, append_eos=True)


@given(st.text(max_size=50))
def test_byte_positions_are_those_of_utf8(text):
    text = text.encode("utf-8", "replace").decode()
    want = [len(text[:i].encode()) for i in range(len(text) + 1)]
    assert np.array_equal(byte_positions(text), want)


def test_a_saved_tokenizer_keeps_its_hash(tmp_path):
    from fusebench.corpus.models import tokenizer_hash

    tokenizer = unigram()
    before = tokenizer_hash(tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer(["a", "b c"], padding=True, truncation=True, max_length=3)
    assert tokenizer_hash(tokenizer) == before
    tokenizer.save_pretrained(tmp_path)
    assert tokenizer_hash(load_tokenizer(tmp_path)) == before
    assert tokenizer_hash(byte_level()) != before
