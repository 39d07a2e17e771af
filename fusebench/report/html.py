"""The page: gathers what the templates show, and lets nothing of it point outside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fusebench.report import formats
from fusebench.report.build import describe
from fusebench.report.doctor import alignment_tables
from fusebench.report.headline import Headline
from fusebench.report.panels import batch_groups, coverage_figures, curve_figures, win_figures
from fusebench.report.probes import probe_table
from fusebench.report.run_report import RunReport
from fusebench.report.samples import examples
from fusebench.report.tables import Table
from fusebench.stats.claims import p_text, share_text
from fusebench.stats.efficiency import TokenShare


def page(report: RunReport, tables: Sequence[Table], top: Headline) -> str:
    """Return the whole page as HTML: styles and pictures inline, no script, no address.

    Everything that a model, a recipe or a file name could have brought in is escaped.
    """
    environment = Environment(
        loader=PackageLoader("fusebench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("value_text", "interval_text", "difference_text", "difference_interval_text", "count", "duration"):
        environment.filters[name] = getattr(formats, name)
    environment.filters["breakable"] = breakable
    environment.filters["narrow"] = narrow
    environment.filters["tight"] = tight
    environment.filters["describe"] = describe
    environment.filters["share"] = share_text
    environment.filters["p"] = p_text
    text = environment.get_template("index.html.j2").render(_content(report, tables, top))
    # An address inside a model's output or a recipe's comment is text, yet "no address" shall be easy to check.
    return text.replace("://", ":&#47;&#47;")


def _by_experiment(tables: Sequence[Table], section: str) -> list[tuple[str, list[Table], list[Table]]]:
    """Return for each experiment its tables of a section: those shown, and those folded away."""
    here = [t for t in tables if t.section == section]
    return [
        (
            name,
            [t for t in here if (t.experiment, t.folded) == (name, False)],
            [t for t in here if t.folded and t.experiment == name],
        )
        for name in dict.fromkeys(t.experiment for t in here)
    ]


def breakable(text: str) -> Markup:
    """Return text, escaped, that may break after underscores, dots and slashes, but not before a letter or two."""
    text = re.sub(r"-(?=\w{1,2}\b)", "-\u2060", text)
    return Markup("<wbr>").join(part for part in re.split(r"(?<=[_/])|(?<=\.)(?!\d)", text) if part)


def narrow(text: str) -> Markup:
    """Return a model's name, escaped, that may break within itself: `Open|LLaMA-|7B`."""
    return Markup("<wbr>").join(part for part in re.split(r"(?<=-)|(?=LLaMA|LLM)", text) if part)


def tight(text: str) -> str:
    """Return text whose numbers stay on one line with their unit or sign."""
    return re.sub(r"(?<=\d) (?=%)|(?<=\b[pn]) (?=[=<])|(?<=\bweight) (?=\d)|(?<=[=<]) (?=\d)", "\u00a0", text)


def _content(report: RunReport, tables: Sequence[Table], top: Headline) -> dict[str, Any]:
    analysis = report.analysis
    shown = next((x for x in analysis.layouts if x.main is not None), None)
    return {
        "report": report,
        "headline": top,
        "main_tables": _by_experiment(tables, "main"),
        "ablations": _by_experiment(tables, "ablation"),
        "curves": curve_figures(report),
        "shares": [s for s in analysis.shares if isinstance(s, TokenShare)],
        "wins": win_figures(report),
        "coverage": coverage_figures(report),
        "doctor": alignment_tables(report),
        "probes": probe_table(report),
        "claims": analysis.claims,
        "batches": batch_groups(analysis.layouts),
        "layouts": analysis.layouts,
        "titles": report.experiment_titles,
        "examples": examples(report, shown) if shown is not None else [],
        "items": int(report.samples.drop_duplicates(["suite", "task", "item"]).shape[0]),
        "percent": f"{100 * report.confidence:g}",
        "level": f"{1 - report.confidence:.3g}",
    }
