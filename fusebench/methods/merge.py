"""Several models of one architecture merged into one by their weights alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusebench.artifacts import Candidate
from fusebench.errors import ModelError, RecipeError, UnavailableError, suggest
from fusebench.methods._alike import require_same_architecture, require_same_tokenizer, require_two
from fusebench.methods.registry import MethodInputs, method

KINDS = {
    "linear": False,
    "slerp": True,
    "ties": True,
    "dare_linear": True,
    "dare_ties": True,
    "task_arithmetic": True,
}
"""Kinds of merging, and whether they need mergekit and a base model (slerp: one of its two models)."""


@method(
    "merge",
    needs={"sources"},
    summary="the sources' weights merged into one model",
    options={"kind", "weights", "density", "t"},
)
def build(inputs: MethodInputs) -> Candidate:
    """Return the merged model; nothing is trained.

    Options: `kind` (linear, the default; slerp, ties, dare_linear, dare_ties, task_arithmetic, which mergekit
    does, with the target as base), `weights` (by source name; equal where left out), `density` (share of each
    task vector that ties and dare keep), `t` (slerp: 0 is the first source, 1 the second).

    Raises:
        RecipeError: fewer than two sources, an unknown kind, weights for a model that is no source.
        ModelError: architectures or tokenizers differ.
        UnavailableError: the kind needs mergekit, which is not installed.
    """
    from fusebench.corpus.models import count_parameters, load_tokenizer

    options = dict(inputs.options)
    kind = str(options.pop("kind", "linear"))
    if kind not in KINDS:
        raise RecipeError(f"`merge` has no kind `{kind}`", why="nothing merges that way", fix=suggest(kind, KINDS))
    require_two(inputs.sources, "merge")
    involved = {**inputs.sources, **({"the target": inputs.target} if KINDS[kind] and kind != "slerp" else {})}
    require_same_architecture(involved, "merge")
    require_same_tokenizer(involved, "merge")
    weights = _weights(inputs.sources, options.pop("weights", {}))
    folder, started = inputs.out / "model", time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "linear":
        from fusebench.methods._linear import mean_weights

        _no_options(options, kind)
        total = sum(weights.values())
        mean_weights([Path(m) for m in inputs.sources.values()], [w / total for w in weights.values()], folder)
    else:
        _mergekit(configuration(kind, inputs.target, inputs.sources, weights, options), folder, inputs.seed)
    load_tokenizer(next(iter(inputs.sources.values()))).save_pretrained(folder)
    _card(folder, kind, weights)
    notes = {"kind": kind, "weights": ", ".join(f"{name} {weight:g}" for name, weight in weights.items())}
    seconds = round(time.monotonic() - started, 3)
    return Candidate("model", ["model"], parameters=count_parameters(folder), seconds=seconds, notes=notes)


def _weights(sources: Mapping[str, str], given: Mapping[str, Any]) -> dict[str, float]:
    for name, weight in given.items():
        if name not in sources:
            raise RecipeError(
                f"`options.weights` of `merge` names `{name}`", why="it is no source", fix=suggest(name, sources)
            )
        if not isinstance(weight, int | float) or weight < 0:
            raise RecipeError(
                f"`options.weights.{name}` of `merge` is {weight!r}", why="a weight is a number", fix="give 0 or more"
            )
    weights = {name: float(given.get(name, 1.0)) for name in sources}
    if sum(weights.values()) <= 0:
        raise RecipeError("`options.weights` of `merge` are all 0", why="nothing is left", fix="give one above 0")
    return weights


def _no_options(options: Mapping[str, Any], kind: str) -> None:
    for name in options:
        raise RecipeError(
            f"`merge` of kind `{kind}` has no option `{name}`", why="it would be ignored", fix="remove it"
        )


def configuration(
    kind: str, base: str, sources: Mapping[str, str], weights: Mapping[str, float], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return mergekit's configuration for one of its kinds; options that the kind does not have are refused."""
    left = dict(options)
    if kind == "slerp":
        if len(sources) != 2:
            raise RecipeError(
                f"`merge` of kind `slerp` has {len(sources)} sources",
                why="it turns one model into one other",
                fix="give two sources",
            )
        made: dict[str, Any] = {
            "base_model": next(iter(sources.values())),
            "models": [{"model": ref} for ref in sources.values()],
            "parameters": {"t": left.pop("t", 0.5)},
        }
    else:
        density = {"density": left.pop("density", 0.5)} if kind != "task_arithmetic" else {}
        made = {
            "base_model": base,
            "models": [
                {"model": ref, "parameters": {"weight": weights[name], **density}} for name, ref in sources.items()
            ],
            "parameters": {"normalize": True},
        }
    _no_options(left, kind)
    return {"merge_method": kind, "dtype": "float32", **made}


def _mergekit(config: dict[str, Any], folder: Path, seed: int) -> None:
    try:
        from mergekit.config import MergeConfiguration
        from mergekit.merge import MergeOptions, run_merge
    except ImportError as error:
        raise UnavailableError(
            f"merging of kind `{config['merge_method']}` needs mergekit",
            why="the package is not installed; it is an extra because of its licence (LGPL-3.0)",
            fix="pip install 'fusebench[merge]', or use `kind: linear`",
        ) from error
    try:
        run_merge(
            MergeConfiguration.model_validate(config),
            str(folder),
            MergeOptions(
                trust_remote_code=False, copy_tokenizer=False, write_model_card=False, random_seed=seed, quiet=True
            ),
        )
    except RuntimeError as error:
        raise ModelError(
            f"mergekit cannot merge these models by `{config['merge_method']}`",
            why=(str(error).splitlines() or ["it does not say"])[0],
            fix="use `kind: linear`, or models that mergekit knows",
        ) from error


def _card(folder: Path, kind: str, weights: Mapping[str, float]) -> None:
    from fusebench.train.export import model_card

    facts = {"merge": kind, "weights": dict(weights)}
    (folder / "README.md").write_text(model_card("merged model", facts), encoding="utf-8")
