"""The chunks in one tokenizer's tokens, with the bytes of text that each token covers."""

import json
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Bool, Int32, Int64
from numpy import ndarray
from safetensors.numpy import load_file, save_file


@dataclass(frozen=True)
class TokenTable:
    """All chunks under one tokenizer, end to end; chunk c is `offsets[c]:offsets[c + 1]`.

    Args:
        ids: token ids, special tokens (template BOS, document-ending EOS) included.
        starts: byte of the chunk's UTF-8 text at which the token begins.
        ends: byte at which it ends; a special token covers no byte (start = end).
        special: whether the token stands for no text.
        offsets: where each chunk begins, and the total.
        tokenizer: the tokenizer's content hash; a reader compares it, so tables are never mixed up.
    """

    ids: Int32[ndarray, " token"]
    starts: Int32[ndarray, " token"]
    ends: Int32[ndarray, " token"]
    special: Bool[ndarray, " token"]
    offsets: Int64[ndarray, " chunk_boundary"]
    tokenizer: str

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def span(self, chunk: int) -> slice:
        """Return the slice of token positions of one chunk."""
        return slice(int(self.offsets[chunk]), int(self.offsets[chunk + 1]))

    def save(self, folder: Path) -> None:
        """Write `tokens.safetensors` and `tokens.json`."""
        arrays = {name: getattr(self, name) for name in ("ids", "starts", "ends", "special", "offsets")}
        save_file(arrays, folder / "tokens.safetensors")
        (folder / "tokens.json").write_text(json.dumps({"tokenizer": self.tokenizer}))

    @classmethod
    def load(cls, folder: Path) -> "TokenTable":
        """Return the token table of a folder."""
        tags = json.loads((folder / "tokens.json").read_text())
        return cls(**load_file(folder / "tokens.safetensors"), tokenizer=tags["tokenizer"])
