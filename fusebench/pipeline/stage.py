"""One cell of a run: a function, its inputs, its parameters; its key is its content address."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from fusebench.artifacts import Manifest, read_manifest
from fusebench.artifacts.store import sha256_json


@dataclass(frozen=True, eq=False)
class Stage:
    """A stage of a run.

    Args:
        kind: the folder of the run it lies in: corpus, teach, align, ...
        label: readable part of its folder's name; not part of the key, so equal work under two names is shared.
        function: name in `fusebench.pipeline.functions.FUNCTIONS`.
        version: version of that function; raised when its output changes.
        inputs: stages it reads, by role.
        params: JSON values that its output depends on.
        private: JSON values that its output does not depend on (where a model lies on this machine).
        seed: None where chance plays no part.
    """

    kind: str
    label: str
    function: str
    version: int
    inputs: Mapping[str, "Stage"] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    private: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None

    @cached_property
    def key(self) -> str:
        """Return the content address: function, version, parameters, seed and the inputs' own keys."""
        return sha256_json(
            {
                "function": self.function,
                "version": self.version,
                "inputs": {role: stage.key for role, stage in self.inputs.items()},
                "params": dict(self.params),
                "seed": self.seed,
            }
        )

    @property
    def title(self) -> str:
        """Return the name that people see."""
        return f"{self.kind}/{self.label}" if self.label else self.kind

    def folder(self, run: Path) -> Path:
        """Return where its output lies in a run."""
        slug = re.sub(r"[^A-Za-z0-9._+-]+", "-", self.label).strip("-")
        return run / self.kind / (f"{slug}-{self.key[:10]}" if slug else self.key[:10])


@dataclass(frozen=True)
class Freshness:
    """Whether a stage has to run, and why."""

    cached: bool
    reason: str
    seconds: float = 0.0


def freshness(stage: Stage, run: Path) -> Freshness:
    """Return whether a stage's output is there and whole in size, and if not, what changed."""
    folder = find_folder(stage, run)
    manifest = read_manifest(folder)
    if manifest is not None and manifest.key == stage.key:
        # Only a stage that stands for a model on this machine is stale when the model lies elsewhere now.
        before = manifest.params.get("private", {})
        stale = isinstance(before, dict) and before.get("ref") != stage.private.get("ref")
        whole = all(
            (folder / name).is_file() and (folder / name).stat().st_size == want.bytes
            for name, want in manifest.files.items()
        )
        if whole and not stale:
            return Freshness(True, "same inputs and parameters", manifest.seconds)
        return Freshness(False, "its model moved" if stale else "a file is missing or was changed")
    if folder.with_name(folder.name + ".partial").exists():
        return Freshness(False, "was interrupted; goes on where it stopped")
    return Freshness(False, _difference(stage, folder))


def find_folder(stage: Stage, run: Path) -> Path:
    """Return the folder that holds a stage's output: its own, or one made under another label."""
    own = stage.folder(run)
    if own.exists():
        return own
    parent = run / stage.kind
    for other in sorted(parent.glob(f"*{stage.key[:10]}")) if parent.is_dir() else []:
        return other
    return own


def _difference(stage: Stage, folder: Path) -> str:
    """Say what differs between a stage and the latest earlier output under the same label."""
    stem = folder.name.removesuffix(stage.key[:10])
    earlier: list[Manifest] = []
    for other in sorted(folder.parent.glob(f"{stem}*")) if folder.parent.is_dir() else []:
        manifest = read_manifest(other)
        if manifest is not None and manifest.stage == stage.title:
            earlier.append(manifest)
    if not earlier:
        return "not made yet"
    last = max(earlier, key=lambda manifest: manifest.created)
    old_params = {key: value for key, value in last.params.items() if key != "private"}
    changed = sorted(k for k in {*old_params, *stage.params} if old_params.get(k) != stage.params.get(k))
    if changed:
        return f"changed: {', '.join(changed)}"
    inputs = sorted(role for role, parent in stage.inputs.items() if last.parents.get(role) != parent.key)
    if inputs:
        return f"changed input: {', '.join(inputs)}"
    return "changed seed" if last.seed != stage.seed else "fusebench computes it differently now"


def in_order(wanted: Iterable[Stage]) -> list[Stage]:
    """Return the wanted stages and all they stand on, inputs first, equal keys once."""
    found: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        if stage.key in found:
            return
        for parent in stage.inputs.values():
            visit(parent)
        found[stage.key] = stage

    for stage in wanted:
        visit(stage)
    return list(found.values())
