"""Capture of every source's next-token distributions over the corpus."""

from fusebench.teach.forward import capture

__all__ = ["capture"]
