"""The attacks on the sandbox as a section of the report: what each tried, and whether it was contained."""

from __future__ import annotations

import re

from fusebench.artifacts import ProbeRecord
from fusebench.report.doctor import NumbersTable
from fusebench.report.run_report import RunReport
from fusebench.report.samples import visible

_SAID = 60
"""Characters shown of the last that an attack said."""


def probe_table(report: RunReport) -> NumbersTable | None:
    """Return the attacks on the sandbox before programs were scored, or None where no record of them was kept.

    An attack is contained where it was in every record; what is shown of it is from the last, or where it got through.
    """
    if not report.probes:
        return None
    last = report.probes[-1]
    body = []
    for outcome in last.outcomes:
        same = [other for record in report.probes for other in record.outcomes if other.name == outcome.name]
        shown = next((other for other in same if not other.contained), outcome)
        said = shown.found if len(shown.found) <= _SAID else shown.found[:_SAID] + "…"
        body.append([shown.name, "contained" if shown.contained else "got through", shown.attack, visible(said)])
    held = sum(line[1] == "contained" for line in body)
    where = "; ".join(_place(record) for record in report.probes)
    caption = (
        f"Programs that a model wrote run in a sandbox, and are scored only where it withstands these attacks: "
        f"{held} of {len(body)} contained ({where})."
    )
    return NumbersTable(
        "probes", "Sandbox probes", caption, ["Attack", "Outcome", "What it tried", "Its last word"], body
    )


def _place(record: ProbeRecord) -> str:
    start = f", machine start {record.boot}" if record.boot else ""
    return f"{_backend(record.backend)}, {record.created[:16].replace('T', ' ')} UTC{start}"


def _backend(text: str) -> str:
    """Return a sandbox's name and version, where its version repeats the name."""
    return re.sub(r"^(\S+) \((?:\1 )?(.*)\)$", r"\1 \2", text)
