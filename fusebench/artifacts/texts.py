"""The corpus as chunks of text, and the packing of chunks into training blocks."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int64
from numpy import ndarray
from safetensors.numpy import load_file, save_file


@dataclass(frozen=True)
class Chunks:
    """Pieces of text, each short enough that no tokenizer of the run truncates it.

    Every source sees exactly these pieces; chunk numbers are positions in the lists.
    """

    texts: list[str]
    domains: list[str]
    documents: list[int]
    ends_document: list[bool]

    def __len__(self) -> int:
        return len(self.texts)

    def save(self, folder: Path) -> None:
        """Write `chunks.parquet`."""
        frame = pd.DataFrame(
            {
                "text": self.texts,
                "domain": self.domains,
                "document": self.documents,
                "ends_document": self.ends_document,
            }
        )
        frame.to_parquet(folder / "chunks.parquet", index=False)

    @classmethod
    def load(cls, folder: Path) -> "Chunks":
        """Return the chunks of a folder."""
        frame = pd.read_parquet(folder / "chunks.parquet")
        return cls(*(frame[name].tolist() for name in ("text", "domain", "document", "ends_document")))


@dataclass(frozen=True)
class Blocks:
    """Whole chunks packed into training sequences of at most `block_tokens` target tokens.

    Args:
        chunks: chunk numbers in training order.
        offsets: block b holds `chunks[offsets[b]:offsets[b + 1]]`.
        block_tokens: the length every block is padded to.
    """

    chunks: Int64[ndarray, " chunk"]
    offsets: Int64[ndarray, " block_boundary"]
    block_tokens: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def members(self, block: int) -> Int64[ndarray, " member"]:
        """Return the chunk numbers of one block."""
        return self.chunks[self.offsets[block] : self.offsets[block + 1]]

    def digest(self) -> str:
        """Return a hash of the packing: two methods with the same digest were trained on the same batches."""
        digest = hashlib.sha256(str(self.block_tokens).encode())
        digest.update(np.ascontiguousarray(self.chunks).tobytes())
        digest.update(np.ascontiguousarray(self.offsets).tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write `blocks.safetensors`."""
        save_file(
            {"chunks": self.chunks, "offsets": self.offsets, "block_tokens": np.array([self.block_tokens])},
            folder / "blocks.safetensors",
        )

    @classmethod
    def load(cls, folder: Path) -> "Blocks":
        """Return the blocks of a folder."""
        got = load_file(folder / "blocks.safetensors")
        return cls(got["chunks"], got["offsets"], int(got["block_tokens"][0]))
