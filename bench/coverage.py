"""`python -m bench.coverage NAME=TOKENIZER...`: how well sources of many families align with one target.

Prints a Markdown table: exact and mapped vocabulary, and the share of target positions with a source row
under `dtw` (reference and paper preset) and `offset`, on texts of several kinds.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from fusebench.align import Pair, link, spell
from fusebench.align.doctor import plain_tokens, read_texts
from fusebench.align.vocabulary import map_spellings
from fusebench.artifacts.alignment import WITH_ROW
from fusebench.corpus.models import load_tokenizer

HARD = (
    "知识融合的目标是将多个预训练模型的能力结合起来。",
    "Кошка спит на окне. 🙂🚀 Zwölf Boxkämpfer jagen Viktor.",
    "a\0b \0",
    "ab猫c" * 8500,
    "",
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.coverage", description=__doc__)
    parser.add_argument("target", metavar="TARGET=TOKENIZER")
    parser.add_argument("sources", nargs="+", metavar="NAME=TOKENIZER")
    parser.add_argument("--text", type=Path, action="append", required=True, help="text file; jsonl by record")
    parser.add_argument("--limit", type=int, default=40, help="records of each file")
    parser.add_argument("--characters", type=int, default=1500, help="characters of each record")
    given = parser.parse_args()
    texts = [text[: given.characters] for text in read_texts(given.text, given.limit)]
    target_name, target_path = given.target.split("=", 1)
    tokenizer = load_tokenizer(target_path)
    target, tokens = spell(tokenizer), plain_tokens(texts, tokenizer)
    print(f"Target {target_name}, {len(tokens.ids):,} positions of {len(texts)} texts.\n")
    print(
        "| source | family | ids | exact ids | map | dtw, reference, em / min_ed | dtw, paper, em / min_ed | offset |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for entry in given.sources:
        name, path = entry.split("=", 1)
        other = load_tokenizer(path)
        source, own = spell(other), plain_tokens(texts, other)
        start = time.perf_counter()
        known = map_spellings(source, target, "min_ed")
        seconds = time.perf_counter() - start
        cells = []
        for spelling, ties in (("raw", "first"), ("text", "prefix")):
            shares = []
            for method in ("em", "min_ed"):
                vocabulary = map_spellings(source, target, method, ties=ties, spelling=spelling)  # type: ignore[arg-type]
                found = link(Pair(source, target, vocabulary, spelling), own, tokens, "dtw")  # type: ignore[arg-type]
                shares.append(f"{np.isin(found.spans.outcomes, WITH_ROW).mean():.1%}")
            cells.append(" / ".join(shares))
        pair = Pair(source, target, known)
        offset = np.isin(link(pair, own, tokens, "offset").spans.outcomes, WITH_ROW).mean()
        for sequence in ("dtw", "offset"):  # texts that break things: no crash is what is tried here
            link(pair, plain_tokens(HARD, other), plain_tokens(HARD, tokenizer), sequence)  # type: ignore[arg-type]
        exact = (known.distance == 0).sum() / max(1, len(source))
        row = [name, source.family, f"{len(source):,}", f"{exact:.1%}", f"{seconds:.1f} s", *cells, f"{offset:.1%}"]
        print(f"| {' | '.join(row)} |", flush=True)


main()
