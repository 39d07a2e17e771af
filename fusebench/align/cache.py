"""Vocabulary maps kept between runs, found again by the content of the two tokenizers."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from fusebench.align.vocabulary import Method, Spelled, Ties, map_vocabulary
from fusebench.artifacts import VocabMap
from fusebench.artifacts.store import sha256_json
from fusebench.corpus.models import tokenizer_hash

VERSION = 1
"""Raised whenever the map of the same two tokenizers comes out differently."""


def cache_folder() -> Path:
    """Return where vocabulary maps are kept: `fusebench/vocabulary` in the user's cache folder (XDG)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fusebench" / "vocabulary"


def cached_map(
    source_tokenizer: Any,
    target_tokenizer: Any,
    method: Method,
    ties: Ties = "prefix",
    spelling: Spelled = "text",
    *,
    folder: Path | None = None,
) -> VocabMap:
    """Return the vocabulary map of two tokenizers (see `map_vocabulary`), computed once and then read.

    A folder that cannot be written costs time at the next call, nothing else; a damaged entry is made anew.

    Args:
        source_tokenizer, target_tokenizer, method, ties, spelling: as for `map_vocabulary`.
        folder: where maps are kept; None takes `cache_folder()`.
    """
    hashes = [tokenizer_hash(source_tokenizer), tokenizer_hash(target_tokenizer)]
    key = sha256_json([VERSION, *hashes, method, ties, spelling])
    place = (folder or cache_folder()) / key
    try:
        return VocabMap.load(place)
    except (OSError, ValueError, KeyError, TypeError, _safetensors_error()):
        found = map_vocabulary(source_tokenizer, target_tokenizer, method, ties, spelling)
        _keep(found, place)
        return found


def _safetensors_error() -> type[Exception]:
    from safetensors import SafetensorError

    return SafetensorError if issubclass(SafetensorError, Exception) else ValueError


def _keep(found: VocabMap, place: Path) -> bool:
    """Write a map so that a reader sees it whole or not at all; return whether it could be written."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".new-") as name:
            new = Path(name) / "map"
            new.mkdir()
            found.save(new)
            shutil.rmtree(place, ignore_errors=True)
            new.rename(place)
    except OSError:
        return False
    return True
