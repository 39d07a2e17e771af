"""What became of the attacks on the sandbox before programs were scored."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fusebench.artifacts.store import atomic_write

NAME = "probes.json"


@dataclass(frozen=True)
class ProbeOutcome:
    """One attack: what it tried, whether it was contained, and how it ended or got through."""

    name: str
    attack: str
    contained: bool
    found: str


@dataclass(frozen=True)
class ProbeRecord:
    """All attacks on one sandbox.

    Args:
        backend: the sandbox and its version, `bubblewrap 0.8.0`.
        boot: identity of the machine's start that the record holds for; empty where the system has none.
        created: when, ISO 8601, UTC.
        outcomes: one a probe.
    """

    backend: str
    boot: str
    created: str
    outcomes: tuple[ProbeOutcome, ...]

    @property
    def contained(self) -> int:
        """Return how many attacks were contained."""
        return sum(outcome.contained for outcome in self.outcomes)

    def json(self) -> str:
        """Return the record as JSON text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def parse(cls, text: str) -> "ProbeRecord | None":
        """Return the record of a JSON text, or None where it is not one."""
        try:
            got = json.loads(text)
            return cls(**{**got, "outcomes": tuple(ProbeOutcome(**outcome) for outcome in got["outcomes"])})
        except (ValueError, TypeError, KeyError):
            return None

    def save(self, folder: Path) -> None:
        """Write `probes.json`."""
        atomic_write(folder / NAME, self.json())

    @classmethod
    def load(cls, folder: Path) -> "ProbeRecord | None":
        """Return the record of a folder, or None where it has none: no program was scored there, or not recorded."""
        path = folder / NAME
        return cls.parse(path.read_text(encoding="utf-8")) if path.is_file() else None
