"""Documents cut into chunks that no tokenizer of the run has to truncate."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from fusebench.artifacts import Chunks
from fusebench.corpus.tokenize import plain_text, template
from fusebench.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SHUFFLE = 4096
"""Documents that are held to draw the next one from: files are often sorted."""

BATCH = 64
"""Documents that are cut at a time."""

LONGEST_TOKEN = 8
"""Characters of text per token that are allowed for where only so many chunks of a document are wanted."""

PATIENCE = 4096
"""Documents without one of a domain that is still short, after which that domain is taken as exhausted."""

WHITESPACE = np.array([9, 10, 11, 12, 13, 32, 0x85, 0xA0, 0x2028, 0x2029, 0x3000], dtype=np.uint32)


def cut(
    documents: Iterable[tuple[str, str]],
    tokenizers: Mapping[str, "PreTrainedTokenizerFast"],
    *,
    chunk_tokens: int,
    max_chunks: int | None,
    held_out_chunks: int,
    seed: int,
) -> tuple[Chunks, Chunks]:
    """Return the chunks to train on, and those held out; no text of a document is in both.

    A document that fits is one chunk; a longer one is cut before white space or after a line end, so that its
    chunks joined are the document. Documents whose text occurs among the held-out ones are not trained on.

    Args:
        documents: domain and text, domains taken in turn; read only as far as needed.
        tokenizers: of every model of the run, by name.
        chunk_tokens: no tokenizer gives a chunk more tokens than this, its BOS and an EOS counted.
        max_chunks: chunks to train on, shared equally between domains as far as they reach; None takes all.
        held_out_chunks: chunks of each domain to hold out, whole documents first.
        seed: of the order in which documents are taken.

    Raises:
        DataError: there is no text, too little for the held-out part, or `chunk_tokens` is too small.
    """
    iterator = iter(documents)
    first = list(islice(iterator, SHUFFLE))
    taken = _Taken(max_chunks, held_out_chunks, [domain for domain, text in first if text.strip()])
    stream = shuffled(chain(first, iterator), seed)
    with ExitStack() as stack:
        cutter = _Cutter(tokenizers, chunk_tokens, stack)
        while not taken.full() and (batch := list(islice(stream, BATCH))):
            wanted = [(domain, text) for domain, text in batch if text.strip() and taken.room(domain)]
            # Of a long document, no more is cut than can be of use.
            parts = [cutter.prefix(text, taken.room(domain)) for domain, text in wanted]
            for (domain, text), part, pieces in zip(wanted, parts, cutter(parts), strict=True):
                taken.add(domain, text, pieces, whole=len(part) == len(text))
            taken.seen(batch)
    if not any(taken.training.values()) and not any(taken.held_out.values()):
        raise DataError(
            "the corpus is empty", why="no document with any text was read", fix="check `corpus` in the recipe"
        )
    bare = [d for d, held in taken.held_out.items() if held and not taken.training[d]]
    if bare:
        raise DataError(
            f"nothing is left to train on in the domain {', '.join(f'`{d}`' for d in sorted(bare))}",
            why=f"whole documents are held out first, until there are {held_out_chunks} chunks of each domain",
            fix="give more documents (a .txt file is one), or make `corpus.held_out_chunks` smaller; 0 holds out none",
        )
    return taken.result()


def shuffled(documents: Iterable[tuple[str, str]], seed: int) -> Iterator[tuple[str, str]]:
    """Yield the documents in an order drawn from a sliding hold of `SHUFFLE` documents."""
    generator = np.random.default_rng(seed)
    iterator = iter(documents)
    held = list(islice(iterator, SHUFFLE))
    generator.shuffle(held)  # type: ignore[arg-type]
    for document in iterator:
        place = int(generator.integers(len(held)))
        yield held[place]
        held[place] = document
    yield from held


Document = tuple[list[str], bool]
"""Chunks, and whether the last of them ends the document."""


class _Taken:
    """What has been taken of each domain, and whether it is enough."""

    def __init__(self, max_chunks: int | None, held_out_chunks: int, domains: Sequence[str]) -> None:
        self.max_chunks, self.held_out_chunks = max_chunks, held_out_chunks
        self.training: dict[str, list[Document]] = {domain: [] for domain in domains}
        self.held_out: dict[str, list[Document]] = {domain: [] for domain in domains}
        self.counts: dict[str, int] = defaultdict(int)
        self.held_counts: dict[str, int] = defaultdict(int)
        self._texts: dict[bytes, bool] = {}  # digest of a document -> it is held out
        self._waited = 0

    def room(self, domain: str) -> int:
        """Return how many chunks of one more document of the domain can be of use; 0 is none."""
        held = self.held_out_chunks - self.held_counts[domain]
        if self.max_chunks is None:
            return 1 << 40
        return max(held, self.max_chunks - self.counts[domain], 0)

    def add(self, domain: str, text: str, pieces: list[str], *, whole: bool) -> None:
        """Take a document, for the held-out part as long as that is short.

        Args:
            domain: of the document.
            text: all of it; the same text never gets into both parts.
            pieces: its chunks from the start.
            whole: whether the last of them ends the document.
        """
        self.training.setdefault(domain, [])
        self.held_out.setdefault(domain, [])
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        short = self.held_out_chunks - self.held_counts[domain]
        held = self._texts.setdefault(digest, short > 0)
        if held and short > 0:
            self.held_out[domain].append((pieces[:short], whole and len(pieces) <= short))
            self.held_counts[domain] += len(pieces[:short])
        elif not held:
            self.training[domain].append((pieces, whole))
            self.counts[domain] += len(pieces)

    def seen(self, batch: list[tuple[str, str]]) -> None:
        """Note which domains the batch had, to know which are exhausted."""
        short = self._short()
        self._waited = 0 if any(domain in short for domain, _ in batch) else self._waited + len(batch)

    def _short(self) -> set[str]:
        share = self._share()
        return {d for d in self.training if self.held_counts[d] < self.held_out_chunks or self.counts[d] < share}

    def _share(self) -> int:
        return 0 if self.max_chunks is None else -(-self.max_chunks // max(1, len(self.training)))

    def full(self) -> bool:
        """Return whether reading on would change nothing."""
        if self.max_chunks is None or sum(self.counts.values()) < self.max_chunks:
            return False
        return not self._short() or self._waited >= PATIENCE

    def result(self) -> tuple[Chunks, Chunks]:
        """Return the chunks, domains taken in turn."""
        numbers = count()
        return _in_turn(self.training, self.max_chunks, numbers), _in_turn(self.held_out, None, numbers)


def _quotas(available: Mapping[str, int], limit: int | None) -> dict[str, int]:
    """Return how many chunks to take of each domain: equal shares, what one lacks going to the others."""
    quotas: dict[str, int] = {}
    left = sum(available.values()) if limit is None else limit
    for place, domain in enumerate(sorted(available, key=lambda d: available[d])):
        quotas[domain] = min(available[domain], -(-left // (len(available) - place)))
        left -= quotas[domain]
    return quotas


def _in_turn(documents: Mapping[str, list[Document]], limit: int | None, numbers: Iterator[int]) -> Chunks:
    texts: list[str] = []
    domains: list[str] = []
    document: list[int] = []
    ends: list[bool] = []
    quotas = _quotas({d: sum(len(p) for p, _ in items) for d, items in documents.items()}, limit)
    counts = dict.fromkeys(documents, 0)
    waiting = {domain: iter(items) for domain, items in documents.items() if quotas[domain]}
    while waiting:
        domain = min(waiting, key=lambda d: counts[d])
        pieces, whole = next(waiting[domain])
        kept = pieces[: quotas[domain] - counts[domain]]
        number = next(numbers)
        texts += kept
        domains += [domain] * len(kept)
        document += [number] * len(kept)
        ends += [False] * (len(kept) - 1) + [whole and len(kept) == len(pieces)]
        counts[domain] += len(kept)
        if counts[domain] == quotas[domain]:
            del waiting[domain]
    return Chunks(texts, domains, document, ends)


class _Cutter:
    """Cuts texts so that every tokenizer stays within its room."""

    def __init__(
        self, tokenizers: Mapping[str, "PreTrainedTokenizerFast"], chunk_tokens: int, stack: ExitStack
    ) -> None:
        self.backends: list[Any] = []
        self.rooms: list[int] = []
        for name, tokenizer in tokenizers.items():
            room = chunk_tokens - len(template(tokenizer)[0]) - 1
            if room < 4:
                raise DataError(
                    f"`corpus.chunk_tokens` is {chunk_tokens}, which leaves {max(room, 0)} tokens of text for `{name}`",
                    why="BOS and EOS are counted",
                    fix="make it at least 16",
                )
            self.backends.append(stack.enter_context(plain_text(tokenizer)))
            self.rooms.append(room)
        # Very long texts are cut roughly first: some tokenizers take quadratic time.
        self.segment = max(1 << 14, 32 * chunk_tokens)
        self.chunk_tokens = chunk_tokens

    def prefix(self, text: str, chunks: int) -> str:
        """Return the start of a text, ending between words, that is surely long enough for so many chunks."""
        length = chunks * self.chunk_tokens * LONGEST_TOKEN
        if len(text) <= length:
            return text
        return text[: _last_boundary(_boundaries(text[: length + 1]), 0, length)]

    def __call__(self, texts: list[str]) -> list[list[str]]:
        """Return the chunks of each text."""
        done: list[list[str]] = [[] for _ in texts]
        segments = [(number, part) for number, text in enumerate(texts) for part in self._segments(text)]
        for (number, _), found in zip(segments, self._fitting([part for _, part in segments]), strict=True):
            done[number] += found
        return done

    def _segments(self, text: str) -> list[str]:
        if len(text) <= self.segment:
            return [text]
        codes, parts, start = _boundaries(text), [], 0
        while len(text) - start > self.segment:
            stop = _last_boundary(codes, start, start + self.segment)
            parts.append(text[start:stop])
            start = stop
        return [*parts, text[start:]]

    def _fitting(self, texts: list[str]) -> list[list[str]]:
        # Rounds: a part, tokenised alone, may have a token more than it had within the whole.
        paths: list[tuple[int, ...]] = [(number,) for number in range(len(texts))]
        finished: dict[tuple[int, ...], str] = {}
        result: list[list[str]] = [[] for _ in texts]
        while texts:
            counted = [backend.encode_batch_fast(texts, add_special_tokens=False) for backend in self.backends]
            over = [
                any(len(encodings[n]) > room for encodings, room in zip(counted, self.rooms, strict=True))
                for n in range(len(texts))
            ]
            next_paths: list[tuple[int, ...]] = []
            next_texts: list[str] = []
            for n, text in enumerate(texts):
                if not over[n]:
                    finished[paths[n]] = text
                    continue
                for place, part in enumerate(self._split(text)):
                    next_paths.append((*paths[n], place))
                    next_texts.append(part)
            paths, texts = next_paths, next_texts
        for path in sorted(finished):
            result[path[0]].append(finished[path])
        return result

    def _split(self, text: str) -> list[str]:
        if len(text) == 1:
            raise DataError(
                f"the character {text!r} alone has more tokens than `corpus.chunk_tokens` allows",
                why="a chunk cannot be cut inside a character",
                fix="make `corpus.chunk_tokens` larger",
            )
        ends = [self._ends(backend, text) for backend in self.backends]
        boundaries, parts, start = _boundaries(text), [], 0
        while start < len(text):
            stop = len(text)
            for token_ends, room in zip(ends, self.rooms, strict=True):
                # Room for the tokens that a part gains when it is tokenised alone.
                reach = int(np.searchsorted(token_ends, start, side="right")) + max(1, room - max(2, room // 64))
                if reach <= len(token_ends):
                    stop = min(stop, int(token_ends[reach - 1]))
            # At the first cut something must come off, or the rounds would not end.
            stop = min(max(stop, start + 1), len(text) - 1 if start == 0 else len(text))
            if stop < len(text):
                stop = _last_boundary(boundaries, start, stop)
            parts.append(text[start:stop])
            start = stop
        return parts

    @staticmethod
    def _ends(backend: Any, text: str) -> Int64[ndarray, " token"]:
        offsets = np.asarray(backend.encode(text, add_special_tokens=False).offsets, dtype=np.int64)
        return np.maximum.accumulate(offsets.reshape(-1, 2)[:, 1])


def _boundaries(text: str) -> Int64[ndarray, " boundary"]:
    """Return the places where a text may be cut: after a line end, and before white space that follows none."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    space = np.isin(codes, WHITESPACE)
    # Before the last white space of a run, so that a word keeps the one space that its tokens begin with.
    before = np.flatnonzero(space[:-1] & ~space[1:] & (codes[:-1] != 10))
    after_line = np.flatnonzero(codes == 10) + 1
    return np.union1d(before, after_line)


def _last_boundary(boundaries: Int64[ndarray, " boundary"], start: int, stop: int) -> int:
    """Return the last boundary in (start, stop], or `stop` where there is none."""
    at = int(np.searchsorted(boundaries, stop, side="right")) - 1
    return int(boundaries[at]) if at >= 0 and boundaries[at] > start else stop
