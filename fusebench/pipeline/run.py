"""The jobs behind the commands ablate, fuse, report and plan."""

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fusebench.artifacts import Candidate, atomic_write, read_samples
from fusebench.errors import ArtifactError, RecipeError, suggest
from fusebench.pipeline.executor import Event, execute, lock, log_to_file
from fusebench.pipeline.functions import copy_report
from fusebench.pipeline.stage import Freshness, Stage, find_folder, freshness, in_order
from fusebench.pipeline.stages import Roots
from fusebench.pipeline.table import Builder, Row, Table, build_table
from fusebench.recipe import Recipe, recipe_json

Listener = Callable[[Event], None]


@dataclass(frozen=True)
class RunOptions:
    """Where a run lies, what it may use, and who listens."""

    run: Path
    report: Path
    roots: Roots = field(default_factory=Roots)
    listener: Listener = lambda event: None
    announce: Callable[[int, int], None] = lambda to_run, total: None


@dataclass(frozen=True)
class Outcome:
    """What a command made.

    Args:
        stages: stages the run consists of.
        ran: stages that were executed this time.
        seconds: wall time of the command.
        page: the report's page.
        headline: the headline table as plain text.
        notes: things a person should know, such as a suite that was unavailable.
    """

    stages: int
    ran: int
    seconds: float
    page: Path
    headline: str
    notes: list[str]


def ablate(recipe: Recipe, options: RunOptions) -> Outcome:
    """Return the outcome of a whole ablation: every row built, evaluated, tested and reported.

    Raises:
        FusebenchError: bad input, found before anything is computed where that is possible.
    """
    started = time.monotonic()
    table = _prepare(recipe, options)
    ran = run_stages([table.report], recipe.workers, options)
    page = copy_report(find_folder(table.report, options.run), options.report)
    return _outcome(table, options, ran, started, page)


def plan(recipe: Recipe, options: RunOptions) -> list[tuple[Stage, Freshness]]:
    """Return every stage of a recipe in running order, with whether it has to run and why."""
    stages = in_order([build_table(recipe, replace(options.roots, download=False)).report])
    found: list[tuple[Stage, Freshness]] = []
    stale: set[str] = set()
    for stage in stages:
        fresh = freshness(stage, options.run)
        if not fresh.cached:
            stale.add(stage.key)
        elif any(parent.key in stale for parent in stage.inputs.values()):
            fresh = Freshness(True, "kept: the input to be made again has the same content address", fresh.seconds)
        found.append((stage, fresh))
    return found


def fuse_one(recipe: Recipe, options: RunOptions, *, row: str | None, out: Path) -> tuple[Path, int]:
    """Return the folder of one fused model and how many stages ran for it.

    Args:
        recipe: its first experiment's target and sources are used.
        options: see `RunOptions`.
        row: a row of the recipe; None takes the first fusion row with the most sources.
        out: where the Hugging Face folder is copied to.

    Raises:
        RecipeError: no such row, or the recipe has no fusion row.
        ArtifactError: `out` holds something already.
    """
    builder = Builder(recipe, options.roots)
    pairs = [(e, r) for e in recipe.experiments for r in e.rows]
    fusions = [(e, r) for e, r in pairs if r.method == "fusion"]
    if row is not None:
        chosen = [(e, r) for e, r in pairs if r.name == row]
        if not chosen:
            raise RecipeError(
                f"no row `{row}`", why="the recipe lacks it", fix=suggest(row, {r.name for _, r in pairs})
            )
    elif fusions:
        most = max(len(r.sources or e.sources) for e, r in fusions)
        chosen = [(e, r) for e, r in fusions if len(r.sources or e.sources) == most]
    else:
        raise RecipeError("the recipe has no fusion row", why="there is nothing to fuse", fix="add one to `rows`")
    _check_out(out)
    log_to_file(options.run)
    method = builder.row(*chosen[0]).method
    ran = run_stages([method], recipe.workers, options)
    candidate = Candidate.load(find_folder(method, options.run))
    if candidate.kind != "model" or not Path(candidate.models[0]).is_dir():
        raise RecipeError(
            f"row `{chosen[0][1].name}` is no single model",
            why=f"its candidate is of kind {candidate.kind}",
            fix="choose another row with --row",
        )
    try:
        shutil.copytree(candidate.models[0], out, dirs_exist_ok=True)
    except OSError as error:
        raise ArtifactError(f"cannot write `{out}`", why=str(error), fix="choose another folder with --out") from error
    return out, ran


def _check_out(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ArtifactError(f"`{out}` is not empty", why="a model would be mixed into it", fix="choose another --out")


def rerender(run: Path, report: Path | None, options: Callable[[Path], RunOptions]) -> Outcome:
    """Return the outcome of rendering a finished run again; nothing else is computed.

    Raises:
        ArtifactError: the folder is no run, or its rows are not finished.
    """
    started = time.monotonic()
    path = run / "recipe.json"
    if not path.is_file():
        raise ArtifactError(f"`{run}` is not the folder of a run", why="it has no recipe.json", fix="name a run folder")
    saved = json.loads(path.read_text())
    recipe = Recipe.model_validate(saved["recipe"])
    chosen = options(report or Path(saved["report"]))
    table = build_table(recipe, chosen.roots)
    missing = [s.title for s in in_order(table.report.inputs.values()) if not freshness(s, run).cached]
    if missing:
        raise ArtifactError(
            f"`{run}` lacks {len(missing)} stages, the first is {missing[0]}",
            why="a report needs every row",
            fix="finish it with `fusebench ablate`",
        )
    with lock(run):
        shutil.rmtree(table.report.folder(run), ignore_errors=True)
    ran = run_stages([table.report], recipe.workers, chosen)
    page = copy_report(find_folder(table.report, run), chosen.report)
    return _outcome(table, chosen, ran, started, page)


def _prepare(recipe: Recipe, options: RunOptions) -> Table:
    """Return the table of a recipe once everything that can be checked before computing was checked."""
    for folder in (options.run, options.report):
        _check_writable(folder)
    log_to_file(options.run)
    table = build_table(recipe, options.roots)
    saved = {"recipe": recipe_json(recipe), "report": str(options.report.resolve())}
    atomic_write(options.run / "recipe.json", json.dumps(saved, indent=1))
    return table


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = None if os.access(folder, os.W_OK) else "permission denied"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason is not None:
        raise ArtifactError(
            f"cannot write to `{folder}`",
            why=f"the system says: {reason.lower()}",
            fix="choose another folder with --run-dir or --report-dir",
        )


def run_stages(wanted: list[Stage], workers: int, options: RunOptions) -> int:
    """Run what is not fresh of the wanted stages and all they stand on; return how many ran."""
    stages = in_order(wanted)
    to_run = sum(not freshness(stage, options.run).cached for stage in stages)
    options.announce(to_run, len(stages))
    return execute(wanted, options.run, workers=workers, listener=options.listener)


def _outcome(table: Table, options: RunOptions, ran: int, started: float, page: Path) -> Outcome:
    folder = find_folder(table.report, options.run)
    headline = (folder / "headline.txt").read_text()
    return Outcome(
        stages=len(in_order([table.report])),
        ran=ran,
        seconds=time.monotonic() - started,
        page=page,
        headline=headline,
        notes=_unavailable(table.rows, options.run),
    )


def _unavailable(rows: Sequence[Row], run: Path) -> list[str]:
    notes: set[str] = set()
    for row in rows:
        frame = read_samples(find_folder(row.evaluations[0], run) / "samples.parquet")
        gone = frame[frame["status"] == "unavailable"]
        for (suite, task), group in gone.groupby(["suite", "task"]):
            notes.add(f"{suite}/{task} was unavailable: {group['output'].iloc[0]}")
    return sorted(notes)
