"""Which rows belong together: the main fusion row, the row it is measured against, and the ablation axes.

Everything is read off RowInfo, so that a recipe needs no mark that says which table a row is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fusebench.artifacts.results import RowInfo

AXES: dict[str, tuple[str, ...]] = {
    "sources": ("sources",),
    "alignment": ("vocabulary", "sequence"),
    "rule": ("rule", "criterion"),
    "clm_weight": ("clm_weight",),
}
"""Each ablation axis and the settings that may differ along it."""

_SETTINGS = ("sources", "vocabulary", "sequence", "rule", "criterion", "clm_weight")

SOURCE_SIZED = ("target", "source")


@dataclass(frozen=True)
class Layout:
    """The rows of one experiment by their part in it.

    Args:
        experiment: its name.
        rows: all, in the recipe's order.
        main: the fusion row with the most sources, the first of several; None without fusion.
        baseline: what differences are measured against: the first CLM row, else the target, else the first row.
        axes: for each axis the fusion rows that differ from `main` along it alone, `main` included.
        others: fusion rows that no axis holds (another knob differs).
    """

    experiment: str
    rows: list[RowInfo]
    main: RowInfo | None
    baseline: RowInfo | None
    axes: dict[str, list[RowInfo]]
    others: list[RowInfo]

    def of(self, *roles: str) -> list[RowInfo]:
        """Return the rows of these roles, in the recipe's order."""
        return [row for row in self.rows if row.role in roles]


def layouts(rows: Sequence[RowInfo]) -> list[Layout]:
    """Return one layout per experiment, in order of appearance."""
    return [
        _layout(name, [r for r in rows if r.experiment == name]) for name in dict.fromkeys(r.experiment for r in rows)
    ]


def _layout(experiment: str, rows: list[RowInfo]) -> Layout:
    fusions = [row for row in rows if row.role == "fusion"]
    main = max(fusions, key=lambda row: len(row.sources), default=None)  # max keeps the first of equals
    baseline = next((r for r in rows if r.role == "clm"), None) or next((r for r in rows if r.role == "target"), None)
    axes: dict[str, list[RowInfo]] = {}
    if main is not None:
        for axis, free in AXES.items():
            members = [row for row in fusions if row is main or _differs_only(row, main, free)]
            if axis == "sources":
                members.sort(key=lambda row: len(row.sources))
            elif axis == "clm_weight":
                members.sort(key=lambda row: -row.clm_weight)
            axes[axis] = members
    held = {row.name for members in axes.values() for row in members}
    others = [row for row in fusions if row.name not in held]
    return Layout(experiment, rows, main, baseline or (rows[0] if rows else None), axes, others)


def _differs_only(row: RowInfo, main: RowInfo, free: tuple[str, ...]) -> bool:
    changed = {name for name in _SETTINGS if not _same(getattr(row, name), getattr(main, name))}
    return bool(changed) and changed <= set(free)


def _same(a: object, b: object) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return set(a) == set(b)
    return a == b or (a != a and b != b)  # noqa: PLR0124  (NaN is the one value unequal to itself)


def planned_pairs(rows: Sequence[RowInfo]) -> list[tuple[str, str, str]]:
    """Return the comparisons that the report makes: every row with the baseline, the main fusion row with the rest."""
    pairs: list[tuple[str, str, str]] = []
    for layout in layouts(rows):
        base, main = layout.baseline, layout.main
        if base is not None:
            # The main row stands first, so that its difference reads "fusion minus baseline" everywhere.
            pairs += [(layout.experiment, row.name, base.name) for row in layout.rows if row is not base]
        if main is not None:
            pairs += [(layout.experiment, main.name, row.name) for row in layout.rows if row not in (main, base)]
    return pairs
