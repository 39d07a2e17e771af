"""`python -m bench`: measure everything and write docs/benchmarks.md."""

import argparse
import platform
import sys
from datetime import date
from pathlib import Path

import numba
import numpy as np
import rapidfuzz

from bench import alignment, evaluation

ROOT = Path(__file__).resolve().parents[1]


def machine() -> str:
    """Return the machine in one line."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    cpu = names[0] if info.exists() and names else platform.processor()
    return (
        f"{cpu}, {alignment.cores()} cores given, {platform.system()}, Python {platform.python_version()}, "
        f"numpy {np.__version__}, numba {numba.__version__}, rapidfuzz {rapidfuzz.__version__}"
    )


def main() -> None:
    """Run every section and write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--tokenizers", type=Path, default=ROOT.parent / "shared" / "tokenizers", metavar="DIR")
    parser.add_argument(
        "--large", type=Path, metavar="FILE", help="a tokenizer.json of about 150,000 tokens, as source"
    )
    parser.add_argument("--model", type=Path, metavar="DIR", help="a model for evaluation, instead of random weights")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks.md")
    given = parser.parse_args()
    if not (given.tokenizers / "llama2").is_dir():
        sys.exit(f"no tokenizers at `{given.tokenizers}`: give --tokenizers DIR with llama2/ and neox20b/")
    parts = [alignment.section(given.tokenizers, given.large), evaluation.section(given.tokenizers, given.model)]
    head = (
        "# Benchmarks\n\n"
        f"Written by `make bench` on {date.today().isoformat()}. Machine: {machine()}.\n"
        "Every row is measured in the same run; ratios compare with the plain alternative beside it.\n"
    )
    given.out.write_text(head + "\n" + "\n".join(parts))
    print(given.out.read_text())


main()
