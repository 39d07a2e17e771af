"""A source over the corpus: its next-token distributions, captured once."""

from fusebench.teach.forward import capture

__all__ = ["capture"]
