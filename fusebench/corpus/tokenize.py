"""Chunks as token ids, each token with the bytes of text that it covers."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int32, Int64
from numpy import ndarray

from fusebench.artifacts import Chunks, TokenTable
from fusebench.corpus.models import tokenizer_hash
from fusebench.errors import DataError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BATCH = 1024
"""Chunks that are tokenised at a time."""


def tokenize(chunks: Chunks, tokenizer: "PreTrainedTokenizerFast", *, append_eos: bool) -> TokenTable:
    """Return the tokens of every chunk, with byte spans that are monotone and cover the chunk's text.

    A chunk begins with what the tokenizer's template puts first (BOS); what the template puts last is left
    out, since a chunk need not end a document. Text that looks like a special token (`</s>`) is plain text.
    Spans are exact (they cut inside a UTF-8 character where tokens do) whenever the tokens, spelled in
    bytes, give the text back; where the tokenizer changes the text (NFKC) they follow its character offsets.

    Args:
        chunks: the text.
        tokenizer: a fast tokenizer.
        append_eos: put its EOS after the last chunk of a document.

    Raises:
        ModelError: EOS is wanted and the tokenizer has none.
        DataError: a chunk has text but no tokens.
    """
    if append_eos and tokenizer.eos_token_id is None:
        raise ModelError(
            f"tokenizer `{tokenizer.name_or_path}` has no end-of-sequence token",
            why="`corpus.append_eos` puts one after every document",
            fix="set `corpus.append_eos: false`, or add `eos_token` to its tokenizer_config.json",
        )
    first, _ = template(tokenizer)
    last = [int(tokenizer.eos_token_id)] if append_eos else []
    with plain_text(tokenizer) as backend:
        parts = _encode(backend, chunks, first, last)
    return _table(parts, len(first), chunks, tokenizer_hash(tokenizer), bool(append_eos))


def _encode(backend: Any, chunks: Chunks, first: list[int], last: list[int]) -> list[tuple[ndarray, ndarray]]:
    spelling = TokenBytes(backend)
    parts: list[tuple[ndarray, ndarray]] = []
    texts = iter(zip(chunks.texts, chunks.ends_document, strict=True))
    while batch := list(islice(texts, BATCH)):
        encodings = backend.encode_batch_fast([text for text, _ in batch], add_special_tokens=False)
        for (text, ends_document), fast in zip(batch, encodings, strict=True):
            ids = np.asarray(fast.ids, dtype=np.int32)
            ends = spelling.exact_ends(ids, text)
            if ends is None:
                # The fast encoding keeps no offsets; the few chunks that need them are encoded again.
                encoding = backend.encode(text, add_special_tokens=False)
                ids = np.asarray(encoding.ids, dtype=np.int32)
                ends = offset_ends(ids, np.asarray(encoding.offsets, dtype=np.int64), text, spelling.lengths)
            parts.append(_framed(ids, ends, text, first, last if ends_document else []))
    return parts


def _framed(
    ids: ndarray, ends: ndarray | None, text: str, first: list[int], last: list[int]
) -> tuple[ndarray, ndarray]:
    if len(ids) == 0:
        raise DataError(
            f"a chunk has text but no tokens: {text[:40]!r}",
            why="this tokenizer drops all of it",
            fix="remove such text from the corpus, or leave out this model",
        )
    total = len(text.encode())
    framed = np.concatenate([np.zeros(len(first), dtype=np.int64), ends, np.full(len(last), total, dtype=np.int64)])
    return np.concatenate([np.asarray(first, dtype=np.int32), ids, np.asarray(last, dtype=np.int32)]), framed


def _table(
    parts: Sequence[tuple[ndarray, ndarray]], first: int, chunks: Chunks, tokenizer: str, append_eos: bool
) -> TokenTable:
    lengths = np.fromiter((len(ids) for ids, _ in parts), dtype=np.int64, count=len(parts))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    empty = np.zeros(0, dtype=np.int32)
    ids: Int32[ndarray, " token"] = np.concatenate([empty, *(ids for ids, _ in parts)]).astype(np.int32)
    ends: Int32[ndarray, " token"] = np.concatenate([empty, *(ends for _, ends in parts)]).astype(np.int32)
    starts = np.zeros_like(ends)
    starts[1:] = ends[:-1]
    starts[offsets[:-1]] = 0
    special: Bool[ndarray, " token"] = np.zeros(len(ids), dtype=bool)
    for place in range(first):
        special[offsets[:-1] + place] = True
    if append_eos:
        special[offsets[1:][np.asarray(chunks.ends_document, dtype=bool)] - 1] = True
    return TokenTable(ids, starts, ends, special, offsets, tokenizer)


@contextmanager
def plain_text(tokenizer: "PreTrainedTokenizerFast") -> Iterator[Any]:
    """Yield the Rust tokenizer, which for the time neither truncates nor pads nor reads special tokens out of text."""
    backend = tokenizer.backend_tokenizer
    truncation, padding, special = backend.truncation, backend.padding, backend.encode_special_tokens
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    try:
        yield backend
    finally:
        backend.encode_special_tokens = special
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)


def template(tokenizer: "PreTrainedTokenizerFast") -> tuple[list[int], list[int]]:
    """Return the ids that the tokenizer's template puts before and after a text."""
    encoding = tokenizer.backend_tokenizer.encode("a", add_special_tokens=True)
    text = [i for i, special in enumerate(encoding.special_tokens_mask) if not special]
    if not text:
        return [], []
    return encoding.ids[: text[0]], encoding.ids[text[-1] + 1 :]


class TokenBytes:
    """Every token's bytes of text, as far as the tokenizer's own parts tell."""

    def __init__(self, backend: Any) -> None:
        pieces = backend.get_vocab(with_added_tokens=False)
        added = {token.content: id for id, token in backend.get_added_tokens_decoder().items()}
        parts = [part.__getstate__() for part in (backend.pre_tokenizer, backend.decoder) if part is not None]
        byte_level = any(b'"ByteLevel"' in part for part in parts)
        size = max([*pieces.values(), *added.values()], default=-1) + 1
        table = [b""] * size
        for content, number in added.items():
            table[number] = content.encode()
        spell = _byte_level if byte_level else _sentence_piece
        for piece, number in pieces.items():
            if piece not in added or "▁" in piece:
                table[number] = spell(piece)
        self.table = table
        self.lengths: Int64[ndarray, " vocab"] = np.fromiter(map(len, table), dtype=np.int64, count=size)

    def exact_ends(self, ids: Int32[ndarray, " token"], text: str) -> Int64[ndarray, " token"] | None:
        """Return the byte at which each token ends, or None where the tokens do not spell the text."""
        spelled = b"".join(map(self.table.__getitem__, ids.tolist()))
        data = text.encode()
        if spelled == data:
            return np.cumsum(self.lengths[ids])
        if spelled == b" " + data:  # a space put before the text: it is no byte of the chunk
            return np.maximum(np.cumsum(self.lengths[ids]) - 1, 0)
        return None


def offset_ends(
    ids: Int32[ndarray, " token"],
    offsets: Int64[ndarray, "token 2"],
    text: str,
    lengths: Int64[ndarray, " vocab"],
) -> Int64[ndarray, " token"]:
    """Return the byte at which each token ends, from character offsets; the last ends with the text.

    Args:
        ids: of the chunk.
        offsets: first and last-plus-one character of each token, as the tokenizer tells them.
        text: of the chunk.
        lengths: bytes of each id's spelling; they share out characters that several tokens lie in.
    """
    offsets = offsets.reshape(-1, 2)
    bytes_before = byte_positions(text)
    ends = bytes_before[offsets[:, 1]]
    # Tokens that begin before their predecessor has ended share a character: go back from the run's last end.
    shares = np.zeros(len(ids), dtype=bool)
    shares[1:] = offsets[1:, 0] < offsets[:-1, 1]
    positions = np.arange(len(ids))
    run_last = np.where(np.append(~shares[1:], True), positions, len(ids))
    run_last = np.minimum.accumulate(run_last[::-1])[::-1]
    spelled = np.cumsum(lengths[ids])
    starts = bytes_before[offsets[:, 0]]
    ends = np.maximum(ends[run_last] - (spelled[run_last] - spelled), starts)
    if len(ends):
        ends[-1] = bytes_before[-1]
    return np.minimum(np.maximum.accumulate(ends), bytes_before[-1])


def byte_positions(text: str) -> Int64[ndarray, " position"]:
    """Return the byte at which each character of the text begins in UTF-8, and the total."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    widths = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    return np.concatenate([[0], np.cumsum(widths)]).astype(np.int64)


def _alphabet() -> dict[str, int]:
    # GPT-2's printable stand-ins for bytes.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


ALPHABET = _alphabet()
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_level(piece: str) -> bytes:
    if all(c in ALPHABET for c in piece):
        return bytes(ALPHABET[c] for c in piece)
    return piece.encode()


def _sentence_piece(piece: str) -> bytes:
    byte = _BYTE_TOKEN.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.replace("▁", " ").encode()
