"""Top-k next-token distributions on disk: one container for teacher, aligned and fused rows."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int, Int32, Int64
from numpy import ndarray
from safetensors import safe_open
from safetensors.numpy import save_file

from fusebench.artifacts.store import atomic_write
from fusebench.errors import ArtifactError

INDEX = "rows.json"


@dataclass(frozen=True)
class SparseDistributions:
    """Rows of the k most probable next tokens; row t is the distribution over the token that FOLLOWS token t.

    The tags say whose positions and whose ids these are, so that a wrong stage order is an error, not a
    silent wrong number. Rows lie in shards and are read chunk by chunk; nothing is loaded at opening.

    Args:
        folder: where the shards lie.
        tokens: content hash of the tokenizer whose positions the rows stand at.
        vocab: content hash of the tokenizer whose ids the rows hold.
        k: entries per row; unused entries have id 0 and log-probability -inf.
        offsets: chunk c has rows `offsets[c]:offsets[c + 1]`.
        shards: first chunk of each shard.
    """

    folder: Path
    tokens: str
    vocab: str
    k: int
    offsets: Int64[ndarray, " chunk_boundary"]
    shards: list[int]
    _open: dict[int, object] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def open(cls, folder: Path) -> "SparseDistributions":
        """Return the rows of a folder, without reading them."""
        index = json.loads((folder / INDEX).read_text())
        offsets = np.concatenate([[0], np.cumsum(np.asarray(index["lengths"], dtype=np.int64))])
        return cls(folder, index["tokens"], index["vocab"], index["k"], offsets.astype(np.int64), index["shards"])

    def require(self, *, tokens: str, vocab: str) -> None:
        """Raise ArtifactError unless the rows stand at `tokens` positions and hold `vocab` ids."""
        if (self.tokens, self.vocab) != (tokens, vocab):
            raise ArtifactError(
                f"rows in `{self.folder}` are tagged tokens={self.tokens[:8]}, vocab={self.vocab[:8]}",
                why=f"tokens={tokens[:8]}, vocab={vocab[:8]} are needed here",
                fix="align the rows to this target first",
            )

    def rows(self, start: int, stop: int) -> tuple[Int32[ndarray, "token k"], Float32[ndarray, "token k"]]:
        """Return ids and natural-log probabilities (largest first) of the chunks `start` up to `stop`."""
        ids, logprobs = self._read("ids", start, stop), self._read("logprobs", start, stop)
        return ids, logprobs

    def gold(self, start: int, stop: int) -> Float32[ndarray, " token"]:
        """Return ln p(actual next token) of each row; NaN where a chunk ends. Teacher rows only."""
        return self._read("gold", start, stop)

    def _read(self, name: str, start: int, stop: int) -> ndarray:
        parts = []
        for number, first in enumerate(self.shards):
            last = self.shards[number + 1] if number + 1 < len(self.shards) else len(self)
            a, b = max(start, first), min(stop, last)
            if a < b:
                base = self.offsets[first]
                shard = self._shard(number)
                parts.append(shard.get_slice(name)[int(self.offsets[a] - base) : int(self.offsets[b] - base)])
        if not parts:
            raise IndexError(f"no chunk in {start}:{stop}")
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _shard(self, number: int):  # type: ignore[no-untyped-def]
        if number not in self._open:
            self._open[number] = safe_open(self.folder / shard_name(number), framework="numpy")
        return self._open[number]


def shard_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"rows-{number:05d}.safetensors"


class DistributionsWriter:
    """Writes rows chunk by chunk into shards, each atomically; an interrupted folder is continued.

    Args:
        folder: a partial folder of a run.
        tokens, vocab, k: the tags of the rows, see `SparseDistributions`.
        shard_rows: a shard is closed at the first chunk end after so many rows.
    """

    def __init__(self, folder: Path, *, tokens: str, vocab: str, k: int, shard_rows: int = 1 << 18) -> None:
        self.folder, self.tokens, self.vocab, self.k, self.shard_rows = folder, tokens, vocab, k, shard_rows
        self._lengths: list[int] = []
        self._shards: list[int] = []
        self._pending: list[dict[str, ndarray]] = []
        progress = folder / INDEX
        if progress.exists():
            index = json.loads(progress.read_text())
            self._lengths, self._shards = index["lengths"], index["shards"]

    @property
    def done(self) -> int:
        """Return the number of chunks that are safe on disk; writing goes on with this chunk."""
        return len(self._lengths)

    def append(
        self,
        ids: Int[ndarray, "token k"],
        logprobs: Float[ndarray, "token k"],
        gold: Float[ndarray, " token"] | None = None,
    ) -> None:
        """Add the rows of the next chunk; they are kept as int32 and float32."""
        assert ids.shape == logprobs.shape and ids.shape[1] == self.k, (ids.shape, logprobs.shape, self.k)
        row = {"ids": ids.astype(np.int32, copy=False), "logprobs": logprobs.astype(np.float32, copy=False)}
        if gold is not None:
            row["gold"] = gold.astype(np.float32, copy=False)
        self._pending.append(row)
        if sum(len(p["ids"]) for p in self._pending) >= self.shard_rows:
            self.flush()

    def flush(self) -> None:
        """Close the open shard and make it safe on disk."""
        if not self._pending:
            return
        number = len(self._shards)
        arrays = {name: np.concatenate([p[name] for p in self._pending]) for name in self._pending[0]}
        temporary = self.folder / f".{shard_name(number)}"
        save_file(arrays, temporary)
        temporary.replace(self.folder / shard_name(number))
        self._shards.append(len(self._lengths))
        self._lengths += [len(p["ids"]) for p in self._pending]
        self._pending = []
        self._write_index()

    def _write_index(self) -> None:
        index = {"tokens": self.tokens, "vocab": self.vocab, "k": self.k}
        atomic_write(self.folder / INDEX, json.dumps({**index, "shards": self._shards, "lengths": self._lengths}))

    def close(self) -> SparseDistributions:
        """Return the finished rows."""
        self.flush()
        self._write_index()
        return SparseDistributions.open(self.folder)
