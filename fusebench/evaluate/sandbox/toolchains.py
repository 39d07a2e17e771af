"""The packages that bring the toolchains; `make toolchains` reads them from here.

`python -m fusebench.evaluate.sandbox.toolchains` prints the Debian packages of all languages on one line, with
`--missing` those of the languages that cannot be run here.
"""

import sys

from fusebench.evaluate.sandbox.language import lacks
from fusebench.evaluate.sandbox.table import LANGUAGES


def packages(*, missing_only: bool = False) -> list[str]:
    """Return the Debian packages of all languages, each once, in the table's order.

    Args:
        missing_only: only of languages whose toolchain is not whole here.
    """
    wanted = [language for language in LANGUAGES.values() if not missing_only or lacks(language) is not None]
    return list(dict.fromkeys(package for language in wanted for package in language.packages))


if __name__ == "__main__":
    print(" ".join(packages(missing_only="--missing" in sys.argv)))
