"""Which source won each block, and by how much."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64
from numpy import ndarray


@dataclass(frozen=True)
class FusionChoice:
    """The criterion and the weight of every source on every block.

    Args:
        sources: names, in the recipe's order.
        domains: each block's domain (of its first chunk).
        cross_entropy: the criterion's value, lower is better.
        weights: share of each source in the fused rows; rows sum to 1. `min_ce` has one 1 a row.
        unit: unit of `cross_entropy`: `bits_per_byte`, `nats_per_token` or `bfloat16_nats_per_token`.
    """

    sources: list[str]
    domains: list[str]
    cross_entropy: Float64[ndarray, "block source"]
    weights: Float64[ndarray, "block source"]
    unit: str

    def save(self, folder: Path) -> None:
        """Write `choice.parquet`: one row per block and source."""
        blocks, sources = self.weights.shape
        frame = pd.DataFrame(
            {
                "block": np.repeat(np.arange(blocks), sources),
                "domain": np.repeat(np.asarray(self.domains, dtype=object), sources),
                "source": self.sources * blocks,
                "cross_entropy": self.cross_entropy.ravel(),
                "weight": self.weights.ravel(),
                "unit": self.unit,
            }
        )
        frame.to_parquet(folder / "choice.parquet", index=False)

    @classmethod
    def load(cls, folder: Path) -> "FusionChoice":
        """Return the choice of a folder."""
        frame = pd.read_parquet(folder / "choice.parquet")
        sources = frame["source"].drop_duplicates().tolist()
        shape = (-1, len(sources))
        return cls(
            sources,
            frame["domain"].tolist()[:: len(sources)],
            frame["cross_entropy"].to_numpy().reshape(shape),
            frame["weight"].to_numpy().reshape(shape),
            str(frame["unit"].iloc[0]),
        )
