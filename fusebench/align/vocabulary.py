"""The vocabulary map: for every source id, the target id that stands for it."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
from jaxtyping import Int32, Int64
from numpy import ndarray

from fusebench.align.edit import Encoded, encode, nearest
from fusebench.align.spelling import SPACE, Spelling, marker, raw_spellings, spell
from fusebench.artifacts import VocabMap
from fusebench.corpus.models import tokenizer_hash

Method = Literal["em", "min_ed"]
Ties = Literal["prefix", "first"]
Spelled = Literal["text", "raw"]


def map_vocabulary(
    source_tokenizer: Any,
    target_tokenizer: Any,
    method: Method,
    ties: Ties = "prefix",
    spelling: Spelled = "text",
    workers: int | None = None,
) -> VocabMap:
    """Return for every source id the target id that stands for it, its edit distance and its rivals.

    Equal spellings correspond (distance 0). With `min_ed`, any other source token of text gets the target
    token at the least Levenshtein distance over ALL target tokens of text; the distances equal a brute-force
    search, only faster. `ties` counts the target tokens at that distance, and one of them is chosen:

    - `prefix`: longest shared prefix, then nearest length, then the lower id, which is the order in which
      the target's own training found the tokens, the frequent ones first;
    - `first`: the lowest id, as the released code does.

    `spelling="text"` compares text (see `spelling.spell`). Special tokens correspond by role (bos, eos, pad,
    unk), added tokens of text by equality; both stay out of the edit distance. A byte token that repeats an
    ordinary token's spelling is left out, for its tokenizer never writes it. `spelling="raw"` is the released
    code's comparison: the tokenizers' own strings with only the word marker exchanged, so that `<0x0A>`
    is six characters and special tokens compete like any other.

    Args:
        source_tokenizer, target_tokenizer: fast tokenizers.
        method: `em` maps equal spellings alone, `min_ed` the rest too.
        ties: the rule for rivals at the least distance.
        spelling: what is compared.
        workers: threads; None takes the cores that this process may use.

    Raises:
        ModelError: a tokenizer is not a fast one.

    Source: Wan et al. 2024 (arXiv:2401.10491), section 3.2 (token alignment); Fu et al. 2023 for EM.
    """
    source, target = spell(source_tokenizer), spell(target_tokenizer)
    hashes = tokenizer_hash(source_tokenizer), tokenizer_hash(target_tokenizer)
    if hashes[0] == hashes[1]:
        return _identity(source, hashes[0], method)
    return map_spellings(source, target, method, ties=ties, spelling=spelling, hashes=hashes, workers=workers)


def map_spellings(
    source: Spelling,
    target: Spelling,
    method: Method,
    *,
    ties: Ties = "prefix",
    spelling: Spelled = "text",
    hashes: tuple[str, str] = ("", ""),
    workers: int | None = None,
) -> VocabMap:
    """Return the vocabulary map of two spelled vocabularies; see `map_vocabulary`."""
    size = len(source)
    chosen = np.full(size, -1, dtype=np.int32)
    distance = np.full(size, -1, dtype=np.int32)
    rivals = np.zeros(size, dtype=np.int32)
    if spelling == "raw":
        source_text = raw_spellings(source, marker(target) or None)
        target_text = raw_spellings(target)
        asked = [index for index, token in enumerate(source.raw) if token is not None]
        offered = [index for index, token in enumerate(target.raw) if token is not None]
        searchable = set(asked)
    else:
        source_text, target_text = [t or "" for t in source.text], [t or "" for t in target.text]
        asked = [index for index, text in enumerate(source.text) if text is not None]
        offered = _offered(target)
        searchable = {index for index in asked if not source.added[index]}
        _map_roles(source, target, chosen, distance, rivals)
    # Where two target tokens are spelled alike, the ordinary one goes before an added one, then the lower id.
    place: dict[str, int] = {}
    for index in sorted(offered, key=lambda i: (bool(target.added[i]) and spelling == "text", i)):
        place.setdefault(target_text[index], index)
    alike = _multiplicity([target_text[index] for index in offered])
    open_ids = []
    for index in asked:
        hit = place.get(source_text[index])
        if hit is not None:
            chosen[index], distance[index], rivals[index] = hit, 0, alike[source_text[index]]
        elif index in searchable:
            open_ids.append(index)
    if method == "min_ed" and open_ids and offered:
        candidates = [i for i in offered if spelling == "raw" or not target.added[i]]
        wanted = np.asarray(open_ids, dtype=np.int64)
        found = _nearest(
            [source_text[i] for i in open_ids],
            [target_text[i] for i in candidates],
            np.asarray(candidates, dtype=np.int64),
            by_prefix=ties == "prefix",
            workers=workers or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else workers or 2,
        )
        chosen[wanted], distance[wanted], rivals[wanted] = found
    return VocabMap(chosen, distance, rivals, hashes[0], hashes[1], method)


def _identity(spelling: Spelling, tokenizer: str, method: Method) -> VocabMap:
    """Return the map of a vocabulary to itself: every id to itself, special tokens too."""
    there = np.array([token is not None for token in spelling.raw], dtype=np.bool_)
    target = np.where(there, np.arange(len(there)), -1).astype(np.int32)
    return VocabMap(
        target, np.where(there, 0, -1).astype(np.int32), there.astype(np.int32), tokenizer, tokenizer, method
    )


def _multiplicity(texts: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for text in texts:
        found[text] = found.get(text, 0) + 1
    return found


def _offered(target: Spelling) -> list[int]:
    """Return the target's ids of text, without byte tokens that repeat an ordinary token's spelling."""
    ids = [index for index, text in enumerate(target.text) if text is not None]
    if not target.byte_fallback:
        return ids
    is_byte = {i for i in ids if _is_byte_token(target.raw[i] or "")}
    ordinary = {target.text[i] for i in ids if i not in is_byte}
    return [i for i in ids if i not in is_byte or target.text[i] not in ordinary]


def _is_byte_token(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


def _map_roles(
    source: Spelling,
    target: Spelling,
    chosen: Int32[ndarray, " vocab"],
    distance: Int32[ndarray, " vocab"],
    rivals: Int32[ndarray, " vocab"],
) -> None:
    # One source token may hold several roles (`<|endoftext|>` is bos and eos): as a prediction it is eos.
    for role in ("unk", "pad", "bos", "eos"):
        if role in source.roles and role in target.roles:
            index = source.roles[role]
            chosen[index], distance[index], rivals[index] = target.roles[role], 0, 1


def _nearest(
    source: list[str], target: list[str], target_ids: Int64[ndarray, " target"], *, by_prefix: bool, workers: int
) -> tuple[Int32[ndarray, " source"], Int32[ndarray, " source"], Int32[ndarray, " source"]]:
    """Return the chosen target id, the least distance and the number of rivals of every source string."""
    unique, back = np.unique(np.asarray(source, dtype=object), return_inverse=True)
    wanted, offered = encode(list(unique), target)
    order = np.argsort(np.diff(offered.starts), kind="stable")
    offered = offered.take(order)
    ranks = target_ids[order]
    lengths = np.diff(offered.starts)
    by_length = np.searchsorted(lengths, np.arange(lengths[-1] + 2))
    chosen, best, rivals = (np.empty(len(unique), dtype=np.int64) for _ in range(3))

    def work(bounds: tuple[int, int]) -> None:
        search = (ranks, by_length, wanted.alphabet, by_prefix)
        nearest(*_parts(wanted), *_parts(offered), *search, *bounds, chosen, best, rivals)

    # Threads over small pieces: the kernel holds no lock, and hard tokens do not pile up in one piece.
    step = max(1, min(512, -(-len(unique) // workers)))
    pieces = [(a, min(a + step, len(unique))) for a in range(0, len(unique), step)]
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, pieces))
    back = back.reshape(-1)
    return ranks[chosen][back].astype(np.int32), best[back].astype(np.int32), rivals[back].astype(np.int32)


def _parts(strings: Encoded) -> tuple[ndarray, ndarray, ndarray]:
    return strings.codes, strings.starts, strings.masks


def first_word_map(
    source: Spelling, target: Spelling, known: VocabMap, spelling: Spelled = "text"
) -> Int32[ndarray, " source_vocab"]:
    """Return the map for the first token of a text, where one tokenizer puts a space and the other does not.

    `The` of a source without a dummy prefix is `▁The` of a target that has one, and the other way round; ids
    without such a partner keep their place in `known`. With `raw` only the former, and a prefixed string that
    the target lacks takes the place that the source's own prefixed token has, as in the released code.
    """
    found = known.target.copy()
    if source.prefixes == target.prefixes or (spelling == "raw" and source.prefixes):
        return found
    own, theirs = source.text, target.text
    if spelling == "raw":
        own, theirs = [*raw_spellings(source, marker(target) or None)], [*raw_spellings(target)]
    place = {text: index for index, text in reversed(list(enumerate(theirs))) if text is not None}
    own_place = {text: index for index, text in enumerate(own) if text is not None}
    for index, text in enumerate(own):
        if text is None or text.startswith(SPACE) != source.prefixes:
            continue
        other = text[1:] if source.prefixes else SPACE + text
        if other in place:
            found[index] = place[other]
        elif spelling == "raw":
            found[index] = known.target[own_place[other]] if other in own_place else -1
    return found
