"""The parts of an ensemble of different tokenizers: caches whose rows change, ends of tokens, text of tokens."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    Lfm2Config,
    LlamaConfig,
    MistralConfig,
    MptConfig,
    PreTrainedTokenizerFast,
)

from fusebench.corpus.tokenize import plain_text
from fusebench.evaluate.ensembles.caches import MemberCache
from fusebench.evaluate.ensembles.ends import TokenEnds
from fusebench.evaluate.ensembles.rows import MemberRows
from fusebench.evaluate.ensembles.texts import MemberText, TargetText
from fusebench.evaluate.ensembles.tokens import GrowingText
from fusebench.evaluate.ensembles.trees import grow
from tests.align_helpers import byte_level, real_tokenizer, sentencepiece, unigram

V = 60
SHAPE = {
    "vocab_size": V,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 96,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
IDS = {"bos_token_id": 1, "eos_token_id": 1}
CONFIGS = {
    "llama": LlamaConfig(**SHAPE),
    "gpt2": GPT2Config(vocab_size=V, n_embd=16, n_layer=2, n_head=2, n_positions=96, **IDS),
    "gpt_neox": GPTNeoXConfig(**SHAPE),
    "mpt": MptConfig(vocab_size=V, d_model=16, n_layers=2, n_heads=2, max_seq_len=96),
    "bloom": BloomConfig(vocab_size=V, hidden_size=16, n_layer=2, n_head=2),
    "sliding": MistralConfig(**SHAPE, num_key_value_heads=1, sliding_window=5),
    "mixed": Gemma3TextConfig(
        **SHAPE,
        num_key_value_heads=1,
        head_dim=8,
        sliding_window=5,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "convolution": Lfm2Config(**SHAPE, num_key_value_heads=1, layer_types=["conv", "full_attention"]),
}


def tiny(kind):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[kind])
    for parameter in model.parameters():
        parameter.data.mul_(3)
    return model.eval()


def plain(model, ids) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor(np.asarray(ids, dtype=np.int64)[None])).logits[0].float().log_softmax(1)


@pytest.mark.parametrize("kind", CONFIGS)
def test_rows_that_change_at_their_ends_are_read_as_if_anew(kind):
    model, random = tiny(kind), np.random.default_rng(0)
    cache = MemberCache(model)
    texts = [random.integers(2, V, n).astype(np.int32) for n in (3, 9, 1, 14)]
    for step in range(9):
        got = cache.read(texts).log_softmax(2)
        for row, own in enumerate(texts):
            want = plain(model, own)[-2:]
            assert torch.allclose(got[row, -len(want) :], want, atol=1e-4)
        if step == 3:
            longest = int(np.argmax([len(own) for own in texts]))
            stay = [n for n in range(4) if n != longest]
            cache.keep(torch.tensor(stay))
            texts = [texts[n] for n in stay]
        if step == 5:
            more, new = MemberCache(model), [random.integers(2, V, n).astype(np.int32) for n in (40, 2)]
            more.read(new)
            cache.join(more)
            texts += new
        texts = [own[: max(1, len(own) - random.integers(0, 3))] for own in texts]
        texts = [np.append(own, random.integers(2, V, random.integers(0, 4))).astype(np.int32) for own in texts]
    assert (cache.cache is None) == (kind == "convolution")


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mpt", "mixed"])
def test_rows_at_any_places_are_those_of_single_sequences(kind):
    model, random = tiny(kind), np.random.default_rng(1)
    sequences = [random.integers(2, V, n).astype(np.int32) for n in (12, 1, 5, 30)]
    sequence, position = np.array([0, 0, 1, 2, 3, 3, 3]), np.array([11, 4, 0, 2, 29, 0, 7])
    seen = []
    for own, logits, places in MemberRows(model).rows(sequences, sequence, position):
        for asked, found in zip(own, logits.log_softmax(1)[places], strict=True):
            want = plain(model, sequences[sequence[asked]])
            at = position[asked]
            assert torch.allclose(found[1], want[at], atol=1e-4)
            assert at == 0 or torch.allclose(found[0], want[at - 1], atol=1e-4)
            seen.append(int(asked))
    assert sorted(seen) == list(range(7))


@given(st.lists(st.binary(max_size=4), min_size=2, max_size=30), st.data())
@settings(deadline=None)
def test_the_chance_that_a_token_is_whole_counts_every_longer_one(table, data):
    table = [bytes(b % 3 + 97 for b in token) for token in table]
    special = np.array(data.draw(st.lists(st.booleans(), min_size=len(table), max_size=len(table))))
    token = data.draw(st.integers(0, len(table) - 1))
    logits = torch.randn(1, len(table), generator=torch.Generator().manual_seed(len(table)))
    p = logits[0].softmax(0)
    ends = TokenEnds(table, special, torch.device("cpu"))
    found = ends.chance(p[None], torch.tensor([0]), torch.tensor([token]))
    own = b"" if special[token] else table[token]
    longer = [
        n for n, other in enumerate(table) if own and not special[n] and other.startswith(own) and len(other) > len(own)
    ]
    assert float(found) == pytest.approx(float(p[token] / (p[token] + p[longer].sum())), abs=1e-5)


def word_piece() -> PreTrainedTokenizerFast:
    pieces = ["[UNK]", "the", "cat", "##s", "th", "##en", "a", "##t"]
    backend = Tokenizer(models.WordPiece({p: n for n, p in enumerate(pieces)}, unk_token="[UNK]"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")


TOKENIZERS = {
    "byte_level": byte_level(size=300),
    "merged": byte_level(size=400, bos=True),
    "sentencepiece": sentencepiece(),
    "unigram": unigram(),
    "word_piece": word_piece(),
}


@pytest.mark.parametrize("name", ["byte_level", "sentencepiece"])
@given(text=st.text(min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_the_text_of_tokens_is_the_text_they_came_from(name, text):
    tokenizer = TOKENIZERS[name]
    ids = np.array(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)
    reading = TargetText(tokenizer).read(ids)
    if not set(ids) & {tokenizer.unk_token_id} and tokenizer.decode(ids) == text:
        assert reading.text == text
        assert reading.ends[-1] == len(text.encode())


@pytest.mark.parametrize("name", TOKENIZERS)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_what_is_read_of_a_token_hangs_on_no_later_one(name, data):
    tokenizer = TOKENIZERS[name]
    ids = np.array(data.draw(st.lists(st.integers(0, len(tokenizer) - 1), min_size=1, max_size=12)))
    reader = TargetText(tokenizer)
    whole = reader.read(ids)
    for upto in range(1, len(ids)):
        part = reader.read(ids[:upto])
        assert part.opening.tolist() == whole.opening[:upto].tolist()
        if name != "word_piece":
            assert part.ends.tolist() == whole.ends[:upto].tolist()
        known = part.ends[-1] > 0 and whole.ends[upto - 1] > 0
        if known:
            assert whole.text.encode()[: whole.ends[upto - 1]] == part.text.encode()[: part.ends[-1]]


MIXED = (
    "It's 12 345.67 km, isn't it?\n\n    def f(x):\r\n\treturn HELLOworld[x]  猫は好き 🙂 naïve e\u0301 I'llama  — «да»"
)


@pytest.mark.parametrize("member", ["llama2", "mistral7b", "neox20b"])
@pytest.mark.parametrize("target", ["llama2", "neox20b"])
def test_real_tokenizers_read_up_to_every_position_what_they_would_read_of_that_text_alone(target, member):
    own, other = real_tokenizer(target), MemberText(real_tokenizer(member), 10_000)
    ids = np.array(own.backend_tokenizer.encode(MIXED, add_special_tokens=False).ids, dtype=np.int64)
    reading = TargetText(own).read(ids)
    asked = other.ask([reading], [np.arange(len(ids))])
    assert len(asked.row) > len(ids) * 0.8
    for column, sequence, position in zip(asked.column, asked.sequence, asked.position, strict=True):
        text = reading.text.encode()[: reading.ends[column]].decode()
        alone = other.tokens.encode([text])[0]
        assert asked.sequences[sequence][: position + 1].tolist() == [*other.first, *alone.ids]
        assert alone.ends[-1] == reading.ends[column]


def check_growing(tokenizer, text):
    growing = GrowingText(tokenizer)
    assert growing.cuts
    for upto in [*range(200, len(text), 97), len(text)]:
        part = text[:upto]
        with plain_text(tokenizer) as backend:
            want = backend.encode(part, add_special_tokens=False).ids
        found = growing.encode([part])[0]
        assert found.ids.tolist() == want
        if found.exact:
            assert found.ends.tolist() == growing.bytes.exact_ends(found.ids, part).tolist()
    return growing


LONG = " ".join([MIXED, "the cat sat on the mat and then the dog was there", "a  b   c    d", "naïve café"] * 12)


@pytest.mark.parametrize("name", [name for name in TOKENIZERS if name != "word_piece"])
def test_a_text_read_in_pieces_has_the_tokens_of_the_whole(name):
    assert len(check_growing(TOKENIZERS[name], LONG).memory) > 3


@pytest.mark.parametrize("name", ["llama2", "mistral7b", "neox20b"])
def test_real_tokenizers_read_a_text_in_pieces_as_they_read_it_whole(name):
    assert len(check_growing(real_tokenizer(name), LONG).memory) > 3


def test_a_tokenizer_whose_tokens_go_over_words_reads_texts_whole():
    backend = Tokenizer(models.BPE({"a": 0, " ": 1, "a ": 2, "b": 3}, [("a", " ")]))
    assert not GrowingText(PreTrainedTokenizerFast(tokenizer_object=backend)).cuts


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=12), st.integers(4, 40))
@settings(deadline=None)
def test_trees_hold_every_sequence_once_and_no_node_sees_another_branch(lists, most):
    sequences = [np.array(own, dtype=np.int32) for own in lists]
    trees = grow(sequences, most)
    assert sorted(n for tree in trees for n in tree.numbers) == list(range(len(sequences)))
    for tree in trees:
        assert len(tree.ids) <= max(most, *map(len, sequences))
        seen = tree.seen()
        for number, path in zip(tree.numbers, tree.paths, strict=True):
            assert tree.ids[path].tolist() == sequences[number].tolist()
            assert tree.depth[path].tolist() == list(range(len(path)))
            for place, node in enumerate(path):
                assert np.flatnonzero(seen[node]).tolist() == sorted(path[: place + 1].tolist())
