"""The embedded toy world: three domains of text and test items, offline and deterministic by seed.

No test item occurs in any training text, whatever the seeds: which part an item belongs to is decided by a hash of
its content. Documents are short (they are meant to be one chunk each) and of one domain; their layout is that of the
evaluation prompts.
"""

from fusebench.toyworld.tasks import TASKS, ToyTask, fewshot, items
from fusebench.toyworld.text import DOMAINS, documents, mixture

__all__ = ["DOMAINS", "TASKS", "ToyTask", "documents", "fewshot", "items", "mixture"]
