"""The job behind the command eval: models of the hub or of folders, on suites, without a recipe."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fusebench.artifacts import read_samples
from fusebench.errors import UnavailableError
from fusebench.pipeline.executor import log_to_file
from fusebench.pipeline.run import RunOptions, run_stages
from fusebench.pipeline.scoring import evaluation
from fusebench.pipeline.stage import Stage, find_folder
from fusebench.pipeline.stages import model_stages
from fusebench.recipe import EvaluateSection


def evaluate_models(
    models: Sequence[str],
    section: EvaluateSection,
    options: RunOptions,
    *,
    seed: int,
    workers: int,
    report: Path | None = None,
) -> pd.DataFrame:
    """Return result rows (as in `results.jsonl`, with titles) of models of the hub or of folders on suites.

    Texts of one name make one row of the suite perplexity. Where `report` is given, that folder gets a page and tables,
    the paper's numbers beside.

    Raises:
        UnavailableError: every suite asked for needs a sandbox and there is none.
        DataError: an unknown suite, or perplexity without texts.
        ModelError: a model that is not there or cannot be used.
    """
    from fusebench.corpus.models import locate, model_hash
    from fusebench.evaluate.suites import find_suite
    from fusebench.pipeline.collect import models_report
    from fusebench.report import render, with_titles
    from fusebench.stats import summarise

    found = [find_suite(s.name, s.tasks) for s in section.suites]
    if found and all(suite.kind == "program" for suite in found):
        _require_sandbox(found[0].name)
    stages: dict[str, Stage] = {}
    for name, given in zip(_names(models), models, strict=True):
        at_hand = Path(given).exists() or given.startswith((".", "/"))
        ref = locate(path=given) if at_hand else locate(hub=given, model_root=options.roots.models)
        model, _ = model_stages(ref, model_hash(ref), name)
        stages[name] = evaluation(name, model, section, None, roots=options.roots, seed=seed)
    log_to_file(options.run)
    run_stages(list(stages.values()), workers, options)
    frames = []
    for name, stage in stages.items():
        frame = read_samples(find_folder(stage, options.run) / "samples.parquet")
        frames.append(frame.assign(experiment="eval", row=name))
    samples = pd.concat(frames, ignore_index=True)
    if report is not None:
        folders = {name: find_folder(stage, options.run) for name, stage in stages.items()}
        candidates = {name: find_folder(stage.inputs["candidate"], options.run) for name, stage in stages.items()}
        render(models_report(section, samples, folders, candidates, seed=seed), report)
    return with_titles(summarise(samples))


def _names(models: Sequence[str]) -> list[str]:
    """Return one name a model: its folder's, with a number where two would be alike."""
    names = [Path(model).name or model for model in models]
    return [name if names.count(name) == 1 else f"{name} {n + 1}" for n, name in enumerate(names)]


def _require_sandbox(suite: str) -> None:
    from fusebench.evaluate.sandbox import unavailable_reason

    reason = unavailable_reason()
    if reason is not None:
        raise UnavailableError(
            f"suite `{suite}` cannot be scored here",
            why=f"generated programs run only in a sandbox, and {reason}",
            fix="install bubblewrap (or podman): `sudo apt-get install bubblewrap`; `fusebench doctor` says more",
        )
