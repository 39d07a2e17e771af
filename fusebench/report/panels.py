"""What the page's pictures and panels show, gathered from the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from fusebench.artifacts import OUTCOMES, RowInfo
from fusebench.artifacts.alignment import WITH_ROW
from fusebench.report.build import NAMES
from fusebench.report.figures import Bar, Series, bars, curves
from fusebench.report.formats import count, number
from fusebench.report.run_report import RunReport
from fusebench.stats.choices import ALL, wins
from fusebench.stats.claims import share_text
from fusebench.stats.efficiency import TokenShare, curve
from fusebench.stats.metrics import lower_is_better
from fusebench.stats.rowgroups import Layout
from fusebench.stats.summary import OVERALL

OUTCOME_TEXT = {
    "exact": "the same token exists",
    "mapped": "nearest token by edit distance, a single one",
    "tied": "nearest token, chosen among several equally near",
    "one_to_many": "several source tokens for one target token; the next gold token instead",
    "fallback": "no source row; the next gold token instead",
}


@dataclass(frozen=True)
class Figure:
    """A picture, and its numbers as a table beside it.

    Args:
        id, title, caption: as shown.
        svg: the picture.
        head, body: the table; the first cell of each line is its header.
        names: legend, in the order of the colours.
        kind: class prefix of the colours.
    """

    id: str
    title: str
    caption: str
    svg: Markup
    head: list[str]
    body: list[list[str]]
    names: Sequence[str] = ()
    kind: str = ""


def curve_figures(report: RunReport) -> list[Figure]:
    """Return one picture per suite: the main fusion row and CLM by tokens trained on."""
    found = []
    analysis = report.analysis
    shares = {(s.experiment, s.suite): s for s in analysis.shares}
    for layout in analysis.layouts:
        if layout.main is None or not layout.of("clm"):
            continue
        clm = layout.of("clm")[0].name
        suites = [s for e, s in analysis.estimates.draws if e == layout.experiment]
        for suite in sorted(suites, key=lambda s: s != OVERALL):
            frames = [
                (name, kind, curve(analysis.estimates, layout, name, suite))
                for name, kind in ((clm, "clm"), (layout.main.name, "fusion"))
            ]
            frames = [(name, kind, frame) for name, kind, frame in frames if len(frame) > 1]
            if frames:
                title = "All suites" if suite == OVERALL else report.suite_title(suite)
                share = shares.get((layout.experiment, suite))
                found.append(_curve(layout, suite, title, frames, share))
    return found


def _curve(
    layout: Layout, suite: str, title: str, frames: list[tuple[str, str, pd.DataFrame]], share: TokenShare | None
) -> Figure:
    bits = lower_is_better(str(frames[0][2]["metric"].iloc[0]))
    series = [
        Series(name, kind, *(frame[c].astype(float).tolist() for c in ("tokens", "value", "low", "high")))
        for name, kind, frame in frames
    ]
    goal = next((s.value[-1] for s in series if s.kind == "clm"), float("nan"))
    budget = next((s.tokens[-1] for s in series if s.kind == "clm"), float("nan"))
    unit = "lower is better" if bits else "percent"
    caption = "" if share is None else _reached(share)
    at = share.share * budget if share is not None and share.learned else float("nan")
    say = ". ".join(
        f"{s.name} goes from {number(s.value[0], bits=bits)} to {number(s.value[-1], bits=bits)}" for s in series
    )
    slug = f"curve-{layout.experiment}-{suite}".replace(" ", "-")
    svg = curves(slug, f"{title} by tokens trained on", f"{say}. {caption}", series, bits=bits, goal=goal, at=at)
    body = [
        [f"{s.name}, {count(t)}", number(v, bits=bits), f"{number(lo, bits=bits)}–{number(hi, bits=bits)}"]
        for s in series
        for t, v, lo, hi in zip(s.tokens, s.value, s.low, s.high, strict=True)
    ]
    return Figure(slug, f"{title}, {unit}", caption, svg, ["Row, tokens", "Value", "Interval"], body)


def _reached(share: TokenShare) -> str:
    if not share.learned:
        return "CLM does not end significantly above the start, so there is nothing to reach."
    if share.share == float("inf"):
        return "Fusion ends below CLM's final score."
    return f"Fusion is at CLM's final score, for good, after {share_text(share.share)} of CLM's tokens."


def win_figures(report: RunReport) -> list[Figure]:
    """Return one picture per fusion row of interest: which source won how many blocks, by domain."""
    found = []
    for layout in report.analysis.layouts:
        wanted = [layout.main, *layout.axes.get("rule", [])] if layout.main is not None else []
        for row in dict.fromkeys(r.name for r in wanted if r is not None):
            choice = report.choices.get((layout.experiment, row))
            if choice is None or not len(choice.domains):
                continue
            table = wins(choice)
            info = next(r for r in layout.rows if r.name == row)
            averaged = info.rule == "avg_ce"
            lines, body = [], []
            for domain, part in table.groupby("domain", sort=False):
                blocks = int(part["blocks"].iloc[0])
                lines.append(Bar(str(domain), f"{blocks} blocks", part["share"].tolist()))
                cells = [
                    f"{100 * s:.1f} %" if averaged else f"{w} ({100 * s:.0f} %)"
                    for s, w in zip(part["share"], part["won"], strict=True)
                ]
                body.append([str(domain), *cells])
            what = "Mean weight of each source" if averaged else "Blocks won by each source"
            slug = f"wins-{layout.experiment}-{row}".replace(" ", "-")
            overall = table[table["domain"] == ALL]
            say = ", ".join(f"{s} {100 * v:.0f} %" for s, v in zip(overall["source"], overall["share"], strict=True))
            svg = bars(slug, f"{what}, {row}", f"Over all domains: {say}.", lines, choice.sources, "source")
            unit = choice.unit.replace("_", " ")
            caption = f"{what}, by the domain of the training text; criterion: cross-entropy in {unit}."
            found.append(
                Figure(
                    slug,
                    f"{row} ({layout.experiment})",
                    caption,
                    svg,
                    ["Domain", *choice.sources],
                    body,
                    choice.sources,
                    "source",
                )
            )
    return found


def coverage_figures(report: RunReport) -> list[Figure]:
    """Return one picture per alignment in use: share of target positions by outcome, for each source."""
    found = []
    for layout in report.analysis.layouts:
        wanted = [layout.main, *layout.axes.get("alignment", [])] if layout.main is not None else []
        for row in dict.fromkeys(r.name for r in wanted if r is not None):
            here = report.coverage[
                (report.coverage["experiment"] == layout.experiment) & (report.coverage["row"] == row)
            ]
            if here.empty:
                continue
            wide = here.pivot_table(index="source", columns="outcome", values="share", aggfunc="sum", sort=False)
            wide = wide.reindex(columns=list(OUTCOMES)).fillna(0.0)
            names = [name.replace("_", " ") for name in OUTCOMES]
            real = wide[[OUTCOMES[code] for code in WITH_ROW]].sum(axis=1)
            lines = [Bar(str(s), f"{100 * real[s]:.1f} % with a source row", wide.loc[s].tolist()) for s in wide.index]
            body = [[str(s), *(f"{100 * v:.1f} %" for v in wide.loc[s])] for s in wide.index]
            slug = f"coverage-{layout.experiment}-{row}".replace(" ", "-")
            say = ", ".join(f"{s} {100 * real[s]:.1f} %" for s in wide.index)
            svg = bars(
                slug, f"Alignment outcomes, {row}", f"Positions with a source row: {say}.", lines, names, "outcome"
            )
            info = next(r for r in layout.rows if r.name == row)
            how = ", ".join(NAMES.get(name, name) for name in (info.vocabulary, info.sequence) if name)
            caption = f"Share of the target's positions by what alignment found there ({how})."
            found.append(
                Figure(slug, f"{row} ({layout.experiment})", caption, svg, ["Source", *names], body, names, "outcome")
            )
    return found


@dataclass(frozen=True)
class BatchGroup:
    """The trained rows of one experiment: `same` is None where only one row was trained."""

    experiment: str
    reference: str
    rows: list[tuple[RowInfo, bool]]
    same: bool | None


def batch_groups(layouts: Sequence[Layout]) -> list[BatchGroup]:
    """Return for each experiment its trained rows, each with whether its batches are those of the baseline."""
    found = []
    for layout in layouts:
        trained = [row for row in layout.rows if row.batches]
        if not trained:
            continue
        first = next((row for row in trained if row.role == "clm"), trained[0])
        rows = [(row, row.batches == first.batches) for row in trained]
        found.append(
            BatchGroup(layout.experiment, first.name, rows, all(s for _, s in rows) if len(rows) > 1 else None)
        )
    return found
