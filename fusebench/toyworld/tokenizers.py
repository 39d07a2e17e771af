"""Tokenizers of three kinds, trained on toy text: two byte-level BPEs of different cut, and a Unigram with bytes."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

Kind = Literal["byte_bpe", "byte_bpe_gpt2", "unigram"]

# Like Llama 2: every digit and every newline by itself, words and signs with the space before them.
_LLAMA_WORDS = Regex(r"\n| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|[^\S\n]+(?!\S)|[^\S\n]+")
# Letters, a digit, or signs, each with the space before it; further spaces in front are a run of their own.
_SENTENCEPIECE_WORDS = Regex(r"\n|▁+(?=▁)|▁?\p{L}+|▁?\p{N}|▁?[^▁\p{L}\p{N}\n]+|▁")
_BOS = "<s>"
_EOS_PAD = {"eos_token": "</s>", "pad_token": "<pad>"}
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def train_tokenizer(kind: Kind, texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer of at most `vocab_size` entries that gives every text back exactly.

    Args:
        kind: `byte_bpe`, byte-level BPE cut like Llama 2 (digits and newlines by themselves), `<s>` in front;
            `byte_bpe_gpt2`, byte-level BPE cut like GPT-2 but for newlines, which stand alone;
            `unigram`, like SentencePiece with byte fallback: `▁` for a space, `<0x0A>` for a newline.
        texts: to train on.
        vocab_size: entries, special tokens included; at least 300, as 256 are bytes.
    """
    if kind == "byte_bpe":
        return _llama_bpe(texts, vocab_size)
    if kind == "byte_bpe_gpt2":
        return _gpt2_bpe(texts, vocab_size)
    return _unigram(texts, vocab_size)


def _llama_bpe(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    cut = [
        pre_tokenizers.Split(_LLAMA_WORDS, behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    specials = [_BOS, *_EOS_PAD.values()]
    tokenizer = _train_bpe(texts, vocab_size, pre_tokenizers.Sequence(cut), specials)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=f"{_BOS} $A", pair=f"{_BOS} $A {_BOS} $B", special_tokens=[(_BOS, 0)]),
        ]
    )
    return _wrapped(tokenizer, bos_token=_BOS, **_EOS_PAD)


def _gpt2_bpe(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    # GPT-2's own cut joins a newline with the spaces after it, so a prompt that ends in a newline would have a
    # last token that no training text has.
    cut = [
        pre_tokenizers.Split("\n", behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ]
    specials = {"eos_token": "<|endoftext|>", "pad_token": "<|padding|>"}
    tokenizer = _train_bpe(texts, vocab_size, pre_tokenizers.Sequence(cut), list(specials.values()))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return _wrapped(tokenizer, **specials)


def _train_bpe(
    texts: Iterable[str], vocab_size: int, cut: pre_tokenizers.PreTokenizer, specials: list[str]
) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _unigram(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    cut = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never", split=False),
            pre_tokenizers.Split(_SENTENCEPIECE_WORDS, behavior="isolated"),
        ]
    )
    specials = ["<unk>", *_EOS_PAD.values()]
    words = Counter(word for text in texts for word, _ in cut.pre_tokenize_str(text) if word != "\n")
    pieces = _unigram_pieces(words, vocab_size - len(specials) - len(_BYTES))
    rarest = min(score for _, score in pieces)
    vocabulary = [(token, 0.0) for token in specials] + [(byte, rarest) for byte in _BYTES] + pieces
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return _wrapped(tokenizer, unk_token=specials[0], **_EOS_PAD)


def _unigram_pieces(words: Mapping[str, int], size: int) -> list[tuple[str, float]]:
    """Return pieces with their natural-log probabilities, the most probable first.

    Hard EM after Kudo 2018, arXiv:1804.10959: segment all words, count the pieces, drop the rarest. The library's
    own trainer takes its first pieces from different words alone, so that a word without a relative is never
    one piece, however frequent; here BPE merges over the counted words give the first pieces.
    """
    seeds = Tokenizer(models.BPE())
    seeds.pre_tokenizer = pre_tokenizers.Split("\n", behavior="removed")
    repeated = ("\n".join([word] * count) for word, count in sorted(words.items()))
    seeds.train_from_iterator(repeated, trainers.BpeTrainer(vocab_size=2 * size, show_progress=False))
    single = {character for word in words for character in word}
    scores = {piece: -1.0 - len(piece) / 100 for piece in sorted(set(seeds.get_vocab()) | single)}
    for room in (2 * size, 3 * size // 2, size, size):
        model = models.Unigram([("<unk>", 0.0), *scores.items()], unk_id=0, byte_fallback=False)
        used: Counter[str] = Counter()
        for word, count in words.items():
            for token in model.tokenize(word):
                used[token.value] += count
        kept = sorted(scores, key=lambda piece: (piece not in single, -used[piece], piece))[:room]
        total = sum(used[piece] + 1 for piece in kept)
        scores = {piece: math.log((used[piece] + 1) / total) for piece in kept}
    return sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))


def _wrapped(tokenizer: Tokenizer, **specials: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **specials)
