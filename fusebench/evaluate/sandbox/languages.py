"""Finding a language, and whether its programs can be run here."""

from fusebench.errors import DataError, suggest
from fusebench.evaluate.sandbox.jail import available
from fusebench.evaluate.sandbox.language import Language, lacks
from fusebench.evaluate.sandbox.table import LANGUAGES

_OTHER_NAMES = {"c++": "cpp", "go_test.go": "go"}
"""How the MultiPL-E data set and people write some of them."""


def find_language(name: str) -> Language:
    """Return a language by its name or MultiPL-E's short name.

    Raises:
        DataError: there is no such language.
    """
    wanted = _OTHER_NAMES.get(name.lower(), name.lower())
    for language in LANGUAGES.values():
        if wanted in (language.name, language.code):
            return language
    raise DataError(
        f"unknown programming language `{name}`", why="no runner has that name", fix=suggest(name, LANGUAGES)
    )


def missing(name: str) -> str | None:
    """Return None where programs of the language can be run, else what is missing and the package that brings it."""
    language = find_language(name)
    reason = available()
    return reason if reason is not None else lacks(language)
