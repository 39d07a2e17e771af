"""The answer in one sentence, and the table the command line prints."""

from __future__ import annotations

from dataclasses import dataclass

from fusebench.report.build import build_tables
from fusebench.report.formats import difference_text, number, signed, value_text
from fusebench.report.numbers import Numbers
from fusebench.report.run_report import RunReport
from fusebench.report.tables import Column, Table
from fusebench.stats.claims import p_text, share_text
from fusebench.stats.metrics import lower_is_better
from fusebench.stats.rowgroups import Layout
from fusebench.stats.summary import OVERALL

AS_IT_IS = ("target", "source", "teacher")


@dataclass(frozen=True)
class Headline:
    """The answer.

    Args:
        answer: `yes`, `no`, `open` or `none` (the run cannot say).
        sentence: plain words with the numbers.
        remark: a second sentence, on models that were only taken as they are; may be empty.
        facts: label and value of the few numbers that matter.
    """

    answer: str
    sentence: str
    remark: str
    facts: list[tuple[str, str]]


def headline(report: RunReport) -> Headline:
    """Return the answer of the first experiment that has a fusion row and something to compare it with."""
    if report.only_models:
        return _models(report, report.analysis.layouts[0])
    for layout in report.analysis.layouts:
        if layout.main is not None and layout.baseline is not None and layout.baseline is not layout.main:
            numbers = Numbers(report, layout)
            suite = numbers.deciding()
            if suite and numbers.value(layout.main.name, suite) and numbers.value(layout.baseline.name, suite):
                return _answer(report, layout, numbers, suite)
    return Headline(
        "none", "This run cannot say whether fusion pays off: it has no fusion row and baseline with scores.", "", []
    )


def _answer(report: RunReport, layout: Layout, numbers: Numbers, suite: str) -> Headline:
    main, base = layout.main, layout.baseline
    assert main is not None and base is not None
    bits = lower_is_better(numbers.metric(suite))
    gap = numbers.gap(main.name, base.name, suite)

    def show(row: str) -> str:
        found = numbers.value(row, suite)
        assert found is not None
        return number(float(found["value"]), bits=bits) + ("" if bits else " %")

    unit = "bits per byte" if bits else "points"
    percent = f"{100 * report.confidence:g} %"
    spread = f"{signed(gap.difference_low, bits=bits)} to {signed(gap.difference_high, bits=bits)}"
    test = f"{percent} interval {spread}, {'adjusted ' * (report.correction != 'none')}p {p_text(gap.p)}"
    same = bool(main.batches) and main.batches == base.batches
    rival = f"plain continued training on the same batches ({base.name})" if same and base.role == "clm" else base.name
    scored = all(numbers.has(name) for name in numbers.suites)
    over = "all suites" if scored else "the suites that could be scored"
    where = f"averaged over {over}" if suite == OVERALL else f"on {report.suite_title(suite)}"
    several = f"fusing {len(main.sources)} source{'s' * (len(main.sources) != 1)}"
    scores = f"{several} ({main.name}) scores {show(main.name)} {where}, against {show(base.name)} for {rival}"
    size = signed(abs(gap.difference), bits=bits).lstrip("+")
    if gap.favours > 0:
        answer, start, end = "yes", "Yes, fusion pays off here", f"a significant gain of {size} {unit} ({test})"
    elif gap.favours < 0:
        answer, start, end = "no", "No, fusion does not pay off here", f"a significant loss of {size} {unit} ({test})"
    else:
        shift = signed(gap.difference, bits=bits)
        answer, start = "open", "Not shown that fusion pays off here"
        end = f"a difference of {shift} {unit} that is not significant ({test})"
    tried = [row for row in layout.rows if row.role not in AS_IT_IS and numbers.value(row.name, suite)]
    order = -1.0 if bits else 1.0

    def rank(name: str) -> float:
        found = numbers.value(name, suite)
        return order * float(found["value"]) if found else float("-inf")

    top = max(rank(row.name) for row in tried)
    winners = [row.name for row in tried if top - rank(row.name) < 1e-12]
    best = " and ".join(winners) if len(winners) < 3 else f"{winners[0]} and {len(winners) - 1} others"
    verb = "is" if len(winners) == 1 else "are equally"
    which = f"the best of the {len(tried)} methods tried {verb} {best} with {show(winners[0])}"
    taken = [row for row in layout.of("target", "source") if rank(row.name) > rank(main.name)]
    remark = ""
    if taken:
        names = ", ".join(f"{row.name} ({show(row.name)})" for row in taken)
        remark = f"As they are, without any training, these score higher than {main.name}: {names}."
    facts = [
        (main.name, show(main.name)),
        (base.name, show(base.name)),
        ("Difference", f"{difference_text(gap, _column(numbers.metric(suite)))} {unit}"),
        ("Best method", f"{best}, {show(winners[0])}"),
    ]
    share = next((s for s in report.analysis.shares if (s.experiment, s.suite) == (layout.experiment, suite)), None)
    if share is not None and share.learned:
        facts.append((f"Tokens to reach {share.baseline}'s final score", share_text(share.share)))
    return Headline(answer, f"{start}: {scores}, {end}; {which}.", remark, facts)


def _models(report: RunReport, layout: Layout) -> Headline:
    """Return the score of each model that was evaluated without an experiment around it."""
    numbers = Numbers(report, layout)
    suite = numbers.deciding()
    bits = lower_is_better(numbers.metric(suite))
    scored = {row.name: float(found["value"]) for row in layout.rows if (found := numbers.value(row.name, suite))}
    if not scored:
        return Headline("none", "Nothing could be scored here.", "", [])
    shown = {name: number(value, bits=bits) + ("" if bits else " %") for name, value in scored.items()}
    where = "averaged over all suites" if suite == OVERALL else f"on {report.suite_title(suite)}"
    best = min(scored, key=lambda name: scored[name] if bits else -scored[name])
    many = f", the best of {len(scored)} models" if len(scored) > 1 else ""
    unit = " bits per byte" if bits else ""
    return Headline("none", f"{best} scores {shown[best]}{unit} {where}{many}.", "", list(shown.items()))


def _column(metric: str) -> Column:
    return Column("", metric)


def headline_text(report: RunReport) -> str:
    """Return the answer and the table of all rows as plain text, for a terminal or a log.

    One table per experiment: suite averages in percent (bits per byte as such), `*` marks a significant
    difference to the baseline, the best value has `<` after it.
    """
    top = headline(report)
    parts = [top.sentence + (f" {top.remark}" if top.remark else "")]
    parts += [plain(table) for table in build_tables(report) if table.id.endswith("overview")]
    return "\n\n".join(parts) + "\n"


def plain(table: Table) -> str:
    """Return a table as aligned plain text."""
    head = [table.stub, *(column.title for column in table.columns)]
    body = []
    for line in table.lines:
        cells = []
        for cell, column in zip(line.cells, table.columns, strict=True):
            text = value_text(cell, column) + ("<" if cell.best else "")
            gap = difference_text(cell, column)
            cells.append(f"{text} ({gap})" if gap and text else text or gap)
        body.append([line.name, *cells])
    widths = [max(len(row[k]) for row in [head, *body]) for k in range(len(head))]
    rows = [
        "  ".join(
            word.ljust(w) if k == 0 else word.rjust(w) for k, (word, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in [head, *body]
    ]
    rule = "-" * len(rows[0])
    foot = f"in brackets: difference to {table.reference}; * significant; < best" if table.reference else "< best"
    return "\n".join(
        [f"{table.title} · {table.experiment}", rule, rows[0], rule, *(row.rstrip() for row in rows[1:]), rule, foot]
    )
