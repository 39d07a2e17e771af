"""What this machine has of what fusebench can use."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from fusebench.artifacts.manifest import versions


@dataclass(frozen=True)
class Finding:
    """One thing looked for: `state` is ok, missing or note."""

    state: str
    what: str
    found: str
    fix: str = ""


def examine() -> list[Finding]:
    """Return what was found, the essentials first."""
    found = [Finding("ok", name, version) for name, version in versions().items()]
    return [*found, *_extras(), _device(), _sandbox(), *_programs(), _disk()]


def _extras() -> list[Finding]:
    from importlib import metadata

    try:
        return [Finding("ok", "mergekit", metadata.version("mergekit"))]
    except metadata.PackageNotFoundError:
        return [Finding("note", "mergekit", "not installed", "pip install 'fusebench[merge]'")]


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
        return Finding("ok", "device", f"{len(names)} x {names[0]}")
    return Finding("note", "device", f"CPU, {torch.get_num_threads()} threads", "larger models want a GPU")


def _sandbox() -> Finding:
    from fusebench.evaluate.sandbox import describe, unavailable_reason

    reason = unavailable_reason()
    if reason is None:
        return Finding("ok", "sandbox", describe())
    return Finding("missing", "sandbox", reason, "sudo apt-get install bubblewrap (or podman)")


def _programs() -> list[Finding]:
    from fusebench.evaluate.sandbox import LANGUAGES

    found = []
    for language in LANGUAGES.values():
        version = language.version()
        state = "ok" if version else "missing"
        fix = "" if version else f"sudo apt-get install {language.package}"
        what = f"{version} (package {language.package})" if version else "no toolchain"
        found.append(Finding(state, f"programs in {language.title}", what, fix))
    return found


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return Finding("ok" if free > 5 else "note", "disk", f"{free:.0f} GiB free here")
