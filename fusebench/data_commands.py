"""Commands on data alone, without a model: programs that are graded, folders of evaluation data."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fusebench.options import Json, Quiet
from fusebench.show import Screen

data = typer.Typer(no_args_is_help=True, help="Folders of evaluation data, for machines without a hub.")


def grade(
    samples: Annotated[Path, typer.Argument(help="A jsonl file: language, prompt, completion, tests (or program).")],
    out: Annotated[Path, typer.Option("--out", help="Each line again, with status, exit code and output.")],
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Score programs from anywhere in the sandbox."""
    from fusebench.evaluate.grade import grade as grade_file

    with Screen(quiet=quiet or as_json) as screen:
        counts = grade_file(samples, out, progress=screen.progress("programs"))
    if as_json:
        typer.echo(json.dumps(counts, indent=1))
    else:
        typer.echo("\n".join(f"{status}: {count}" for status, count in counts.items()))


@data.command("check")
def data_check(
    folder: Annotated[Path, typer.Argument(help="A folder of evaluation data.")], as_json: Json = False
) -> None:
    """Say what a folder holds, against what each suite should have; exit code 1 where something is missing."""
    from fusebench.evaluate.data_check import check_data

    _print_data(check_data(folder), as_json)


@data.command("pull")
def data_pull(
    to: Annotated[Path, typer.Option("--to", help="The folder to fill.")], quiet: Quiet = False, as_json: Json = False
) -> None:
    """Fill a folder with the evaluation data of all suites from the hub."""
    from fusebench.evaluate.data_check import pull_data

    with Screen(quiet=quiet or as_json) as screen:
        found = pull_data(to, progress=screen.progress("files"))
    _print_data(found, as_json)


def _print_data(found: list[Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([vars(finding) for finding in found], indent=1))
    else:
        Screen(quiet=False).data(found)
    if any(finding.state != "ok" for finding in found):
        raise typer.Exit(1)
