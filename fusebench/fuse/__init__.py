"""Fusion: one row per target position out of several sources' aligned rows.

`criteria` says how well each source knows each block, `min_ce` and `avg_ce` turn that into shares, `stage`
writes the fused rows.
"""

from fusebench.fuse.avg_ce import avg_ce_weights, mix
from fusebench.fuse.criteria import block_cross_entropy, chunk_sums
from fusebench.fuse.min_ce import min_ce_weights
from fusebench.fuse.stage import fuse
from fusebench.fuse.temperature import apply_temperature

__all__ = [
    "apply_temperature",
    "avg_ce_weights",
    "block_cross_entropy",
    "chunk_sums",
    "fuse",
    "min_ce_weights",
    "mix",
]
