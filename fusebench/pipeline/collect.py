"""From the folders of a run to what the report needs: rows, samples, choices, coverage, costs, hashes."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from fusebench.align.summary import Summary
from fusebench.artifacts import (
    OUTCOMES,
    Candidate,
    FusionChoice,
    ProbeRecord,
    RowInfo,
    SpanTable,
    read_manifest,
    read_samples,
)
from fusebench.artifacts.manifest import versions
from fusebench.errors import ArtifactError
from fusebench.evaluate import SuiteRun, find_suite
from fusebench.evaluate.protocol import SuiteProtocol, protocol_of
from fusebench.recipe import EvaluateSection, ExperimentSection, Recipe, RowSection, resolve
from fusebench.report import RunReport

COVERAGE = ["experiment", "row", "source", "outcome", "share"]


def collect(inputs: Mapping[str, Path], params: Mapping[str, Any], seed: int) -> RunReport:
    """Return everything the report shows, read from the finished folders of a run."""
    recipe = Recipe.model_validate(params["recipe"])
    pairs = [(e, row) for e in recipe.experiments for row in e.rows]
    infos: list[RowInfo] = []
    frames: list[pd.DataFrame] = []
    choices: dict[tuple[str, str], FusionChoice] = {}
    coverage: list[dict[str, object]] = []
    alignments: dict[tuple[str, str, str], Summary] = {}
    for number, (experiment, row) in enumerate(pairs):
        candidate = Candidate.load(inputs[f"method:{number}"])
        place = (experiment.name, row.name)
        info = _info(recipe, experiment, row, candidate, inputs, number)
        infos.append(info)
        frames += _samples(inputs, number, place, candidate)
        if f"fuse:{number}" in inputs:
            choices[place] = FusionChoice.load(inputs[f"fuse:{number}"])
        prefix = f"align:{number}:"
        for role, folder in inputs.items():
            if role.startswith(prefix):
                source = role.removeprefix(prefix)
                coverage += _coverage(place, source, folder)
                alignments[place[0], place[1], source] = Summary.load(folder)
    samples = pd.concat(frames, ignore_index=True)
    samples = pd.concat([samples, *_curve_ends(samples, infos)], ignore_index=True)
    return RunReport(
        name=recipe.name,
        title=recipe.title or recipe.name,
        description=recipe.description,
        seed=seed,
        preset=recipe.preset,
        rows=infos,
        samples=samples,
        choices=choices,
        coverage=pd.DataFrame(coverage, columns=COVERAGE),
        recipe_yaml=yaml.safe_dump(params["recipe"], sort_keys=False, allow_unicode=True),
        versions=versions(),
        hashes={_manifest(folder).stage: _manifest(folder).key for folder in inputs.values()},
        suites=_titles(recipe.evaluate),
        confidence=recipe.stats.confidence,
        bootstrap=recipe.stats.bootstrap,
        correction=recipe.stats.correction,
        alignments=alignments,
        experiment_titles={e.name: e.title or e.name for e in recipe.experiments},
        seconds=_all_seconds(inputs),
        protocols=_protocols(recipe.evaluate),
        probes=_probes(folder for role, folder in inputs.items() if role.startswith("evaluate:")),
    )


def models_report(
    section: EvaluateSection,
    samples: pd.DataFrame,
    evaluations: Mapping[str, Path],
    candidates: Mapping[str, Path],
    *,
    seed: int,
) -> RunReport:
    """Return the report on models that were evaluated without a recipe: rows of the role `model`.

    Args:
        section: the suites.
        samples: of all models; `row` is the model's name.
        evaluations, candidates: by name, the folder of its evaluation and of the model itself.
        seed: of sampled generation and of all resampling.
    """
    (experiment,) = samples["experiment"].unique()
    rows = [
        RowInfo(
            experiment,
            name,
            "model",
            "model",
            model=name,
            parameters=Candidate.load(candidates[name]).parameters,
            evaluate_seconds=_manifest(folder).seconds,
        )
        for name, folder in evaluations.items()
    ]
    return RunReport(
        name="eval",
        title=", ".join(evaluations),
        description="",
        seed=seed,
        preset="",
        rows=rows,
        samples=samples,
        choices={},
        coverage=pd.DataFrame(columns=COVERAGE),
        recipe_yaml=yaml.safe_dump({"evaluate": section.model_dump(mode="json")}, sort_keys=False),
        versions=versions(),
        hashes={_manifest(folder).stage: _manifest(folder).key for folder in evaluations.values()},
        suites=_titles(section),
        seconds=sum(row.evaluate_seconds for row in rows),
        protocols=_protocols(section),
        probes=_probes(evaluations.values()),
    )


def _manifest(folder: Path) -> Any:
    manifest = read_manifest(folder)
    if manifest is None:
        raise ArtifactError(f"`{folder}` is not finished", why="it has no manifest", fix="run `fusebench ablate` again")
    return manifest


def _suites(section: EvaluateSection) -> list[SuiteRun]:
    return [SuiteRun(find_suite(s.name, s.tasks), s.limit, s.shots) for s in section.suites]


def _titles(section: EvaluateSection) -> list[tuple[str, str, str]]:
    return [(run.suite.name, run.suite.family, run.suite.title) for run in _suites(section)]


def _protocols(section: EvaluateSection) -> dict[str, SuiteProtocol]:
    return {run.suite.name: protocol_of(run, max_length=section.max_length) for run in _suites(section)}


def _probes(folders: Iterable[Path]) -> list[ProbeRecord]:
    """Return each record of the attacks on the sandbox once; runs made before they were kept have none."""
    found = [record for folder in folders if (record := ProbeRecord.load(folder)) is not None]
    return sorted(dict.fromkeys(found), key=lambda record: record.created)


def _role(experiment: ExperimentSection, row: RowSection) -> str:
    if row.method != "model":
        return row.method
    if row.model == experiment.target:
        return "target"
    return "source" if row.model in experiment.sources else "teacher"


def _info(
    recipe: Recipe,
    experiment: ExperimentSection,
    row: RowSection,
    candidate: Candidate,
    inputs: Mapping[str, Path],
    number: int,
) -> RowInfo:
    align, fuse, train = resolve(recipe, row)
    fused = f"fuse:{number}" in inputs
    aligned = any(role.startswith(f"align:{number}:") for role in inputs)
    uses_sources = row.method not in ("model", "clm", "kd")
    upstream = [
        folder for role, folder in inputs.items() if role == f"fuse:{number}" or role.startswith(f"align:{number}:")
    ]
    # What a model that is taken as it is cost is what its training in this run cost.
    paid = Candidate.load(inputs[f"model:{number}"]) if f"model:{number}" in inputs else candidate
    return RowInfo(
        experiment=experiment.name,
        name=row.name,
        method=row.method,
        role=_role(experiment, row),
        model=row.model or "",
        sources=tuple(row.sources if row.sources is not None else experiment.sources) if uses_sources else (),
        vocabulary=align.vocabulary if aligned else "",
        sequence=align.sequence if aligned else "",
        rule=fuse.rule if fused else "",
        criterion=fuse.criterion if fused else "",
        clm_weight=train.clm_weight if aligned else (1.0 if candidate.batches else float("nan")),
        parameters=candidate.parameters,
        tokens=paid.tokens,
        seconds=paid.seconds,
        upstream_seconds=sum((_upstream(folder, set()) for folder in upstream), 0.0),
        evaluate_seconds=_manifest(inputs[f"evaluate:{number}:0"]).seconds,
        batches=candidate.batches,
    )


def _upstream(folder: Path, seen: set[Path]) -> float:
    """Return the seconds of a folder and of the capture it stands on, each once."""
    run = folder.parent.parent
    total = 0.0
    pending = [folder]
    while pending:
        at = pending.pop()
        if at in seen:
            continue
        seen.add(at)
        manifest = _manifest(at)
        total += manifest.seconds
        for key in manifest.parents.values():
            for kind in ("teach", "align"):
                pending += sorted((run / kind).glob(f"*{key[:10]}"))
    return total


def _all_seconds(inputs: Mapping[str, Path]) -> float:
    run = next(iter(inputs.values())).parent.parent
    folders = [path.parent for path in run.glob("*/*/manifest.json")]
    return sum(_manifest(folder).seconds for folder in folders if folder.parent.name != "report")


def _samples(
    inputs: Mapping[str, Path], number: int, place: tuple[str, str], candidate: Candidate
) -> list[pd.DataFrame]:
    found = []
    prefix = f"evaluate:{number}:"
    for role, folder in inputs.items():
        if role.startswith(prefix):
            frame = read_samples(folder / "samples.parquet")
            frame["experiment"], frame["row"] = place
            found.append(frame)
    return found


def _curve_ends(samples: pd.DataFrame, infos: list[RowInfo]) -> list[pd.DataFrame]:
    """Return the efficiency curve's ends: the untrained target at step 0, the final model at its last step."""
    ends = []
    for info in infos:
        own = samples[(samples["experiment"] == info.experiment) & (samples["row"] == info.name)]
        on_the_way = own[own["step"] >= 0]
        if on_the_way.empty:
            continue
        wanted = set(on_the_way["task"].unique())
        final = own[(own["step"] == -1) & own["task"].isin(wanted)].copy()
        gap = np.diff(sorted(on_the_way["step"].unique())) if on_the_way["step"].nunique() > 1 else [1]
        final["step"] = int(on_the_way["step"].max() + gap[-1])
        ends.append(final)
        target = next((i for i in infos if i.experiment == info.experiment and i.role == "target"), None)
        if target is not None:
            start = samples[
                (samples["experiment"] == info.experiment)
                & (samples["row"] == target.name)
                & (samples["step"] == -1)
                & samples["task"].isin(wanted)
            ].copy()
            start["row"], start["step"], start["tokens"] = info.name, 0, 0
            ends.append(start)
    return ends


def _coverage(place: tuple[str, str], source: str, folder: Path) -> list[dict[str, object]]:
    spans = SpanTable.load(folder)
    counts = np.bincount(spans.outcomes, minlength=len(OUTCOMES))
    total = max(1, int(counts.sum()))
    return [
        {"experiment": place[0], "row": place[1], "source": source, "outcome": outcome, "share": count / total}
        for outcome, count in zip(OUTCOMES, counts.tolist(), strict=True)
    ]
