"""The command line: one command per job; it prints and holds no logic. Heavy imports happen inside commands."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fusebench import __version__
from fusebench.data_commands import data, grade
from fusebench.errors import FusebenchError, InputError, suggest
from fusebench.options import (
    DataRoot,
    Json,
    ModelRoot,
    NumberType,
    PerSuite,
    Profile,
    Quiet,
    RecipeName,
    ReportDir,
    RunDir,
    Seed,
    Sets,
    Texts,
    per_suite,
)
from fusebench.show import Screen

app = typer.Typer(
    help="Fuse several causal language models into one, and find out whether it pays off.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"fusebench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


def _load(
    name: str,
    profile: str | None,
    sets: list[str] | None,
    seed: int | None,
    texts: list[Path] | None = None,
) -> tuple[Any, str]:
    from fusebench.recipe import load_recipe

    overrides = list(sets or [])
    if texts:
        files = json.dumps([{"path": str(path)} for path in texts])
        overrides = ["corpus.toy=null", "corpus.hub=null", f"corpus.files={files}", *overrides]
    recipe = load_recipe(name, profile=profile, overrides=overrides, seed=seed)
    return recipe, f"{recipe.name}-{profile}" if profile else recipe.name


def _run_options(
    label: str,
    run_dir: Path | None,
    report_dir: Path | None,
    model_root: Path | None,
    data_root: Path | None,
    screen: Screen,
) -> Any:
    from fusebench.pipeline import Roots, RunOptions

    return RunOptions(
        run=run_dir or Path("runs") / label,
        report=report_dir or Path("reports") / label,
        roots=Roots(model_root, data_root),
        listener=screen.listen,
        announce=screen.announce,
    )


@app.command()
def ablate(
    recipe: RecipeName,
    texts: Texts = None,
    run_dir: RunDir = None,
    report_dir: ReportDir = None,
    sets: Sets = None,
    profile: Profile = None,
    seed: Seed = None,
    model_root: ModelRoot = None,
    data_root: DataRoot = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Build, evaluate, test and report every row of a recipe."""
    loaded, label = _load(recipe, profile, sets, seed, texts)
    with Screen(quiet=quiet or as_json) as screen:
        from fusebench import pipeline

        options = _run_options(label, run_dir, report_dir, model_root, data_root, screen)
        outcome = pipeline.ablate(loaded, options)
    _print_outcome(outcome, as_json)


@app.command()
def fuse(
    recipe: RecipeName,
    out: Annotated[Path, typer.Option("--out", help="Where the Hugging Face folder of the fused model goes.")],
    row: Annotated[
        str | None, typer.Option("--row", help="A row of the recipe; default: the fusion of most sources.")
    ] = None,
    texts: Texts = None,
    run_dir: RunDir = None,
    sets: Sets = None,
    profile: Profile = None,
    seed: Seed = None,
    model_root: ModelRoot = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make one fused model only, without evaluation."""
    loaded, label = _load(recipe, profile, sets, seed, texts)
    with Screen(quiet=quiet or as_json) as screen:
        from fusebench import pipeline

        options = _run_options(label, run_dir, None, model_root, None, screen)
        folder, ran = pipeline.fuse_one(loaded, options, row=row, out=out)
    if as_json:
        typer.echo(json.dumps({"model": str(folder), "stages_run": ran}))
    else:
        typer.echo(f"{folder}")


@app.command("eval")
def evaluate(
    models: Annotated[list[str], typer.Argument(help="Hub ids or Hugging Face folders.", metavar="MODEL...")],
    suites: Annotated[
        list[str],
        typer.Option("--suite", help="A suite (bbh, commonsense, multipl_e, perplexity) or an lm-eval task name."),
    ],
    limit: Annotated[
        PerSuite,
        typer.Option("--limit", help="Items per task, from the start; SUITE=N for one suite.", metavar="[SUITE=]N"),
    ] = None,
    shots: Annotated[
        PerSuite, typer.Option("--shots", help="Few-shot examples; SUITE=N for one suite.", metavar="[SUITE=]N")
    ] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            help="Texts for perplexity: a file, a folder of files, or NAME=either; may be given often.",
            metavar="[NAME=]PATH",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 16,
    max_length: Annotated[int | None, typer.Option("--max-length", min=1, help="Longest input in tokens.")] = None,
    dtype: NumberType = None,
    run_dir: RunDir = None,
    report_dir: Annotated[
        Path | None,
        typer.Option("--report-dir", help="Also write a page and tables there, the paper's numbers beside."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed")] = 42,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Models evaluated at the same time.")] = 1,
    model_root: ModelRoot = None,
    data_root: DataRoot = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Evaluate models on suites; samples are kept, so the same call again costs nothing."""
    from fusebench.recipe import EvaluateSection, SuiteSection

    limits = per_suite("--limit", limit, suites, least=1)
    examples = per_suite("--shots", shots, suites, least=0)
    chosen = [
        SuiteSection(
            name=name,
            limit=limits[name],
            shots=examples[name],
            texts=(texts or None) if name == "perplexity" else None,
        )
        for name in suites
    ]
    section = EvaluateSection(suites=chosen, batch_size=batch_size, max_length=max_length, dtype=dtype)
    with Screen(quiet=quiet or as_json) as screen:
        from fusebench import pipeline

        options = _run_options("eval", run_dir, None, model_root, data_root, screen)
        frame = pipeline.evaluate_models(models, section, options, seed=seed, workers=workers, report=report_dir)
    if as_json:
        typer.echo(frame.to_json(orient="records", indent=1))
    else:
        screen.results(frame)
        if report_dir is not None:
            typer.echo(f"report: {report_dir / 'index.html'}")


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    report_dir: ReportDir = None,
    model_root: ModelRoot = None,
    data_root: DataRoot = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Render the report of a finished run again; nothing else is computed."""
    with Screen(quiet=quiet or as_json) as screen:
        from fusebench import pipeline

        outcome = pipeline.rerender(
            run, report_dir, lambda where: _run_options("", run, where, model_root, data_root, screen)
        )
    _print_outcome(outcome, as_json)


@app.command()
def plan(
    recipe: RecipeName,
    texts: Texts = None,
    run_dir: RunDir = None,
    sets: Sets = None,
    profile: Profile = None,
    seed: Seed = None,
    model_root: ModelRoot = None,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """List every stage of a recipe: finished or to run, and why."""
    loaded, label = _load(recipe, profile, sets, seed, texts)
    screen = Screen(quiet=as_json)
    from fusebench import pipeline

    options = _run_options(label, run_dir, None, model_root, data_root, screen)
    found = pipeline.plan(loaded, options)
    if as_json:
        rows = [
            {"stage": stage.title, "key": stage.key, "cached": fresh.cached, "why": fresh.reason}
            for stage, fresh in found
        ]
        typer.echo(json.dumps(rows, indent=1))
    else:
        screen.plan(found)


@app.command("align")
def align(
    target: Annotated[str, typer.Argument(help="Hub id, folder, or a bare tokenizer.json(.gz).")],
    source: Annotated[str, typer.Argument(help="Hub id, folder, or a bare tokenizer.json(.gz).")],
    texts: Annotated[list[Path] | None, typer.Option("--text", help="A file, aligned as one text.")] = None,
    corpus: Annotated[
        list[Path] | None, typer.Option("--corpus", help="jsonl (.gz, .xz) or parquet, a text per record.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Use so many texts of a corpus.")] = None,
    sequence: Annotated[str, typer.Option("--sequence", help="dtw or offset.")] = "dtw",
    vocabulary: Annotated[str, typer.Option("--vocabulary", help="em or min_ed.")] = "min_ed",
    preset: Annotated[str, typer.Option("--preset", help="paper or reference.")] = "paper",
    html: Annotated[Path | None, typer.Option("--html", help="Write the page here too.")] = None,
    model_root: ModelRoot = None,
    as_json: Json = False,
) -> None:
    """Show how a source's tokens align with a target's: outcomes, what is lost, the worst tokens, a picture."""
    from fusebench.align.doctor import diagnose, read_texts
    from fusebench.align.samples import SAMPLES
    from fusebench.artifacts import atomic_write

    chosen = read_texts([*(texts or []), *(corpus or [])], limit) if texts or corpus else list(SAMPLES)
    found = diagnose(
        target,
        source,
        chosen,
        sequence=_one_of("--sequence", sequence, ("dtw", "offset")),
        vocabulary=_one_of("--vocabulary", vocabulary, ("em", "min_ed")),
        preset=_one_of("--preset", preset, ("paper", "reference")),
        model_root=model_root,
    )
    if html is not None:
        atomic_write(html, found.to_html())
    if as_json:
        typer.echo(found.to_json())
    else:
        Screen(quiet=False).show(found)


@app.command()
def vocabulary(
    target: Annotated[str, typer.Argument(help="Hub id, folder, or a bare tokenizer.json(.gz).")],
    source: Annotated[str, typer.Argument(help="Hub id, folder, or a bare tokenizer.json(.gz).")],
    method: Annotated[str, typer.Option("--vocabulary", help="em or min_ed.")] = "min_ed",
    preset: Annotated[str, typer.Option("--preset", help="paper or reference.")] = "paper",
    model_root: ModelRoot = None,
    as_json: Json = False,
) -> None:
    """Map every source token to a target token: its spelling, the edit distance, the number of ties."""
    from fusebench.align.doctor import vocabulary_report

    found = vocabulary_report(
        target,
        source,
        vocabulary=_one_of("--vocabulary", method, ("em", "min_ed")),
        preset=_one_of("--preset", preset, ("paper", "reference")),
        model_root=model_root,
    )
    if as_json:
        typer.echo(found.to_json())
    else:
        Screen(quiet=False).show(found)


def _one_of(option: str, value: str, known: tuple[str, ...]) -> Any:
    if value not in known:
        raise InputError(
            f"`{option} {value}` is not known", why="it takes one of a few words", fix=suggest(value, known)
        )
    return value


app.command()(grade)
app.add_typer(data, name="data")


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what this machine has: packages, devices, sandbox, toolchains, room on the disk."""
    from fusebench.pipeline.doctor import examine

    findings = examine()
    if as_json:
        typer.echo(json.dumps([vars(finding) for finding in findings], indent=1))
    else:
        Screen(quiet=False).findings(findings)


def _print_outcome(outcome: Any, as_json: bool) -> None:
    if as_json:
        fields = {**vars(outcome), "page": str(outcome.page)}
        typer.echo(json.dumps(fields, indent=1))
        return
    typer.echo(outcome.headline.rstrip())
    for note in outcome.notes:
        typer.echo(f"note: {note}")
    ran = f"{outcome.ran} of {outcome.stages} stages ran" if outcome.ran else "no stage had to run"
    typer.echo(f"\n{ran}, {outcome.seconds:.0f} s\nreport: {outcome.page}")


def main() -> None:
    """Run the command line; an error that a person can mend is one message and its exit code."""
    # transformers and datasets ask the hub even for local folders unless told that there is none.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # its retries say less than our one error
    try:
        app()
    except FusebenchError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("stopped; what was finished is kept, the same command goes on from there", err=True)
        sys.exit(130)
