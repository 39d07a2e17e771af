"""Stages that several jobs begin with: models, tokenizers and texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusebench.artifacts.store import sha256_file
from fusebench.errors import DataError
from fusebench.pipeline.functions import FUNCTIONS
from fusebench.pipeline.stage import Stage
from fusebench.recipe import CorpusSection


@dataclass(frozen=True)
class Roots:
    """Where models and evaluation data lie on this machine; None is the hub, asked for files where `download`."""

    models: Path | None = None
    data: Path | None = None
    download: bool = True


def corpus_params(section: CorpusSection) -> dict[str, Any]:
    """Return the parameters of a corpus stage: the section, and the checksums of local files.

    Raises:
        DataError: a file is not there.
    """
    files = [Path(file.path) for file in section.files or []]
    for path in files:
        if not path.is_file():
            raise DataError(f"no text file `{path}`", why="it does not exist", fix="correct its path")
    return {"corpus": section.model_dump(mode="json"), "sha256": [sha256_file(path) for path in files]}


def make(kind: str, label: str, function: str, **rest: Any) -> Stage:
    """Return a stage of a registered function."""
    return Stage(kind, label, function, FUNCTIONS[function].version, **rest)


def model_stages(ref: str, digest: str, label: str) -> tuple[Stage, Stage]:
    """Return the stages (model, tokenizer) of a pre-trained model that lies at `ref` and has content `digest`."""
    where = {"params": {"sha256": digest}, "private": {"ref": ref}}
    return (
        make("models", label, "pretrained_model", **where),
        make("tokenizers", label, "tokenizer_of_model", **where),
    )
