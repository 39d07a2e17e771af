"""Pictures as inline SVG: no library, no script, colours from the page's own variables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from fusebench.report.formats import count, number

WIDTH = 330
"""Width of a picture's own coordinates: less than a phone's, so that its text is legible there."""


@dataclass(frozen=True)
class Series:
    """A curve: kind `fusion` (solid) or `clm` (dashed), and its points, ascending in tokens."""

    name: str
    kind: str
    tokens: Sequence[float]
    value: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class Bar:
    """A stacked bar: its label, a remark at its right end, and the share of each part (summing to at most 1)."""

    label: str
    remark: str
    parts: Sequence[float]


def curves(
    id: str, title: str, description: str, series: Sequence[Series], *, bits: bool, goal: float, at: float
) -> Markup:
    """Return a line chart with interval bands.

    Args:
        id: unique in the page; the title and description are named after it.
        title, description: what a screen reader says.
        series: the curves.
        bits: bits per byte, else scores to be shown in percent.
        goal: value of the horizontal line (the baseline's final score); NaN for none.
        at: tokens at which the goal is reached for good; not finite for none.
    """
    height, left, right, top, bottom = 236, 42, 14, 10, 38
    most = max(t for s in series for t in s.tokens) or 1.0
    ends = [v for s in series for pair in (s.low, s.high, s.value) for v in pair if not math.isnan(v)]
    ticks = nice_ticks(min(ends), max(ends))
    low, high = min(ticks[0], *ends), max(ticks[-1], *ends)

    def x(tokens: float) -> float:
        return left + (WIDTH - left - right) * tokens / most

    def y(value: float) -> float:
        return top + (height - top - bottom) * (high - value) / (high - low)

    out = [_open(id, height, title, description)]
    digits = 0 if bits or (ticks[1] - ticks[0]) >= 0.0099 else 1
    for tick in ticks:
        out.append(f'<line class="grid" x1="{left}" x2="{WIDTH - right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        label = _bits_label(tick, ticks[1] - ticks[0]) if bits else f"{100 * tick:.{digits}f}"
        out.append(f'<text class="tick" x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{label}</text>')
    for part, anchor in ((0, "start"), (0.5, "middle"), (1, "end")):
        out.append(
            f'<text class="tick" x="{x(part * most):.1f}" y="{height - 21}" text-anchor="{anchor}">'
            f"{count(part * most)}</text>"
        )
    middle = (left + WIDTH - right) / 2
    out.append(f'<text class="tick" x="{middle:.1f}" y="{height - 5}" text-anchor="middle">tokens trained on</text>')
    for s in series:
        there = [k for k in range(len(s.value)) if not math.isnan(s.low[k])]
        edge = [f"{x(s.tokens[k]):.1f},{y(s.high[k]):.1f}" for k in there]
        edge += [f"{x(s.tokens[k]):.1f},{y(s.low[k]):.1f}" for k in reversed(there)]
        out.append(f'<polygon class="band {s.kind}" points="{" ".join(edge)}"/>')
    if not math.isnan(goal):
        out.append(f'<line class="goal" x1="{left}" x2="{WIDTH - right}" y1="{y(goal):.1f}" y2="{y(goal):.1f}"/>')
        if math.isfinite(at) and 0 <= at <= most:
            out.append(
                f'<line class="goal" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{y(goal):.1f}" y2="{height - bottom}"/>'
            )
            out.append(f'<circle class="reach" cx="{x(at):.1f}" cy="{y(goal):.1f}" r="4.5"/>')
    for s in series:
        points = [(x(t), y(v)) for t, v in zip(s.tokens, s.value, strict=True)]
        out.append(f'<polyline class="line {s.kind}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>')
        for (a, b), tokens, value in zip(points, s.tokens, s.value, strict=True):
            tip = f"<title>{escape(s.name)}, {count(tokens)} tokens: {number(value, bits=bits)}</title>"
            out.append(f'<circle class="dot {s.kind}" cx="{a:.1f}" cy="{b:.1f}" r="2.6">{tip}</circle>')
    out.append("</svg>")
    return Markup("".join(str(part) for part in out))  # noqa: S704  (every text in it was escaped)


def bars(id: str, title: str, description: str, rows: Sequence[Bar], names: Sequence[str], kind: str) -> Markup:
    """Return stacked bars, one under the other.

    Args:
        id: unique in the page.
        title, description: what a screen reader says.
        rows: the bars.
        names: of the parts, in order.
        kind: class prefix of the colours: `source` or `outcome`.
    """
    pitch, thick = 44, 20
    height = pitch * len(rows) + 2
    out = [_open(id, height, title, description)]
    for number_, row in enumerate(rows):
        top = number_ * pitch
        out.append(f'<text class="label" x="0" y="{top + 13}">{escape(row.label)}</text>')
        out.append(f'<text class="tick" x="{WIDTH}" y="{top + 13}" text-anchor="end">{escape(row.remark)}</text>')
        at = 0.0
        for part, (share, name) in enumerate(zip(row.parts, names, strict=True)):
            wide = WIDTH * share
            if wide <= 0:
                continue
            tip = f"<title>{escape(name)}: {100 * share:.1f} %</title>"
            out.append(
                f'<rect class="{kind} p{part % 8}" x="{at:.1f}" y="{top + 19}" width="{wide:.1f}" height="{thick}">'
                f"{tip}</rect>"
            )
            if wide > 34:
                out.append(
                    f'<text class="in {kind}-text t{part % 8}" x="{at + wide / 2:.1f}" y="{top + 33}" '
                    f'text-anchor="middle">{100 * share:.0f} %</text>'
                )
            at += wide
    out.append("</svg>")
    return Markup("".join(str(part) for part in out))  # noqa: S704  (every text in it was escaped)


def _open(id: str, height: int, title: str, description: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{id}-t {id}-d">'
        f'<title id="{id}-t">{escape(title)}</title><desc id="{id}-d">{escape(description)}</desc>'
    )


def _bits_label(tick: float, step: float) -> str:
    return f"{tick:.{max(1, min(4, math.ceil(-math.log10(step) - 1e-9)))}f}"


def nice_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return about `wanted` round numbers that span low to high."""
    gap = max(high - low, 1e-6)
    raw = gap / max(wanted - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, max(last, first + 1) + 1)]
