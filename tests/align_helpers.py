"""Small tokenizers and token tables for the tests of alignment and fusion."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from fusebench.artifacts import Blocks, Chunks, DistributionsWriter, SparseDistributions, TokenTable
from fusebench.corpus.models import tokenizer_hash

SHARED = Path(__file__).resolve().parents[2] / "shared"
TEXTS = ["the cat sat on the mat", "a cat and a dog: naïve café", "def f(x):\n    return x + 1\n", "猫は好き 🙂 yes"]


def shared(path: str) -> Path:
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"needs ../shared/{path}")
    return found


def real_tokenizer(name: str) -> PreTrainedTokenizerFast:
    data = gzip.decompress(shared(f"tokenizers/{name}/tokenizer.json.gz").read_bytes()).decode()
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(data))


def byte_level(texts=TEXTS, size=330, bos=False) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", *(["<bos>"] if bos else [])]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(list(texts) * 3, trainer)
    names = {"eos_token": "<|endoftext|>", **({"bos_token": "<bos>"} if bos else {})}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def sentencepiece(texts=TEXTS, size=330) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=pieces, limit_alphabet=40, show_progress=False)
    backend.train_from_iterator(list(texts) * 3, trainer)
    # The byte pieces are ordinary tokens of a real SentencePiece model, not special ones.
    vocabulary = backend.get_vocab()
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in _merges(backend)]
    clean = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    clean.pre_tokenizer, clean.decoder = backend.pre_tokenizer, backend.decoder
    clean.add_special_tokens(["<unk>", "<s>", "</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=clean, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def _merges(backend):
    import json

    return json.loads(backend.to_str())["model"]["merges"]


def unigram(texts=TEXTS, size=120) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(list(texts) * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")


def table(tokenizer, texts, bos=False, eos=False) -> TokenTable:
    """Tokens of the texts; byte spans from the tokenizer's own character offsets."""
    ids, starts, ends, special, lengths = [], [], [], [], [0]
    for text in texts:
        got = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        at = np.concatenate([[0], np.cumsum([len(c.encode()) for c in text])])
        spans = [(int(at[a]), int(at[b])) for a, b in got.offsets]
        row = list(zip(got.ids, spans, [False] * len(spans), strict=True))
        size = len(text.encode())
        row = [*([(tokenizer.bos_token_id, (0, 0), True)] if bos else []), *row]
        row = [*row, *([(tokenizer.eos_token_id, (size, size), True)] if eos else [])]
        for i, (a, b), s in row:
            ids.append(i), starts.append(a), ends.append(b), special.append(s)
        lengths.append(len(row))
    return TokenTable(
        np.array(ids, dtype=np.int32),
        np.array(starts, dtype=np.int32),
        np.array(ends, dtype=np.int32),
        np.array(special, dtype=np.bool_),
        np.cumsum(lengths).astype(np.int64),
        tokenizer_hash(tokenizer),
    )


def bare_table(ids, tokenizer, ends=None) -> TokenTable:
    """One chunk of ready ids."""
    count = len(ids)
    stops = np.arange(1, count + 1) if ends is None else np.asarray(ends)
    return TokenTable(
        np.asarray(ids, dtype=np.int32),
        np.zeros(count, dtype=np.int32),
        stops.astype(np.int32),
        np.zeros(count, dtype=np.bool_),
        np.array([0, count], dtype=np.int64),
        tokenizer_hash(tokenizer) if not isinstance(tokenizer, str) else tokenizer,
    )


def chunks(texts, domains=None) -> Chunks:
    count = len(texts)
    return Chunks(list(texts), domains or ["toy"] * count, list(range(count)), [True] * count)


def one_block_each(count: int) -> Blocks:
    return Blocks(np.arange(count, dtype=np.int64), np.arange(count + 1, dtype=np.int64), 64)


def random_rows(folder: Path, tokens: TokenTable, vocab: int, k=5, seed=0, mass=0.9) -> SparseDistributions:
    """Teacher rows over distinct random ids with a tail; gold is what the row (or a little of its tail) gives."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    writer = DistributionsWriter(folder, tokens=tokens.tokenizer, vocab=tokens.tokenizer, k=k)
    for chunk in range(len(tokens)):
        own = tokens.ids[tokens.span(chunk)]
        count = len(own)
        ids = np.stack([rng.choice(vocab, k, replace=False) for _ in range(count)]) if count else np.zeros((0, k))
        p = -np.sort(-rng.dirichlet(np.ones(k), count), axis=1) * mass if count else np.zeros((0, k))
        gold = np.full(count, np.nan, dtype=np.float32)
        if count > 1:
            hit = ids[:-1] == own[1:, None]
            gold[:-1] = np.log(np.where(hit.any(1), (p[:-1] * hit).sum(1), 1e-3))
        writer.append(ids.astype(np.int32), np.log(np.maximum(p, 1e-9)).astype(np.float32), gold)
    return writer.close()
