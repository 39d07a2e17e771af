"""Checks on models that are to be combined weight by weight or token by token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from fusebench.errors import ModelError, RecipeError


def require_two(sources: Mapping[str, str], method: str) -> None:
    """Raise RecipeError unless there are at least two sources."""
    if len(sources) < 2:
        raise RecipeError(
            f"method `{method}` has {len(sources)} source",
            why="it combines at least two models",
            fix="add models to the row's or the experiment's `sources`",
        )


def require_same_tokenizer(sources: Mapping[str, str], method: str) -> None:
    """Raise ModelError unless all models have the same tokenizer."""
    from fusebench.corpus.models import load_tokenizer, tokenizer_hash

    hashes = {name: tokenizer_hash(load_tokenizer(ref)) for name, ref in sources.items()}
    first = next(iter(hashes))
    for name, found in hashes.items():
        if found != hashes[first]:
            raise ModelError(
                f"`{name}` and `{first}` have different tokenizers",
                why=f"method `{method}` combines models token by token, id by id",
                fix="give it models continued from one base, or use method `fusion`, which aligns tokenizers",
            )


def require_same_architecture(sources: Mapping[str, str], method: str) -> None:
    """Raise ModelError unless all models have tensors of the same names and shapes and one model type."""
    from fusebench.corpus.models import weight_shapes

    first = next(iter(sources))
    kind, shapes = _kind(sources[first]), weight_shapes(sources[first])
    fix = "give it models continued from one base, or use method `fusion`, which needs no common architecture"
    for name, ref in sources.items():
        other_kind, others = _kind(ref), weight_shapes(ref)
        if other_kind != kind:
            raise ModelError(
                f"`{name}` is a `{other_kind}` and `{first}` is a `{kind}`",
                why=f"method `{method}` combines weights one by one",
                fix=fix,
            )
        for tensor in sorted(shapes.keys() | others.keys()):
            if shapes.get(tensor) != others.get(tensor):
                raise ModelError(
                    f"the tensor `{tensor}` is {_size(others.get(tensor))} in `{name}` "
                    f"and {_size(shapes.get(tensor))} in `{first}`",
                    why=f"method `{method}` combines weights one by one",
                    fix=fix,
                )


def _kind(ref: str) -> str:
    return str(json.loads((Path(ref) / "config.json").read_text()).get("model_type", "?"))


def _size(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else " x ".join(map(str, shape)) or "a scalar"
