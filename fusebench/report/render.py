"""Writes the report's files."""

from __future__ import annotations

import json
from pathlib import Path

from fusebench.artifacts.store import atomic_write
from fusebench.report.build import build_tables
from fusebench.report.headline import headline
from fusebench.report.html import page
from fusebench.report.latex import latex
from fusebench.report.markdown import markdown
from fusebench.report.probes import probe_table
from fusebench.report.run_report import RunReport


def render(report: RunReport, folder: Path) -> Path:
    """Return the path of `index.html`, after writing it, `tables.md`, `tables.tex` and `results.jsonl`.

    The page is one file that asks for nothing else. `results.jsonl` has one row per (experiment, method, seed,
    step, suite, task, metric); `value` is null and `n` 0 where the suite was unavailable.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    tables, top = build_tables(report), headline(report)
    probes = probe_table(report)
    path = folder / "index.html"
    atomic_write(folder / "results.jsonl", results_jsonl(report))
    atomic_write(folder / "tables.md", markdown(tables, report.title, f"{top.sentence} {top.remark}".strip(), probes))
    atomic_write(folder / "tables.tex", latex(tables))
    atomic_write(path, page(report, tables, top))
    return path


def results_jsonl(report: RunReport) -> str:
    """Return the results as JSON lines; a missing number is null."""
    records = report.analysis.results.to_dict("records")
    rows = [{k: None if v != v else v for k, v in record.items()} for record in records]  # noqa: PLR0124
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
