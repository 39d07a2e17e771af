"""The error tree, and the exit code of each branch.

    Exception
    └── FusebenchError            a person can mend it: one message, no traceback
        └── InputError            exit 2: what was given is wrong
            ├── RecipeError       the recipe: unknown key, wrong type, impossible combination
            ├── ModelError        a model folder or hub id cannot be used
            ├── DataError         a corpus, a task or an evaluation file cannot be used
            ├── ArtifactError     a folder of a run is damaged, of another type, or cannot be written
            └── UnavailableError  this machine lacks something (sandbox, toolchain, GPU)

Our own mistakes stay `AssertionError` and keep their traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FusebenchError(Exception):
    """An error a person can mend; its text is `what`, then why, then the fix.

    Args:
        what: names the thing that is wrong, with its value.
        why: the reason, one sentence.
        fix: what to do about it, one sentence.
    """

    exit_code = 1

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.fix = what, why, fix

    def __str__(self) -> str:
        lines = [self.what]
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling; workers send errors to their parent.
        return (_rebuild, (type(self), self.what, self.why, self.fix))


def _rebuild(kind: type[FusebenchError], what: str, why: str, fix: str) -> FusebenchError:
    return kind(what, why=why, fix=fix)


class InputError(FusebenchError):
    """What the person gave is wrong."""

    exit_code = 2


class RecipeError(InputError):
    """The recipe is wrong: an unknown key, a wrong type, an impossible combination."""


class ModelError(InputError):
    """A model folder or hub id cannot be used."""


class DataError(InputError):
    """A corpus, a task or an evaluation file cannot be used."""


class ArtifactError(InputError):
    """A folder of a run is damaged, holds another type, or cannot be written."""


class UnavailableError(InputError):
    """This machine lacks something that the work needs."""


def suggest(word: str, known: Iterable[str]) -> str:
    """Return `did you mean ...?` for the known word nearest to `word`, else the list of known words."""
    options = sorted(known)
    near = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(options)}"
