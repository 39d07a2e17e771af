"""The one training loop: CLM, distillation, fusion and the toy specialists differ only in the rows they are given."""

from fusebench.train.batches import pack
from fusebench.train.loop import train

__all__ = ["pack", "train"]
