"""The paper's claims C1 to C7 and what this run says about each.

Every verdict is one of three words, by a rule that is fixed here and printed in the report:

C1  Fusion is compared with the target, every source and CLM on each of the three score suites. A pair is
    won where fusion is better on more than half of the suite's tasks and its suite average is significantly
    better. supported: all pairs won in all three suites. contradicted: some rival wins a pair by the same
    rule. undecided: else, or where a suite is missing and no rival wins.
C2  The share of CLM's tokens that fusion needs to reach CLM's final score (mean over the score suites).
    supported: the whole interval is under 1. contradicted: the whole interval is over 1 (it ends below).
    undecided: else, or where CLM itself does not end significantly above the start.
C3  The fusion row with most sources against every row with fewest. supported: significantly better than
    each. contradicted: significantly worse than one. undecided: else.
C4, C5, C6  One pair each (MinED - EM, MinCE - AvgCE, fusion - distillation), on the mean over the score
    suites. supported: significantly better. contradicted: significantly worse. undecided: else.
C7  Fusion against every ensemble and merge on the mean bits per byte over domains. supported: significantly
    lower than each. contradicted: significantly higher than one. undecided: else.

"Significantly" is an adjusted p-value under 1 - confidence. A row or suite that is missing gives undecided.
The claims are Wan et al. 2024, arXiv:2401.10491, as DESIGN restates them; the rules are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pandas as pd

from fusebench.artifacts.results import RowInfo
from fusebench.stats.efficiency import TokenShare
from fusebench.stats.metrics import BITS_PER_BYTE, lower_is_better
from fusebench.stats.rowgroups import SOURCE_SIZED, Layout, layouts
from fusebench.stats.summary import AVERAGE, OVERALL

PAPER_FAMILIES = ("bbh", "commonsense", "multipl_e")

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"

Suites = Sequence[tuple[str, str, str]]
"""Name, family and title of each suite."""


@dataclass(frozen=True)
class Claim:
    """One claim of the paper and its verdict in this run.

    Args:
        id: C1 to C7.
        text: the claim.
        verdict: supported, contradicted or undecided.
        rule: when it would be supported and when contradicted.
        reason: why this verdict, one sentence.
        evidence: one line per number behind it.
    """

    id: str
    text: str
    verdict: str
    rule: str
    reason: str
    evidence: list[str] = field(default_factory=list)


TEXTS = {
    "C1": "Fusion beats every source-sized model and plain continued training on most tasks of BBH, CommonSense "
    "and MultiPL-E.",
    "C2": "Fusion reaches the final score of plain continued training with fewer tokens.",
    "C3": "More sources help.",
    "C4": "Aligning by minimum edit distance (MinED) beats exact match (EM).",
    "C5": "Taking the source with the least cross-entropy (MinCE) beats averaging (AvgCE).",
    "C6": "Fusing several small models beats distilling one bigger one.",
    "C7": "On one base model continued on several domains, fusion has a lower mean perplexity than the ensemble "
    "and the weight merge.",
}

RULES = {
    "C1": "Supported if, on each of the three suites and against each rival, fusion is better on more than half of "
    "the tasks and its suite average is significantly better; contradicted if a rival wins a suite by that rule.",
    "C2": "Supported if the whole interval of the share of CLM's tokens that fusion needs is under 100 %; "
    "contradicted if it is over 100 %, which is when fusion ends below CLM. Undecided where CLM itself "
    "learned nothing.",
    "C3": "Supported if the row with most sources is significantly better than every row with fewest; contradicted "
    "if it is significantly worse than one.",
    "C4": "Supported if MinED is significantly better than EM with all else equal, contradicted if worse.",
    "C5": "Supported if MinCE is significantly better than AvgCE with all else equal, contradicted if worse.",
    "C6": "Supported if fusion is significantly better than distillation, contradicted if worse.",
    "C7": "Supported if fusion has significantly fewer bits per byte, averaged over domains, than every ensemble "
    "and merge; contradicted if it has significantly more than one.",
}


def claims(
    rows: Sequence[RowInfo], comparisons: pd.DataFrame, shares: Sequence[TokenShare], suites: Suites
) -> list[Claim]:
    """Return the verdicts on C1 to C7, in order, by the rules of this module's docstring.

    Args:
        rows: of all experiments; a claim is judged on the first experiment that has the rows it speaks of.
        comparisons: of `compare`, for the pairs of `planned_pairs` at least.
        shares: of `token_shares`.
        suites: name, family and title of each suite.
    """
    all_layouts = layouts(rows)
    book = _Book(comparisons)
    return [
        _broad(all_layouts, book, suites),
        _tokens(all_layouts, shares, suites),
        _sources(all_layouts, book, suites),
        _axis("C4", all_layouts, book, suites, "alignment", "vocabulary", ("min_ed", "em")),
        _axis("C5", all_layouts, book, suites, "rule", "rule", ("min_ce", "avg_ce")),
        _distillation(all_layouts, book, suites),
        _merging(all_layouts, book),
    ]


class _Book:
    """Comparisons by (experiment, a, b, suite, task); asked the other way round, they are turned round."""

    def __init__(self, comparisons: pd.DataFrame) -> None:
        self._at: dict[tuple[str, str, str, str, str], dict[str, object]] = {}
        for record in comparisons.to_dict("records"):
            key = (record["experiment"], record["a"], record["b"], record["suite"], record["task"])
            self._at[key] = {str(k): v for k, v in record.items()}

    def get(self, experiment: str, a: str, b: str, suite: str, task: str = AVERAGE) -> Gap | None:
        """Return A minus B, or None where it was not compared or nothing is paired."""
        for turned, key in ((False, (experiment, a, b, suite, task)), (True, (experiment, b, a, suite, task))):
            found = self._at.get(key)
            if found is not None and found["n"]:
                return Gap.of(found, turned)
        return None

    def suites(self, experiment: str) -> list[str]:
        """Return the suites that have comparisons of averages."""
        return list(dict.fromkeys(s for e, _, _, s, t in self._at if e == experiment and t == AVERAGE))

    def tasks(self, experiment: str, a: str, b: str, suite: str) -> list[Gap]:
        """Return A minus B on every task of a suite."""
        names = dict.fromkeys(t for e, _, _, s, t in self._at if e == experiment and s == suite and t != AVERAGE)
        return [gap for t in names if (gap := self.get(experiment, a, b, suite, t)) is not None]

    def deciding(self, experiment: str, a: str, b: str) -> tuple[Gap | None, list[Gap]]:
        """Return the comparison that decides (overall, else the one score suite, else bits per byte) and the rest."""
        gaps = [gap for s in self.suites(experiment) if (gap := self.get(experiment, a, b, s)) is not None]
        order = sorted(gaps, key=lambda gap: (gap.suite != OVERALL, lower_is_better(gap.metric)))
        scores = [g for g in order if not lower_is_better(g.metric)]
        # Without an overall score, several suites would be several tests with no rule to join them.
        if len(scores) > 1 and scores[0].suite != OVERALL:
            return None, order
        return (order[0], order[1:]) if order else (None, [])


@dataclass(frozen=True)
class Gap:
    """One comparison, seen from A: `sign` is 1 where A is better, -1 where B is, 0 where equal."""

    suite: str
    task: str
    metric: str
    difference: float
    low: float
    high: float
    p: float
    n: int
    sign: int
    verdict: int

    @classmethod
    def of(cls, record: dict[str, object], turned: bool) -> Gap:
        """Return the gap of a comparison's record."""
        gap, low, high = (float(record[name]) for name in ("difference", "low", "high"))  # type: ignore[arg-type]
        winner = str(record["favours"])
        if turned:
            gap, low, high = -gap, -high, -low
            winner = {"a": "b", "b": "a"}.get(winner, "")
        metric = str(record["metric"])
        better = -gap if lower_is_better(metric) else gap
        return cls(
            str(record["suite"]),
            str(record["task"]),
            metric,
            gap,
            low,
            high,
            float(record["p_adjusted"]),  # type: ignore[arg-type]
            int(record["n"]),  # type: ignore[call-overload]
            (better > 0) - (better < 0),
            {"a": 1, "b": -1}.get(winner, 0),
        )

    def __str__(self) -> str:
        if lower_is_better(self.metric):
            numbers = f"{self.difference:+.4f} bits per byte (interval {self.low:+.4f} to {self.high:+.4f}"
        else:
            g, lo, hi = (100 * x for x in (self.difference, self.low, self.high))
            numbers = f"{g:+.1f} points (interval {lo:+.1f} to {hi:+.1f}"
        return f"{numbers}, adjusted p {p_text(self.p)}, n = {self.n})".replace("-", "−")


def p_text(p: float) -> str:
    """Return a p-value as it is printed: `= 0.034`, `< 0.001`, or `not tested`."""
    if p != p:  # noqa: PLR0124
        return "not tested"
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _claim(name: str, verdict: str, reason: str, evidence: Iterable[str] = ()) -> Claim:
    return Claim(name, TEXTS[name], verdict, RULES[name], reason, list(evidence))


def _judge(gaps: Sequence[Gap]) -> str:
    """Return supported where all gaps are significant for A, contradicted where one is for B."""
    if any(gap.verdict < 0 for gap in gaps):
        return CONTRADICTED
    return SUPPORTED if gaps and all(gap.verdict > 0 for gap in gaps) else UNDECIDED


_WORDS = {
    SUPPORTED: "significant, and as the paper says",
    CONTRADICTED: "significant, the other way round",
    UNDECIDED: "not significant",
}


def _reason(verdict: str, gaps: Sequence[tuple[str, Gap]]) -> str:
    """Return one sentence with the numbers of the comparisons that decided."""
    return f"{'; '.join(f'{name}: {gap}' for name, gap in gaps)}; {_WORDS[verdict]}."


def _title(suites: Suites, name: str) -> str:
    return {s: title for s, _, title in suites}.get(name, "All score suites" if name == OVERALL else name)


def _broad(all_layouts: Sequence[Layout], book: _Book, suites: Suites) -> Claim:
    layout = next((x for x in all_layouts if x.main and x.of("clm")), None)
    if layout is None or layout.main is None:
        return _claim("C1", UNDECIDED, "The run has no experiment with both fusion and CLM.")
    rivals = [*layout.of(*SOURCE_SIZED), *layout.of("clm")]
    evidence: list[str] = []
    won, lost, missing = [], [], []
    for family in PAPER_FAMILIES:
        names = [name for name, kind, _ in suites if kind == family]
        for suite in names or [family]:
            for rival in rivals:
                gap = book.get(layout.experiment, layout.main.name, rival.name, suite)
                if gap is None:
                    missing.append(f"{_title(suites, suite)}")
                    continue
                tasks = book.tasks(layout.experiment, layout.main.name, rival.name, suite)
                better, worse = sum(t.sign > 0 for t in tasks), sum(t.sign < 0 for t in tasks)
                most = 2 * better > len(tasks), 2 * worse > len(tasks)
                won.append(gap.verdict > 0 and most[0])
                lost.append(gap.verdict < 0 and most[1])
                evidence.append(
                    f"{_title(suites, suite)}, against {rival.name}: better on {better}, worse on {worse} of "
                    f"{len(tasks)} tasks; average {gap}"
                )
    missing = list(dict.fromkeys(missing))
    if any(lost):
        reason = f"Rivals win {sum(lost)} of {len(lost)} pairs of suite and rival; fusion wins {sum(won)}."
        return _claim("C1", CONTRADICTED, reason, evidence)
    if missing:
        return _claim("C1", UNDECIDED, f"Without scores: {', '.join(missing)}.", evidence)
    if won and all(won):
        return _claim("C1", SUPPORTED, f"Fusion wins all {len(won)} pairs of suite and rival.", evidence)
    reason = f"Fusion wins {sum(won)} of {len(won)} pairs of suite and rival, no rival wins one; the rest is open."
    return _claim("C1", UNDECIDED, reason, evidence)


def _tokens(all_layouts: Sequence[Layout], shares: Sequence[TokenShare], suites: Suites) -> Claim:
    with_clm = [x.experiment for x in all_layouts if x.main and x.of("clm")]
    experiment = next((e for e in with_clm if any(s.experiment == e for s in shares)), None)
    if experiment is None:
        return _claim("C2", UNDECIDED, "No row pair of fusion and CLM was evaluated on the way (`points`).")
    here = sorted((s for s in shares if s.experiment == experiment), key=lambda s: s.suite != OVERALL)
    evidence = [
        f"{_title(suites, s.suite)}: {share_text(s.share)} of CLM's tokens (interval {share_text(s.low)} to "
        f"{share_text(s.high)}; {s.points} points of training)"
        + ("" if s.learned else "; CLM does not end significantly above the start")
        for s in here
    ]
    decides = next((s for s in here if not lower_is_better(s.metric)), here[0])
    span = f"{share_text(decides.low)} to {share_text(decides.high)}"
    if not decides.learned:
        return _claim("C2", UNDECIDED, "CLM does not end significantly above the start: nothing to reach.", evidence)
    if decides.high < 1:
        reason = f"Fusion needs {share_text(decides.share)} of CLM's tokens (interval {span})."
        return _claim("C2", SUPPORTED, reason, evidence)
    if decides.low > 1:
        return _claim("C2", CONTRADICTED, f"Fusion ends below CLM's final score (interval {span}).", evidence)
    return _claim("C2", UNDECIDED, f"The interval of the share, {span}, contains 100 %.", evidence)


def share_text(share: float) -> str:
    """Return a share of tokens as it is printed: `43 %`, or `not reached`."""
    return "not reached" if share == float("inf") else f"{100 * share:.0f} %"


def _pairs(name: str, book: _Book, experiment: str, pairs: Sequence[tuple[str, str]], suites: Suites) -> Claim:
    """Return the verdict on "the first row of each pair is better"."""
    decisive: list[tuple[str, Gap]] = []
    evidence: list[str] = []
    for a, b in pairs:
        gap, rest = book.deciding(experiment, a, b)
        lines = [f"{a} minus {b}, {_title(suites, g.suite)}: {g}" for g in rest]
        if gap is None:
            return _claim(name, UNDECIDED, f"No score that decides between {a} and {b}.", [*evidence, *lines])
        decisive.append((f"{a} minus {b}", gap))
        evidence += [f"{a} minus {b}, {_title(suites, gap.suite)} (decides): {gap}", *lines]
    verdict = _judge([gap for _, gap in decisive])
    return _claim(name, verdict, _reason(verdict, decisive), evidence)


def _sources(all_layouts: Sequence[Layout], book: _Book, suites: Suites) -> Claim:
    for layout in all_layouts:
        members = layout.axes.get("sources", [])
        if layout.main is not None and len({len(m.sources) for m in members}) > 1:
            fewest = min(len(m.sources) for m in members)
            pairs = [(layout.main.name, m.name) for m in members if len(m.sources) == fewest]
            return _pairs("C3", book, layout.experiment, pairs, suites)
    return _claim("C3", UNDECIDED, "The run has no fusion rows that differ in the number of sources alone.")


def _axis(
    name: str,
    all_layouts: Sequence[Layout],
    book: _Book,
    suites: Suites,
    axis: str,
    setting: str,
    values: tuple[str, str],
) -> Claim:
    for layout in all_layouts:
        members = layout.axes.get(axis, [])
        main = layout.main
        others = [m for m in members if m is not main and main is not None and _one_change(m, main, setting)]
        for other in others:
            assert main is not None
            by = {getattr(main, setting): main.name, getattr(other, setting): other.name}
            if set(by) == set(values):
                return _pairs(name, book, layout.experiment, [(by[values[0]], by[values[1]])], suites)
    return _claim(name, UNDECIDED, f"The run has no pair of fusion rows that differ in {values[0]}/{values[1]} alone.")


def _one_change(row: RowInfo, main: RowInfo, setting: str) -> bool:
    rest = [s for s in ("vocabulary", "sequence", "rule", "criterion") if s != setting]
    return all(getattr(row, s) == getattr(main, s) for s in rest)


def _distillation(all_layouts: Sequence[Layout], book: _Book, suites: Suites) -> Claim:
    for layout in all_layouts:
        if layout.main is not None and layout.of("kd"):
            pairs = [(layout.main.name, row.name) for row in layout.of("kd")]
            return _pairs("C6", book, layout.experiment, pairs, suites)
    return _claim("C6", UNDECIDED, "The run has no experiment with both fusion and distillation.")


def _merging(all_layouts: Sequence[Layout], book: _Book) -> Claim:
    # An experiment with both kinds of rival goes before one that has an ensemble beside other rows.
    for layout in sorted(all_layouts, key=lambda found: -len({row.role for row in found.of("ensemble", "merge")})):
        rivals = layout.of("ensemble", "merge")
        if layout.main is None or not rivals:
            continue
        decisive: list[tuple[str, Gap]] = []
        missing = []
        for rival in rivals:
            found = [
                book.get(layout.experiment, layout.main.name, rival.name, s) for s in book.suites(layout.experiment)
            ]
            gap = next((g for g in found if g is not None and g.metric == BITS_PER_BYTE), None)
            if gap is None:
                missing.append(rival.name)
            else:
                decisive.append((f"{layout.main.name} minus {rival.name}", gap))
        evidence = [f"{pair}: {gap}" for pair, gap in decisive]
        verdict = _judge([gap for _, gap in decisive])
        lacking = missing or sorted({"ensemble", "merge"} - {row.role for row in rivals})
        if lacking and verdict != CONTRADICTED:
            return _claim("C7", UNDECIDED, f"No bits per byte of: {', '.join(lacking)}.", evidence)
        return _claim("C7", verdict, _reason(verdict, decisive), evidence)
    return _claim("C7", UNDECIDED, "The run has no experiment with fusion and an ensemble or a merge.")
