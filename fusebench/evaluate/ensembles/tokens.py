"""Tokenizing texts that grow at their end, and prefixes of one text, without reading all of them every time."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64
from numpy import ndarray

from fusebench.align.spelling import backend_of, spell
from fusebench.corpus.tokenize import TokenBytes, offset_ends, plain_text

STRIDE = 256
"""Characters after which a text gets a place where it may be cut."""
KEPT = 4096
"""Beginnings of texts that are remembered."""

_CUT = re.compile(r"(?<=[A-Za-z]) (?=[A-Za-z])")
_CROSSES = re.compile(rb"[A-Za-z] ")


@dataclass(frozen=True)
class Tokens:
    """A text in tokens, without special ones.

    Args:
        ids: the tokens.
        ends: the byte of the text at which each ends.
        exact: whether the tokens spell the text, so that the ends are sure.
    """

    ids: Int32[ndarray, " token"]
    ends: Int64[ndarray, " token"]
    exact: bool


class GrowingText:
    """A tokenizer that remembers beginnings of texts.

    A text is cut at a space between two letters, and its beginning looked up. No token may hold a letter and a space
    behind it: then a token ends at every such place, and neither side's tokens hang on the other side. Where the
    vocabulary has such tokens, texts are read whole.

    Args:
        tokenizer: a fast one.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.bytes = TokenBytes(backend_of(tokenizer))
        self.cuts = _CROSSES.search(b"\0".join(self.bytes.table)) is None
        # The space that the tokenizer puts before a text stands for the one at which it is cut.
        self.skipped = 1 if spell(tokenizer).prefixes else 0
        self.memory: dict[str, Tokens] = {}

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Return the tokens of each text."""
        places = [self._place(text) for text in texts]
        heads = [text[:place] for text, place in zip(texts, places, strict=True)]
        missing = list({head for head in heads if head and head not in self.memory})
        known = dict(zip(missing, self.encode(missing), strict=True)) if missing else {}
        found = []
        parts = [text[place + self.skipped :] if place else text for text, place in zip(texts, places, strict=True)]
        for head, part in zip(heads, self._read(parts), strict=True):
            if not head:
                found.append(part)
                continue
            first = known.get(head) or self.memory[head]
            begin = len(head.encode()) + self.skipped
            ends = np.concatenate([first.ends, part.ends + begin])
            found.append(Tokens(np.concatenate([first.ids, part.ids]), ends, first.exact and part.exact))
        if len(self.memory) + len(known) > KEPT:
            self.memory.clear()
        self.memory.update(known)
        return found

    def _place(self, text: str) -> int:
        """Return where a text is cut, 0 for nowhere; it stays the same while the text grows by a stride."""
        begin = (len(text) // STRIDE - 1) * STRIDE
        found = _CUT.search(text, begin) if self.cuts and begin > 0 else None
        return found.start() if found else 0

    def _read(self, texts: Sequence[str]) -> list[Tokens]:
        found = []
        with plain_text(self.tokenizer) as backend:
            for text, fast in zip(texts, backend.encode_batch_fast(list(texts), add_special_tokens=False), strict=True):
                ids = np.asarray(fast.ids, dtype=np.int32)
                ends = self.bytes.exact_ends(ids, text)
                exact = ends is not None
                if ends is None:
                    # The fast encoding keeps no offsets.
                    slow = backend.encode(text, add_special_tokens=False)
                    ids = np.asarray(slow.ids, dtype=np.int32)
                    ends = offset_ends(ids, np.asarray(slow.offsets, dtype=np.int64), text, self.bytes.lengths)
                found.append(Tokens(ids, np.asarray(ends, dtype=np.int64), exact))
        return found
