"""Tokenizers of three kinds, trained on toy text: two byte-level BPEs of different cut, and a Unigram with bytes."""

import json
from collections.abc import Iterable
from typing import Literal

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

Kind = Literal["byte_bpe", "byte_bpe_gpt2", "unigram"]

# As Llama 3 cuts text, but every digit by itself.
_LLAMA_WORDS = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
# Letters, a digit, or signs, each with the space before it; further spaces in front are a run of their own.
_SENTENCEPIECE_WORDS = Regex(r"\n|▁+(?=▁)|▁?\p{L}+|▁?\p{N}|▁?[^▁\p{L}\p{N}\n]+|▁")
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def train_tokenizer(kind: Kind, texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer of at most `vocab_size` entries that gives every text back exactly.

    Args:
        kind: `byte_bpe`, byte-level BPE cut like Llama 3 with single digits, `<s>` in front of every text;
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
    specials = ["<s>", "</s>", "<pad>"]
    tokenizer = _train_bpe(texts, vocab_size, pre_tokenizers.Sequence(cut), specials)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)]),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )


def _gpt2_bpe(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    # GPT-2's own cut joins a newline with the spaces after it, so a prompt that ends in a newline would have a
    # last token that no training text has.
    cut = [
        pre_tokenizers.Split("\n", behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ]
    specials = ["<|endoftext|>", "<|padding|>"]
    tokenizer = _train_bpe(texts, vocab_size, pre_tokenizers.Sequence(cut), specials)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",
        pad_token="<|padding|>",
        clean_up_tokenization_spaces=False,
    )


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
    cut = [
        pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never", split=False),
        pre_tokenizers.Split(_SENTENCEPIECE_WORDS, behavior="isolated"),
    ]
    specials = ["<unk>", "</s>", "<pad>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cut)
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size - len(_BYTES),
        special_tokens=specials,
        unk_token="<unk>",
        max_piece_length=16,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # The trainer knows no byte fallback: the bytes go in afterwards, and the newline is left to them.
    state = json.loads(tokenizer.to_str())
    learned = [entry for entry in state["model"]["vocab"] if entry[0] != "\n"]
    rarest = min(score for _, score in learned)
    pieces = learned[: len(specials)] + [[byte, rarest] for byte in _BYTES] + learned[len(specials) :]
    state["model"] |= {"vocab": pieces, "byte_fallback": True}
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        eos_token="</s>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )
