"""The alignment doctor's table as a section of the report: what each source lost, by kind of text, and where."""

from __future__ import annotations

from dataclasses import dataclass

from fusebench.align.summary import KINDS, Summary
from fusebench.artifacts import OUTCOMES
from fusebench.artifacts.alignment import WITH_ROW
from fusebench.report.run_report import RunReport

_TOKENS = 6


@dataclass(frozen=True)
class NumbersTable:
    """A plain table of words."""

    id: str
    title: str
    caption: str
    head: list[str]
    body: list[list[str]]


def alignment_tables(report: RunReport) -> list[NumbersTable]:
    """Return one table per experiment: for its main fusion row, every source's alignment by kind of token."""
    found = []
    for layout in report.analysis.layouts:
        if layout.main is None:
            continue
        place = (layout.experiment, layout.main.name)
        own = {source: s for (experiment, row, source), s in report.alignments.items() if (experiment, row) == place}
        if not own:
            continue
        kinds = [kind for kind in KINDS if any(kind in summary.kinds for summary in own.values())]
        head = ["Source", "All tokens", *(k.replace("_", "-") for k in kinds), "Mass lost", "Most often without a row"]
        caption = (
            f"{layout.main.name}: share of the target's text tokens that got a source row, by kind of token; the mean"
            " probability of a source row that reaches no target token; the target tokens that got none most often."
        )
        body = [[source, *_line(summary, kinds)] for source, summary in own.items()]
        slug = f"doctor-{layout.experiment}".replace(" ", "-")
        found.append(NumbersTable(slug, f"By kind of token ({layout.experiment})", caption, head, body))
    return found


def _line(summary: Summary, kinds: list[str]) -> list[str]:
    shares = [_percent(_real(summary.kinds[kind])) if kind in summary.kinds else "–" for kind in kinds]
    worst = ", ".join(f"{token.token} ({token.lost})" for token in summary.worst[:_TOKENS])
    return [_percent(summary.with_row), *shares, _percent(summary.mass_lost), worst or "none"]


def _real(shares: dict[str, float]) -> float:
    return sum(shares[OUTCOMES[code]] for code in WITH_ROW)


def _percent(share: float) -> str:
    return f"{max(0.0, 100 * share):.1f} %"
