"""What a member of an ensemble reads where the target has read certain tokens: the same text, in its own tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32, Int64, UInt8
from numpy import ndarray

from fusebench.align.sequence import offset
from fusebench.align.spelling import backend_of, spell
from fusebench.corpus.tokenize import TokenBytes, template
from fusebench.evaluate.ensembles.tokens import GrowingText

PROBE = "The quick (brown) fox: naïve,  12 + 345 = 357.\n\tif x == 'y':  return [z]\n"


@dataclass(frozen=True)
class Reading:
    """The text that a row of the target's tokens holds.

    Args:
        text: all of it; a byte that belongs to no character is U+FFFD.
        ends: bytes of `text` up to and with each token; -1 where a member has nothing to go by: inside a character,
            and at a special token behind the first text.
        opening: whether no token of text has been read yet, so that a member is asked how a text begins.
    """

    text: str
    ends: Int64[ndarray, " token"]
    opening: Bool[ndarray, " token"]


class TargetText:
    """Reads the target's tokens as text.

    Special tokens hold no text. A token's text is its bytes, where the tokenizer's decoder does nothing but join
    them; for other decoders (WordPiece) every prefix is decoded, which is slower.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        spelling = spell(tokenizer)
        backend = backend_of(tokenizer)
        table = TokenBytes(backend).table
        self.special: Bool[ndarray, " vocab"] = spelling.special.copy()
        self.special[[n for n, token in enumerate(spelling.raw) if token is None]] = True
        self.table = np.array([b"" if s else t for t, s in zip(table, self.special, strict=True)], dtype=object)
        self.lengths: Int64[ndarray, " vocab"] = np.fromiter(map(len, self.table), dtype=np.int64)
        self.prefixes = spelling.prefixes
        ids = backend.encode(PROBE, add_special_tokens=False).ids
        joined = b"".join(self.table[ids].tolist())
        joins = joined.removeprefix(b" ") == backend.decode(ids).encode().removeprefix(b" ")
        self.joins = spelling.family in ("byte_level", "sentencepiece") and joins

    def read(self, ids: Int64[ndarray, " token"]) -> Reading:
        """Return the text of one row; what it says of a token depends on that token and those before it alone."""
        known = (ids >= 0) & (ids < len(self.table))
        place = np.where(known, ids, 0)
        special = ~known | self.special[place]
        opening = np.cumsum(~special) == 0
        if self.joins:
            text, ends = self._joined(place[~special])
        else:
            text, ends = self._decoded(place[~special].tolist())
        found = np.full(len(ids), -1, dtype=np.int64)
        found[~special] = np.where(ends > 0, ends, -1)
        found[opening] = 0
        return Reading(text, found, opening)

    def _joined(self, ids: Int64[ndarray, " token"]) -> tuple[str, Int64[ndarray, " token"]]:
        data = b"".join(self.table[ids].tolist())
        ends = np.cumsum(self.lengths[ids])
        if self.prefixes and data.startswith(b" "):
            data, ends = data[1:], np.maximum(ends - 1, 0)
        cut = _inside_characters(np.frombuffer(data, dtype=np.uint8))
        inside = cut[ends]
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text, ends = _mended(data, ends)
        return text, np.where(inside, -1, ends)

    def _decoded(self, ids: list[int]) -> tuple[str, Int64[ndarray, " token"]]:
        prefixes = [ids[: n + 1] for n in range(len(ids))]
        texts = [str(t) for t in self.tokenizer.batch_decode(prefixes)] if prefixes else []
        whole = texts[-1] if texts else ""
        ends = [len(t.encode()) if whole.startswith(t) and not t.endswith("\ufffd") else -1 for t in texts]
        return whole, np.asarray(ends, dtype=np.int64)


def _inside_characters(data: UInt8[ndarray, " byte"]) -> Bool[ndarray, " end"]:
    """Return for every end (0 to all bytes) whether the bytes before it stop inside a UTF-8 character.

    Only those bytes are looked at, so that more text does not change the answer.
    """
    found = np.zeros(len(data) + 1, dtype=bool)
    follows = (data & 0xC0) == 0x80
    found[1:] |= (data >= 0xC2) & (data <= 0xF4)
    found[2:] |= (data[:-1] >= 0xE0) & (data[:-1] <= 0xF4) & follows[1:]
    found[3:] |= (data[:-2] >= 0xF0) & (data[:-2] <= 0xF4) & follows[1:-1] & follows[2:]
    return found


def _mended(data: bytes, ends: Int64[ndarray, " token"]) -> tuple[str, Int64[ndarray, " token"]]:
    """Return text with U+FFFD for every byte that is no character, and the ends in its bytes."""
    rough = data.decode("utf-8", "surrogateescape")
    codes = np.frombuffer(rough.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    lost = (codes >= 0xDC80) & (codes <= 0xDCFF)
    width = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
    before = np.concatenate([[0], np.cumsum(np.where(lost, 1, width))])
    after = np.concatenate([[0], np.cumsum(width)])
    text = np.where(lost, 0xFFFD, codes).astype(np.uint32).tobytes().decode("utf-32-le")
    return text, after[np.searchsorted(before, ends)]


@dataclass(frozen=True)
class Asked:
    """The rows that a member is asked for, and the token sequences that give them.

    Args:
        sequences: distinct texts in the member's tokens, each with what its template puts first.
        row, column: the target's position of each row.
        sequence, position: where that row is to be found; it predicts what follows that token.
        opening: whether it predicts the first token of a text.
    """

    sequences: list[Int32[ndarray, " token"]]
    row: Int64[ndarray, " asked"]
    column: Int64[ndarray, " asked"]
    sequence: Int64[ndarray, " asked"]
    position: Int64[ndarray, " asked"]
    opening: Bool[ndarray, " asked"]


class MemberText:
    """Tokenizes text for a member.

    Args:
        tokenizer: the member's, a fast one.
        context: longest input in tokens.
    """

    def __init__(self, tokenizer: Any, context: int) -> None:
        self.context = context
        self.tokens = GrowingText(tokenizer)
        self.first: Int32[ndarray, " token"] = np.asarray(template(tokenizer)[0], dtype=np.int32)

    def ask(self, readings: Sequence[Reading], wanted: Sequence[Int64[ndarray, " place"]]) -> Asked:
        """Return the sequences whose rows stand for the target's rows.

        A row depends on the text up to its position alone, never on what follows. Each text is tokenized once, and
        the positions of the target that end with a letter and with one of its tokens (`offset`) take the row of that
        token: what follows does not change a tokenization up to its own boundary. It may behind spaces, digits and
        signs, which are split with a look at what comes next; there, where a token would reach beyond the
        position, and where the tokens do not spell the text, the text up to the position is tokenized by itself.

        Args:
            readings: of the target's rows.
            wanted: the positions of each row.
        """
        plan = _Plan(self)
        whole = self.tokens.encode([_upto(r, places) for r, places in zip(readings, wanted, strict=True)])
        main: list[tuple[list[int], list[int]]] = []
        open_ends: list[tuple[int, int, str]] = []
        for row, (reading, places, text) in enumerate(zip(readings, wanted, whole, strict=True)):
            opening = places[reading.opening[places]]
            if len(self.first):
                plan.add(row, opening, self.first, np.full(len(opening), len(self.first) - 1), opening=True)
            asked = places[~reading.opening[places] & (reading.ends[places] >= 0)]
            targets = reading.ends[asked]
            every = np.ones(len(text.ids), dtype=bool)
            found = offset(text.ends, every, targets, np.ones(len(targets), dtype=bool))
            # Two tokens of the target may end at one byte; the text up to there is the same.
            same = np.flatnonzero(np.append(targets[1:] == targets[:-1], False))
            for place in same[::-1]:
                found[place] = found[place + 1]
            data = reading.text.encode()
            prefixes = [data[:end].decode() for end in targets]
            letter = np.fromiter((prefix[-1].isalpha() for prefix in prefixes), dtype=bool, count=len(asked))
            # The whole text was tokenized up to its end and no further.
            last = targets == targets.max(initial=-1)
            sure = (found >= 0) & (last | (letter & text.exact))
            main.append(([*asked[sure]], [*found[sure]]))
            open_ends += [(row, int(asked[n]), prefixes[n]) for n in np.flatnonzero(~sure)]
        parts = self.tokens.encode([prefix for _, _, prefix in open_ends])
        for (row, column, prefix), part in zip(open_ends, parts, strict=True):
            # A tokenizer that drops the last bytes (a space at the end) has not read up to here.
            size = len(part.ids)
            if not size or part.ends[-1] != len(prefix.encode()):
                continue
            if np.array_equal(whole[row].ids[:size], part.ids):
                main[row][0].append(column)
                main[row][1].append(size - 1)
            else:
                at = np.array([len(self.first) + size - 1])
                plan.add(row, np.array([column]), np.concatenate([self.first, part.ids]), at)
        for row, (columns, positions) in enumerate(main):
            ids = np.concatenate([self.first, whole[row].ids])
            plan.add(row, np.array(columns), ids, np.array(positions) + len(self.first))
        return plan.asked()


def _upto(reading: Reading, places: Int64[ndarray, " place"]) -> str:
    """Return the text up to the last of some positions."""
    last = int(reading.ends[places].max(initial=0))
    data = reading.text.encode()
    return reading.text if last == len(data) else data[:last].decode()


class _Plan:
    """Collects rows to be asked for; sequences beyond the member's context lose tokens on the left."""

    def __init__(self, member: MemberText) -> None:
        self.first, self.context = len(member.first), member.context
        self.sequences: list[Int32[ndarray, " token"]] = []
        self.known: dict[bytes, int] = {}
        self.parts: list[tuple[ndarray, ...]] = []

    def add(
        self,
        row: int,
        columns: Int64[ndarray, " place"],
        ids: Int32[ndarray, " token"],
        positions: Int64[ndarray, " place"],
        *,
        opening: bool = False,
    ) -> None:
        if not len(columns):
            return
        # Tokens go half a context at a time, by the length up to the row alone, so that neighbours share a sequence.
        hop = max(1, self.context // 2)
        dropped = -(-np.maximum(positions + 1 - self.context, 0) // hop) * hop
        for drop in np.unique(dropped):
            own = dropped == drop
            last = int(positions[own].max())
            kept = np.concatenate([ids[: self.first], ids[self.first + drop : last + 1]])
            number = self.known.setdefault(kept.tobytes(), len(self.sequences))
            if number == len(self.sequences):
                self.sequences.append(kept)
            count = int(own.sum())
            self.parts.append(
                (
                    np.full(count, row),
                    columns[own],
                    np.full(count, number),
                    positions[own] - drop,
                    np.full(count, opening),
                )
            )

    def asked(self) -> Asked:
        """Return all that was added."""
        none = (*(np.zeros(0, dtype=np.int64) for _ in range(4)), np.zeros(0, dtype=bool))
        columns = [np.concatenate(found) for found in zip(none, *self.parts, strict=True)]
        row, column, sequence, position = (found.astype(np.int64) for found in columns[:4])
        return Asked(self.sequences, row, column, sequence, position, columns[4].astype(bool))
