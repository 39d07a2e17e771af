"""Alignment: ours against a plain rapidfuzz vocabulary map, a plain Python DTW and plain Python projection."""

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from fusebench.align import dtw, offset, project, spell
from fusebench.align.links import Pair
from fusebench.align.spelling import Spelling
from fusebench.align.vocabulary import _offered, map_spellings
from fusebench.corpus.models import load_tokenizer

TOKENS = 2048
ROWS = 1 << 20
TOP_K = 10


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def best_of(times: int, work: Callable[[], object]) -> float:
    """Return the least wall time in seconds of several runs."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def one_core(work: Callable[[], float]) -> float:
    """Return what `work` measures while the process is held on one core."""
    if not hasattr(os, "sched_setaffinity"):
        return work()
    given = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(given)})
    try:
        return work()
    finally:
        os.sched_setaffinity(0, given)


def section(tokenizers: Path, large: Path | None) -> str:
    """Return the page's section on alignment."""
    source_tokenizer = load_tokenizer(tokenizers / "neox20b" / "tokenizer.json.gz")
    target_tokenizer = load_tokenizer(tokenizers / "llama2" / "tokenizer.json.gz")
    source, target = spell(source_tokenizer), spell(target_tokenizer)
    rows = [*vocabulary_rows("NeoX-20B", source, target)]
    if large is not None:
        rows += vocabulary_rows(large.stem, spell(load_tokenizer(large)), target, plain=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows.append(dtw_row(source_tokenizer, target_tokenizer, source, target))
    rows.append(offset_row(source, target))
    lines = ["| what | ours | plain | ratio | plain is |", "|---|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    note = (
        f"\nPeak memory of the process after the vocabulary maps, Python and libraries included: {peak:.0f} MB. "
        "Distances, ties and paths are equal to the plain versions' (checked in the run). "
        "Compilation, once per machine and then cached, is not counted.\n"
    )
    return "## Alignment\n\n" + "\n".join(lines) + "\n" + note


def vocabulary_rows(name: str, source: Spelling, target: Spelling, *, plain: bool = True) -> list[list[str]]:
    """Return the row of a whole vocabulary map onto the target."""
    known = map_spellings(source, target, "min_ed")
    seconds = best_of(3, lambda: map_spellings(source, target, "min_ed"))
    what = f"min_ed vocabulary map, {name} {len(source):,} to Llama-2 {len(target):,}, {cores()} cores"
    if not plain:
        return [[what, f"{seconds:.2f} s", "", "", ""]]
    offered = [target.text[i] or "" for i in _offered(target) if not target.added[i]]
    wanted = np.flatnonzero(known.distance > 0)
    words = [source.text[i] or "" for i in wanted]
    least = np.empty(len(words), dtype=np.int32)
    ties = np.empty(len(words), dtype=np.int32)

    def work() -> None:
        for start in range(0, len(words), 2048):
            table = cdist(
                words[start : start + 2048], offered, scorer=Levenshtein.distance, dtype=np.uint16, workers=cores()
            )
            least[start : start + 2048] = table.min(axis=1)
            ties[start : start + 2048] = (table == table.min(axis=1, keepdims=True)).sum(axis=1)

    other = best_of(1, work)
    assert (least == known.distance[wanted]).all() and (ties == known.ties[wanted]).all(), "not equal to brute force"
    return [[what, f"{seconds:.2f} s", f"{other:.2f} s", f"{other / seconds:.1f}", "rapidfuzz `cdist`, all pairs"]]


def plain_dtw(source: list[str], target: list[str]) -> list[tuple[int, int]]:
    """Return the path of the same dynamic programme in plain Python."""
    far = float("inf")
    table = [[0.0] + [far] * len(target)]
    for i, s in enumerate(source):
        row = [far]
        for j, t in enumerate(target):
            row.append(Levenshtein.distance(s, t) + min(table[i][j], table[i][j + 1], row[j]))
        table.append(row)
    i, j = len(source) - 1, len(target) - 1
    path = [(i, j)]
    while i or j:
        options = (table[i][j], table[i][j + 1], table[i + 1][j])
        step = options.index(min(options))
        i, j = (i - 1, j - 1) if step == 0 else (i - 1, j) if step == 1 else (i, j - 1)
        path.append((i, j))
    return path[::-1]


def dtw_row(source_tokenizer: object, target_tokenizer: object, source: Spelling, target: Spelling) -> list[str]:
    """Return the row of dtw on one text of 2048 target tokens."""
    text = Path(os.__file__).read_text() + Path(np.__file__).read_text()
    encoded = target_tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)  # type: ignore[attr-defined]
    t_ids = np.array(encoded.ids[:TOKENS], dtype=np.int32)
    cut = text[: encoded.offsets[TOKENS - 1][1]]
    s_ids = np.array(
        source_tokenizer.backend_tokenizer.encode(cut, add_special_tokens=False).ids,  # type: ignore[attr-defined]
        dtype=np.int32,
    )
    pair = Pair(source, target, map_spellings(source, target, "em"))
    vocabularies = pair.encoded
    path, _ = dtw(*vocabularies, s_ids, t_ids)
    seconds = one_core(lambda: best_of(10, lambda: dtw(*vocabularies, s_ids, t_ids)))
    words = [[(v.text[i] or "").replace("▁", "") for i in ids] for v, ids in ((source, s_ids), (target, t_ids))]
    slow: list[list[tuple[int, int]]] = []
    other = one_core(lambda: best_of(1, lambda: slow.append(plain_dtw(words[0], words[1]))))
    assert [tuple(p) for p in path.tolist()] == slow[0], "not equal to the plain programme"
    speeds = [f"{TOKENS / s:,.0f} target tokens/s" for s in (seconds, other)]
    return [
        f"`dtw`, {TOKENS} target tokens, one core",
        *speeds,
        f"{other / seconds:.0f}",
        "plain Python, rapidfuzz costs",
    ]


def offset_row(source: Spelling, target: Spelling) -> list[str]:
    """Return the row of offset alignment with projection of top-10 rows."""
    rng = np.random.default_rng(0)
    vocabulary = map_spellings(source, target, "min_ed").target
    s_ends, t_ends = (np.cumsum(rng.integers(1, 7, ROWS)) for _ in range(2))
    every = np.ones(ROWS, dtype=np.bool_)
    ids = rng.integers(0, len(source), (ROWS, TOP_K)).astype(np.int32)
    rows = -np.sort(rng.exponential(2, (ROWS, TOP_K)), axis=1).astype(np.float32) - np.float32(1)
    gold = rng.integers(0, len(target), ROWS).astype(np.int32)

    def ours(count: int) -> None:
        pick = offset(s_ends[:count], every[:count], t_ends[:count], every[:count])
        project(ids, rows, pick, vocabulary, gold[:count], collisions="sum", tail="keep")

    def plain(count: int) -> None:
        place = {int(end): j for j, end in enumerate(s_ends[:count])}
        for p in range(count):
            found: dict[int, float] = {}
            j = place.get(int(t_ends[p]), -1)
            for index, value in zip(ids[j].tolist(), rows[j].tolist(), strict=True) if j >= 0 else ():
                mapped = int(vocabulary[index])
                if mapped >= 0:
                    found[mapped] = found.get(mapped, 0.0) + float(np.exp(value))
            sorted(found.items(), key=lambda item: -item[1])

    ours(1000)
    seconds = one_core(lambda: best_of(3, lambda: ours(ROWS)))
    few = 20_000
    other = one_core(lambda: best_of(1, lambda: plain(few)))
    mine, theirs = ROWS / seconds, few / other
    speeds = [f"{speed:,.0f} target tokens/s" for speed in (mine, theirs)]
    return ["`offset` with projection, top-10 rows, one core", *speeds, f"{mine / theirs:.0f}", "a dictionary per row"]
