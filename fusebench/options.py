"""Options that several commands share, and how their values are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from fusebench.errors import InputError, suggest

RunDir = Annotated[
    Path | None, typer.Option("--run-dir", help="Where stages are kept. Default: runs/NAME.", show_default=False)
]
ReportDir = Annotated[
    Path | None,
    typer.Option("--report-dir", help="Where the report is put. Default: reports/NAME.", show_default=False),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one key of the recipe: dotted.key=value. May be given often.", metavar="K=V"),
]
Profile = Annotated[str | None, typer.Option("--profile", help="A profile of the recipe, such as smoke.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Use this seed instead of the recipe's.")]
ModelRoot = Annotated[
    Path | None,
    typer.Option(
        "--model-root",
        envvar="FUSEBENCH_MODELS",
        help="A folder of models laid out by hub id, looked up before the hub.",
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", envvar="FUSEBENCH_DATA", help="A folder of evaluation data, instead of the hub."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the result alone.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON; progress goes to the log alone.")]
RecipeName = Annotated[
    str, typer.Argument(help="A built-in recipe (quickstart, pocket, paper, domains) or a YAML file.")
]
Texts = Annotated[
    list[Path] | None,
    typer.Option("--corpus", help="Train on this text file instead of the recipe's corpus; may be given often."),
]
PerSuite = list[str] | None
NumberType = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"] | None,
    typer.Option("--dtype", help="Number type of the models; auto is as saved. Default: float32 on a CPU, else auto."),
]


def per_suite(option: str, given: Sequence[str] | None, suites: Sequence[str], *, least: int) -> dict[str, int | None]:
    """Return a number for each suite, from values `N` (all suites) and `SUITE=N` (one of them, which goes before).

    Raises:
        InputError: a value is no whole number of at least `least`, or names a suite that is not evaluated.
    """
    everywhere: int | None = None
    found: dict[str, int] = {}
    for value in given or ():
        name, _, number = value.rpartition("=")
        if not number.isdecimal() or int(number) < least:
            raise InputError(
                f"`{option} {value}`",
                why=f"a whole number of at least {least} is needed",
                fix=f"write `{option} 10`, or `{option} SUITE=10` for one suite",
            )
        if not name:
            everywhere = int(number)
        elif name not in suites:
            raise InputError(
                f"`{option} {value}`", why=f"suite `{name}` is not evaluated", fix=suggest(name, list(suites))
            )
        else:
            found[name] = int(number)
    return {suite: found.get(suite, everywhere) for suite in suites}
