"""The alignment doctor's table in the report."""

import pytest

from fusebench.align.summary import Summary, WorstToken
from fusebench.artifacts import OUTCOMES
from fusebench.report import RunReport, render
from fusebench.report.doctor import alignment_tables
from tests.synthetic_run import parts, rows

EVIL = "<script>alert(1)</script>"


def shares(*values):
    """Return shares by outcome."""
    return dict(zip(OUTCOMES, values, strict=True))


@pytest.fixture
def report():
    """Return a made-up run whose main fusion row has an alignment with one source."""
    main = next(row for row in rows() if row.role == "fusion")
    summary = Summary(
        100,
        shares(0.5, 0.2, 0.1, 0.05, 0.15),
        {"letters": shares(0.9, 0.0, 0.0, 0.0, 0.1), "digits": shares(0.0, 0.0, 0.25, 0.25, 0.5)},
        {"letters": 80, "digits": 20},
        0.034,
        [WorstToken(EVIL, 7, 9, "around", ["a"])],
    )
    return RunReport(**parts(), alignments={(main.experiment, main.name, "other"): summary})


def test_a_source_row_is_exact_mapped_or_tied(report):
    (table,) = alignment_tables(report)
    assert table.head[1:4] == ["All tokens", "letters", "digits"]
    assert table.body[0][:5] == ["other", "80.0 %", "90.0 %", "25.0 %", "3.4 %"]


def test_the_worst_tokens_stand_in_the_page_escaped(report, tmp_path):
    page = render(report, tmp_path).read_text()
    assert EVIL not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; (7)" in page


def test_a_run_without_summaries_has_no_such_table():
    assert alignment_tables(RunReport(**parts())) == []
