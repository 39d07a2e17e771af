"""What stands in every finished folder of a run: what it is, what it was made of, and its checksums."""

import platform
from functools import cache
from importlib import metadata

from pydantic import BaseModel, ConfigDict

NAME = "manifest.json"
PACKAGES = ("fusebench", "torch", "transformers", "lm-eval", "accelerate", "datasets", "numpy")


class FileSum(BaseModel):
    """Size and checksum of one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """The identity of a finished folder; it is written last, so a folder with one is whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    type: str
    stage: str
    key: str
    parents: dict[str, str]
    params: dict[str, object]
    seed: int | None
    versions: dict[str, str]
    seconds: float
    created: str
    files: dict[str, FileSum]


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that change results, by name."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
