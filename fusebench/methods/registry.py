"""What a method is, what it is given, and the list of all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fusebench.artifacts import Blocks, Candidate, SparseDistributions, TokenTable
from fusebench.errors import RecipeError, suggest
from fusebench.recipe.sections import TrainSection

NEEDS = frozenset({"batches", "fused_rows", "teacher_rows", "sources", "model", "vocabulary_rules"})


@dataclass(frozen=True)
class MethodInputs:
    """All that a method may use; what its `needs` do not name is None or empty.

    Args:
        target: folder or hub id of the model to train.
        model: of method `model`, the one to take as it is.
        sources: folder or hub id of each source, by name, in the recipe's order.
        tokens: the corpus in the target's tokenizer.
        blocks: its packing, the same for all methods of one packing.
        rows: fused rows, or a teacher's; at the target's positions and ids.
        train: how to train.
        options: the row's own options.
        seed: of the run.
        points: models to keep on the way, the final one counted.
        out: a (partial) folder of the run to write into.
        progress: called with work done and its total.
        align: where they are not the usual ones, the rules by which vocabularies are mapped: `vocabulary`, `ties`,
            `spelling`.
    """

    target: str
    model: str | None
    sources: Mapping[str, str]
    tokens: TokenTable | None
    blocks: Blocks | None
    rows: SparseDistributions | None
    train: TrainSection
    options: Mapping[str, Any]
    seed: int
    points: int
    out: Path
    progress: Callable[[int, int], None] | None = None
    align: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """One way to make a candidate.

    Args:
        name: as recipes write it.
        needs: what the pipeline must provide: `batches` (tokens and blocks), `fused_rows`, `teacher_rows`,
            `sources`, `model`, `vocabulary_rules` (the row's own `align`, where tokenizers differ).
        build: makes the candidate in `MethodInputs.out`.
        summary: one line for people.
        options: names that `RowSection.options` may have.
    """

    name: str
    needs: frozenset[str]
    build: Callable[[MethodInputs], Candidate]
    summary: str
    options: frozenset[str] = frozenset()


METHODS: dict[str, Method] = {}


def method(
    name: str, *, needs: set[str], summary: str, options: set[str] | None = None
) -> Callable[[Callable[[MethodInputs], Candidate]], Callable[[MethodInputs], Candidate]]:
    """Return a decorator that registers a function as a method; unknown options are refused before it is called."""
    assert needs <= NEEDS, needs - NEEDS
    assert name not in METHODS, name

    def register(build: Callable[[MethodInputs], Candidate]) -> Callable[[MethodInputs], Candidate]:
        known = frozenset(options or ())

        def checked(inputs: MethodInputs) -> Candidate:
            for option in inputs.options:
                if option not in known:
                    raise RecipeError(
                        f"method `{name}` has no option `{option}`",
                        why="it would be ignored",
                        fix=suggest(option, known) if known else "remove `options` from the row",
                    )
            inputs.out.mkdir(parents=True, exist_ok=True)
            candidate = build(inputs)
            candidate.save(inputs.out)
            return candidate

        METHODS[name] = Method(name, frozenset(needs), checked, summary, known)
        return build

    return register
