"""Spellings of every tokenizer family, roles, exact and nearest tokens, the cache."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from fusebench.align import map_vocabulary, spell
from fusebench.align.cache import cached_map
from fusebench.align.spelling import show
from fusebench.align.summary import kind_of
from fusebench.align.vocabulary import map_spellings
from fusebench.errors import ModelError
from tests import align_helpers as h


def fixed(tokens, model=models.WordLevel, special=(), added=(), pre=None, decoder=None, byte_fallback=False, **names):
    vocabulary = {token: index for index, token in enumerate(tokens)}
    if model is models.BPE:
        backend = Tokenizer(model(vocabulary, [], byte_fallback=byte_fallback))
    else:
        backend = Tokenizer(model(vocabulary, unk_token="?"))
    if pre:
        backend.pre_tokenizer = pre
    if decoder:
        backend.decoder = decoder
    backend.add_special_tokens(list(special))
    backend.add_tokens(list(added))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def byte_bpe(tokens, **rest):
    return fixed(tokens, models.BPE, pre=pre_tokenizers.ByteLevel(), decoder=decoders.ByteLevel(), **rest)


def piece_bpe(tokens, **rest):
    own = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return fixed(tokens, models.BPE, decoder=own, byte_fallback=True, **rest)


def test_one_spelling_for_spaces_newlines_mojibake_and_bytes():
    byte_level = spell(byte_bpe(["Ġthe", "Ċ", "âĢĻ", "Ã©", "ç", "ĠĠ"]))
    assert byte_level.family == "byte_level"
    assert byte_level.text == ["▁the", "\n", "’", "é", "\udce7", "▁▁"]
    pieces = spell(piece_bpe(["▁the", "<0x0A>", "’", "é", "<0xE7>", "▁▁"]))
    assert pieces.family == "sentencepiece"
    assert pieces.text == byte_level.text
    words = spell(fixed(["the", "##s", "?"], models.WordPiece, decoder=decoders.WordPiece()))
    assert words.family == "wordpiece" and words.text == ["▁the", "s", "▁?"]


def test_a_byte_token_of_a_tokenizer_without_byte_fallback_is_six_characters():
    assert spell(fixed(["<0x0A>", "?"])).text == ["<0x0A>", "?"]


def test_the_family_does_not_hang_on_the_name(tmp_path):
    tokenizer = h.unigram()
    tokenizer.name_or_path = "gpt2-byte-level"
    assert spell(tokenizer).family == "sentencepiece"


def test_parts_of_characters_are_shown_as_bytes():
    assert show("a\udce2\udc80") == "a<0xE2><0x80>"


def test_special_tokens_map_by_role_alone():
    source = byte_bpe(
        ["<s>", "Ġs", "s"],
        special=["<|endoftext|>", "<|im_start|>", "<s>"],
        eos_token="<|endoftext|>",
        bos_token="<|endoftext|>",
    )
    target = piece_bpe(
        ["<s>", "</s>", "<unk>", "<|im_start|>", "▁s"],
        special=["<s>", "</s>", "<unk>", "<|im_start|>"],
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    known = map_vocabulary(source, target, "min_ed")
    place = source.get_vocab()
    assert known.target[place["<|endoftext|>"]] == target.eos_token_id
    assert known.target[place["<|im_start|>"]] == -1, "no role, so nothing stands for it"
    assert known.target[place["<s>"]] == -1
    assert known.target[place["s"]] == target.get_vocab()["▁s"], "specials are no candidates either"
    assert known.distance[place["s"]] == 1 and known.ties[place["s"]] == 1


def test_added_tokens_of_text_map_by_equality_and_never_by_distance():
    source = byte_bpe(["Ġs"], added=["    ", "zzz"])
    target = piece_bpe(["▁s", "▁▁▁▁", "zz"])
    known = map_vocabulary(source, target, "min_ed")
    assert known.target.tolist() == [0, 1, -1]
    assert known.distance.tolist() == [0, 0, -1] and known.ties.tolist() == [1, 1, 0]


def test_a_byte_token_that_repeats_an_ordinary_one_is_no_candidate():
    known = map_vocabulary(byte_bpe(["A", "B"]), piece_bpe(["<0x41>", "A", "<0x42>"]), "em")
    assert known.target.tolist() == [1, 2] and known.ties.tolist() == [1, 1]


def test_ties_go_to_the_longest_shared_prefix_then_length_then_the_earlier_id():
    source = byte_bpe(["abcd"])
    cases = [
        (["xbcd", "abcx"], "abcx"),  # both one edit away, the second shares a prefix
        (["abc", "abcx", "abce"], "abcx"),  # same prefix: equal length first, then the earlier id
    ]
    for tokens, want in cases:
        known = map_vocabulary(source, piece_bpe(tokens), "min_ed", "prefix")
        assert tokens[known.target[0]] == want and known.ties[0] == len(tokens)
        first = map_vocabulary(source, piece_bpe(tokens), "min_ed", "first")
        assert first.target[0] == 0


def test_em_maps_equal_spellings_alone():
    known = map_vocabulary(h.byte_level(), h.sentencepiece(), "em")
    assert set(known.distance.tolist()) == {0, -1}
    assert ((known.target >= 0) == (known.distance == 0)).all()


@pytest.mark.parametrize("spelling", ["text", "raw"])
def test_distances_of_real_tokenizers_equal_brute_force(spelling):
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    source, target = spell(h.real_tokenizer("neox20b")), spell(h.real_tokenizer("mistral7b"))
    known = map_spellings(source, target, "min_ed", spelling=spelling)
    mapped = np.flatnonzero(known.distance > 0)
    sample = np.random.default_rng(0).choice(mapped, 150, replace=False)
    if spelling == "raw":
        own = [str(source.raw[i]).replace("Ġ", "▁") for i in sample]
        theirs = [str(t) for t in target.raw]
    else:
        own = [str(source.text[i]) for i in sample]
        ordinary = {
            t
            for t, raw in zip(target.text, target.raw, strict=True)
            if t is not None and not str(raw).startswith("<0x")
        }
        theirs = [
            t
            for t, raw in zip(target.text, target.raw, strict=True)
            if t is not None and not (str(raw).startswith("<0x") and t in ordinary)
        ]
    table = cdist(own, theirs, scorer=Levenshtein.distance, dtype=np.int32)
    assert known.distance[sample].tolist() == table.min(1).tolist()
    assert known.ties[sample].tolist() == (table == table.min(1, keepdims=True)).sum(1).tolist()


def test_the_first_word_of_a_text_matches_across_a_dummy_prefix():
    source, target = h.byte_level(), h.sentencepiece()
    from fusebench.align.vocabulary import first_word_map

    own, other = spell(source), spell(target)
    assert other.prefixes and not own.prefixes
    known = map_spellings(own, other, "em")
    first = first_word_map(own, other, known)
    the = source.get_vocab()["a"]
    assert other.text[first[the]] == "▁a" and other.text[known.target[the]] == "a"


def test_the_cache_gives_the_same_map_and_outlives_damage(tmp_path):
    source, target = h.byte_level(), h.sentencepiece()
    fresh = map_vocabulary(source, target, "min_ed")
    for _ in range(2):
        got = cached_map(source, target, "min_ed", folder=tmp_path)
        assert (got.target == fresh.target).all() and (got.ties == fresh.ties).all()
    (entry,) = tmp_path.iterdir()
    (entry / "vocabulary.safetensors").write_bytes(b"damaged")
    assert (cached_map(source, target, "min_ed", folder=tmp_path).target == fresh.target).all()
    (entry / "vocabulary.json").write_text(
        json.dumps({"source_tokenizer": "read", "target_tokenizer": "", "method": ""})
    )
    assert cached_map(source, target, "min_ed", folder=tmp_path).source_tokenizer == "read", "it is read, not made"
    cached_map(source, target, "em", folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_slow_tokenizer_is_refused_with_a_way_out():
    class Slow:
        name_or_path = "old"

    with pytest.raises(ModelError, match=r"`old` is not a fast one[\s\S]*fix:"):
        spell(Slow())


def test_kinds_of_tokens():
    spellings = {"▁naïve": "letters", "1987": "digits", "▁▁": "whitespace", "\n": "whitespace", "):": "code"}
    spellings |= {
        "猫": "non_latin",
        "▁Ко": "non_latin",
        "🙂": "non_latin",
        "\udce2": "non_latin",
        "”": "code",
        "x1": "digits",
    }
    assert {text: kind_of(text) for text in spellings} == spellings
