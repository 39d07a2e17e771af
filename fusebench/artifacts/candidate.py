"""One row of the results table before it is evaluated: a model, or several that answer together."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fusebench.artifacts.store import atomic_write

NAME = "candidate.json"


@dataclass(frozen=True)
class Checkpoint:
    """A model on the way, for the training-efficiency curve.

    Args:
        step: optimiser steps taken.
        tokens: target tokens trained on so far.
        folder: Hugging Face folder, relative to the candidate's own.
    """

    step: int
    tokens: int
    folder: str


@dataclass(frozen=True)
class Candidate:
    """What a method builds.

    Args:
        kind: `model` (one Hugging Face folder) or `ensemble` (several, probabilities averaged at every token).
        models: the folders or hub ids; relative ones are relative to the candidate's own folder.
        parameters: number of parameters of all models together.
        tokens: tokens trained on by this method (0 for a model taken as it is).
        seconds: training time.
        batches: hash of the training batches and their order; empty where nothing was trained.
        checkpoints: models on the way, in order; the final model is not among them.
        notes: anything the report should say about the row, by name.
        align: of an ensemble, rules other than the usual ones by which vocabularies are mapped.
    """

    kind: str
    models: list[str]
    parameters: int
    tokens: int = 0
    seconds: float = 0.0
    batches: str = ""
    checkpoints: list[Checkpoint] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    align: dict[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write `candidate.json`."""
        atomic_write(folder / NAME, json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, folder: Path) -> "Candidate":
        """Return the candidate of a folder, model folders made absolute."""
        got = json.loads((folder / NAME).read_text())
        points = [Checkpoint(**point) for point in got.pop("checkpoints")]
        models = [str(folder / m) if (folder / m).exists() else m for m in got.pop("models")]
        return cls(models=models, checkpoints=points, **got)
