"""What was generated, kept on disk: a killed run goes on, and re-scoring needs no model."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray


@dataclass(frozen=True)
class Request:
    """One completion that is wanted.

    Args:
        prompt: as text.
        rules: stop strings, lengths and decoding, in one line.
        seed: of the run; 0 where nothing is random.
        number: which of several samples of one prompt.
    """

    prompt: str
    rules: str
    seed: int
    number: int

    def digest(self) -> str:
        """Return a hash of the request."""
        text = json.dumps([self.prompt, self.rules, self.seed, self.number])
        return hashlib.sha256(text.encode()).hexdigest()

    def uniform(self, count: int) -> Float[ndarray, " count"]:
        """Return the numbers in [0, 1) that decide the sample; they depend on the request alone."""
        return np.random.default_rng(int(self.digest(), 16)).random(count)


class GenerationStore:
    """Completions by request; a line of JSON each, appended batch by batch.

    Args:
        path: the file; None keeps them in memory alone.
        model: hash of the model; lines of another model are not used.
    """

    def __init__(self, path: Path | None = None, model: str = "") -> None:
        self.path, self.model = path, model
        self._known: dict[str, str] = {}
        self._lead = ""
        if path is not None and path.is_file():
            found = path.read_bytes()
            # A part of a line may be left of a killed run: begin a new one.
            self._lead = "" if found.endswith(b"\n") or not found else "\n"
            for line in found.splitlines():
                self._read(line)

    def _read(self, line: bytes) -> None:
        try:
            found = json.loads(line)
        except ValueError:
            return  # the line that was being written when the run was killed
        if found["model"] == self.model:
            self._known[found["request"]] = found["completion"]

    def get(self, request: Request) -> str | None:
        """Return the completion, or None where it is not there yet."""
        return self._known.get(request.digest())

    def __len__(self) -> int:
        """Return how many completions are known."""
        return len(self._known)

    def put(self, requests: Sequence[Request], texts: Sequence[str]) -> None:
        """Keep completions."""
        lines = []
        for request, text in zip(requests, texts, strict=True):
            self._known[request.digest()] = text
            line = {
                "model": self.model,
                "request": request.digest(),
                "prompt": request.prompt,
                "sample": request.number,
                "completion": text,
            }
            lines.append(json.dumps(line) + "\n")
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(self._lead + "".join(lines))
            self._lead = ""
