"""What alignment leaves: a map between vocabularies, and the links between two tokenizations of one text."""

import json
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Int32, Int64, UInt8
from numpy import ndarray
from safetensors.numpy import load_file, save_file

OUTCOMES = ("exact", "mapped", "tied", "one_to_many", "fallback")
"""How a target position got its row, in the order of their codes in `SpanTable.outcomes`."""

WITH_ROW = (0, 1, 2)
"""Codes of the outcomes that carry a real source row; positions of the others hold a fallback row."""


@dataclass(frozen=True)
class VocabMap:
    """For every source id the target id that stands for it.

    Args:
        target: target id, or -1 where nothing stands for it (special without a role, padded row, `em` miss).
        distance: edit distance of the two spellings; 0 is exact, -1 unmapped.
        ties: target tokens at that least distance, the chosen one included; 0 unmapped.
        source_tokenizer, target_tokenizer: content hashes.
        method: `em` or `min_ed`.
    """

    target: Int32[ndarray, " source_vocab"]
    distance: Int32[ndarray, " source_vocab"]
    ties: Int32[ndarray, " source_vocab"]
    source_tokenizer: str
    target_tokenizer: str
    method: str

    def save(self, folder: Path) -> None:
        """Write `vocabulary.safetensors` and `vocabulary.json`."""
        save_file({n: getattr(self, n) for n in ("target", "distance", "ties")}, folder / "vocabulary.safetensors")
        tags = {n: getattr(self, n) for n in ("source_tokenizer", "target_tokenizer", "method")}
        (folder / "vocabulary.json").write_text(json.dumps(tags))

    @classmethod
    def load(cls, folder: Path) -> "VocabMap":
        """Return the vocabulary map of a folder."""
        return cls(
            **load_file(folder / "vocabulary.safetensors"), **json.loads((folder / "vocabulary.json").read_text())
        )


@dataclass(frozen=True)
class SpanTable:
    """For every target position its source positions (within the same chunk) and what became of it.

    Args:
        indptr: target position p is linked to `indices[indptr[p]:indptr[p + 1]]`.
        indices: source positions, counted from the chunk's own first token, ascending.
        outcomes: code of each target position, an index into `OUTCOMES`.
        offsets: chunk c has target positions `offsets[c]:offsets[c + 1]`.
    """

    indptr: Int64[ndarray, " target_boundary"]
    indices: Int32[ndarray, " link"]
    outcomes: UInt8[ndarray, " target"]
    offsets: Int64[ndarray, " chunk_boundary"]

    def save(self, folder: Path) -> None:
        """Write `spans.safetensors`."""
        arrays = {n: getattr(self, n) for n in ("indptr", "indices", "outcomes", "offsets")}
        save_file(arrays, folder / "spans.safetensors")

    @classmethod
    def load(cls, folder: Path) -> "SpanTable":
        """Return the span table of a folder."""
        return cls(**load_file(folder / "spans.safetensors"))
