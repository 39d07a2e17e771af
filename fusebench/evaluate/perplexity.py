"""Bits per byte and per token of text under a model, by domain."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fusebench.artifacts import Chunks
from fusebench.evaluate.forward import CausalModel, Piece
from fusebench.evaluate.items import numbered
from fusebench.evaluate.packed import score


@dataclass(frozen=True)
class TextScore:
    """The cost of one text.

    Args:
        bits: sum of -log2 p over the scored tokens.
        bytes: UTF-8 bytes of the text that those tokens cover.
        tokens: number of scored tokens.
    """

    bits: float
    bytes: int
    tokens: int


@dataclass(frozen=True)
class _Window:
    text: int
    piece: Piece


def score_texts(
    model: CausalModel,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    max_length: int,
    batch_size: int,
    stride: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[TextScore]:
    """Return bits, bytes and tokens of each text.

    The special tokens that the tokenizer's template puts before a text (BOS) are given, not scored; those that it
    puts behind it (EOS) are dropped. Where the template puts nothing before it, the first token has nothing to be
    predicted from: neither its bits nor its bytes count. A text longer than the context is cut into windows that
    overlap; every token is scored once, in the first window that holds it.

    Args:
        model: gives logits for ids.
        tokenizer: a fast one, which knows the characters of each token.
        texts: any lengths; an empty text scores 0 bits over 0 bytes.
        max_length: tokens of one window.
        stride: new tokens per window after the first; None is half of `max_length`.
        batch_size: windows at a time, at most.
        progress: called with (texts done, texts).

    Source: windows as in transformers' guide on the perplexity of fixed-length models.
    """
    stride = stride or max(1, max_length // 2)
    windows: list[_Window] = []
    sizes: list[tuple[int, int]] = []
    for number, text in enumerate(texts):
        ids, start, size = _encode(tokenizer, text)
        sizes.append((size, max(0, len(ids) - start)))
        windows += [_Window(number, piece) for piece in cut_windows(ids, start, max_length, stride)]
    bits = [0.0] * len(texts)
    step = max(1, batch_size * 4)
    windows.sort(key=lambda w: len(w.piece.ids), reverse=True)
    for at in range(0, len(windows), step):
        group = windows[at : at + step]
        logprobs, _ = score(model, [w.piece for w in group], batch_size=batch_size)
        for window, logprob in zip(group, logprobs, strict=True):
            bits[window.text] -= float(logprob) / math.log(2)
        if progress is not None:
            progress(min(len(texts), (at + len(group)) * len(texts) // len(windows)), len(texts))
    return [TextScore(cost, size, tokens) for cost, (size, tokens) in zip(bits, sizes, strict=True)]


def _encode(tokenizer: Any, text: str) -> tuple[list[int], int, int]:
    """Return ids, the first one that is scored, and the bytes that the scored ones cover."""
    got = tokenizer(text, add_special_tokens=True, return_offsets_mapping=True, return_special_tokens_mask=True)
    ids, offsets = list(got["input_ids"]), got["offset_mapping"]
    special = [bool(s) and a == b for s, (a, b) in zip(got["special_tokens_mask"], offsets, strict=True)]
    while ids and special[-1]:
        ids.pop()
        special.pop()
    before = next((n for n, s in enumerate(special) if not s), len(ids))
    if before > 0:
        return ids, before, len(text.encode())
    if len(ids) < 2:
        return ids, len(ids), 0
    # A character's bytes may be split over tokens; the whole character goes to the token that begins it.
    return ids, 1, len(text[offsets[1][0] :].encode()) if offsets[1][0] > offsets[0][0] else len(text.encode()) - 1


def cut_windows(ids: Sequence[int], start: int, max_length: int, stride: int) -> list[Piece]:
    """Return windows over `ids` that together score every token from `start` on exactly once.

    Args:
        ids: the whole text.
        start: first scored token, at least 1.
        max_length: tokens of a window.
        stride: tokens scored by each window but the first.
    """
    pieces: list[Piece] = []
    done = start
    while done < len(ids):
        # The last token of a window is only predicted, never fed: max_length inputs score up to max_length + 1.
        end = min(len(ids), max_length + 1 if not pieces else done + stride)
        begin = max(0, end - max_length - 1)
        pieces.append(Piece(ids[begin:end], done - begin))
        done = end
    return pieces


def perplexity_rows(
    model: CausalModel,
    tokenizer: Any,
    held_out: Chunks,
    *,
    max_length: int,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, object]]:
    """Return two sample rows per text, the domain as task: bits per byte, and bits per token of the model's own.

    The weight is the number of bytes or tokens, so that a weighted mean is the bits of all texts over the bytes or
    tokens of all. Only bits per byte can be compared between tokenizers.
    """
    scores = score_texts(
        model, tokenizer, held_out.texts, max_length=max_length, batch_size=batch_size, progress=progress
    )
    rows: list[dict[str, object]] = []
    items = numbered(hashlib.sha256(text.encode()).hexdigest()[:16] for text in held_out.texts)
    for text, domain, item, found in zip(held_out.texts, held_out.domains, items, scores, strict=True):
        if found.bytes == 0:
            continue
        for metric, units in (("bits_per_byte", found.bytes), ("bits_per_token", found.tokens)):
            rows.append(
                {
                    "task": domain,
                    "item": item,
                    "metric": metric,
                    "value": found.bits / units,
                    "weight": float(units),
                    "status": "ok",
                    "prompt": text,
                    "output": f"{found.bits:.1f} bits over {found.tokens} tokens",
                    "gold": "",
                }
            )
    return rows
