"""Names of items: of their content, the same in every run."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any


def item_id(doc: dict[str, Any]) -> str:
    """Return a hash of an item's content: the same item has the same id in every run, on every machine."""
    text = json.dumps(doc, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def numbered(ids: Iterable[str]) -> list[str]:
    """Return ids where each repetition got a number: some data sets hold an item twice."""
    seen: dict[str, int] = {}
    out = []
    for name in ids:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return out
