import math
import runpy
from pathlib import Path

import pandas as pd
import pytest

from fusebench.report import RunReport, headline_text
from fusebench.report.build import build_tables, describe
from fusebench.report.formats import count, difference_text, duration, interval_text, value_text
from fusebench.report.headline import headline
from fusebench.report.latex import escape as tex
from fusebench.report.latex import latex
from fusebench.report.markdown import escape as md
from fusebench.report.markdown import markdown
from fusebench.report.tables import Cell, Column, Line, Table, mark_best

RUN = runpy.run_path(str(Path(__file__).with_name("synthetic_run.py")))
SCORE, BITS = Column("Score", "acc"), Column("Bits", "bits_per_byte")


def quick(**changes: object) -> RunReport:
    return RunReport(**{**RUN["parts"](scale=0.3), "bootstrap": 100, **changes})


@pytest.fixture(scope="module")
def report() -> RunReport:
    return quick()


def best(columns: list[Column], *lines: list[float], **options: object) -> list[list[bool]]:
    table = Table(
        "t",
        "main",
        "T",
        "c",
        "Row",
        columns,
        [Line(str(n), [Cell(v) for v in line]) for n, line in enumerate(lines)],
        **options,
    )
    return [[cell.best for cell in line.cells] for line in mark_best(table).lines]


def test_best_is_the_highest_score_and_the_fewest_bits() -> None:
    assert best([SCORE, BITS], [0.5, 0.5], [0.6, 0.6]) == [[False, True], [True, False]]


def test_best_is_sought_within_a_line_where_rows_stand_across() -> None:
    assert best([BITS, BITS], [0.5, 0.4], [0.1, 0.2], across=True) == [[False, True], [True, False]]


def test_equal_values_are_all_best_and_a_missing_one_never() -> None:
    assert best([SCORE], [0.6], [0.6], [0.5], [math.nan]) == [[True], [True], [False], [False]]
    assert best([SCORE], [0.6], [0.6], [math.nan]) == [[False], [False], [False]]


def test_the_bigger_model_does_not_compete(report: RunReport) -> None:
    overview = build_tables(report)[0]
    line = next(line for line in overview.lines if line.name == "big")
    assert not any(cell.best for cell in line.cells)


def test_every_table_of_the_paper_is_there(report: RunReport) -> None:
    assert {t.id for t in build_tables(report)} >= {
        "main-overview",
        "main-suite-toy-bbh",
        "main-suite-toy-commonsense",
        "main-suite-toy-code",
        "main-suite-perplexity",
        "main-sources",
        "main-alignment",
        "main-rule",
        "main-clm-weight",
        "main-distillation",
        "domains-domains-perplexity",
    }


def test_every_row_is_in_its_overview_once(report: RunReport) -> None:
    for layout, table in zip(
        report.analysis.layouts, (t for t in build_tables(report) if t.id.endswith("overview")), strict=True
    ):
        assert sorted(line.name for line in table.lines) == sorted(row.name for row in layout.rows)


def test_cells_hold_the_values_of_the_results_and_differences_to_clm(report: RunReport) -> None:
    overview = build_tables(report)[0]
    at = [c.title for c in overview.columns].index("Toy BBH")
    fusion = next(line for line in overview.lines if line.name == "fusion").cells[at]
    clm = next(line for line in overview.lines if line.name == "clm").cells[at]
    results = report.analysis.results
    want = results.query(
        "method == 'fusion' and experiment == 'main' and step == -1 and suite == 'toy_bbh' and task == 'average'"
    )
    assert fusion.value == pytest.approx(want["value"].iloc[0]) and clm.reference
    assert fusion.difference == pytest.approx(fusion.value - clm.value)
    assert fusion.low < fusion.value < fusion.high


def test_task_tables_have_the_paper_layout(report: RunReport) -> None:
    table = next(t for t in build_tables(report) if t.id == "main-suite-toy-bbh")
    assert [c.title for c in table.columns] == [
        "reasoner",
        "knower",
        "coder",
        "target",
        "clm",
        "fusion",
        "fusion minus clm",
    ]
    assert [line.name for line in table.lines][-1] == "Average" and table.lines[-1].total


def test_the_weight_table_begins_with_plain_continued_training(report: RunReport) -> None:
    table = next(t for t in build_tables(report) if t.id == "main-clm-weight")
    assert [line.name for line in table.lines] == ["clm", "fusion", "fusion-w0.5", "fusion-w0.1"]


def test_a_missing_suite_is_unavailable_in_every_format_and_nowhere_zero() -> None:
    lost = quick(samples=RUN["samples"](scale=0.3, unavailable=("toy_code",)))
    tables = build_tables(lost)
    overview = tables[0]
    at = [c.title for c in overview.columns].index("Toy MultiPL-E")
    assert {value_text(line.cells[at], overview.columns[at]) for line in overview.lines} == {"unavailable"}
    only = [
        Table(
            **{**vars(overview), "columns": [overview.columns[at]], "lines": [Line("a", [overview.lines[0].cells[at]])]}
        )
    ]
    for text in (markdown(only, "t", "s"), latex(only)):
        assert "unavailable" in text and "0.0" not in text
    assert any("not zero" in note and "toy_code" in note for note in overview.notes)


def test_settings_are_described_in_few_words() -> None:
    row = next(r for r in RUN["rows"]() if r.name == "fusion-em")
    assert describe(row) == "3 sources, EM, DTW, MinCE, weight 0.9"


def test_numbers_are_percent_or_bits_with_sign_and_mark() -> None:
    cell = Cell(0.4178, 0.389, 0.447, 0.013, favours=1)
    assert (value_text(cell, SCORE), interval_text(cell, SCORE), difference_text(cell, SCORE)) == (
        "41.8",
        "38.9–44.7",
        "+1.3*",
    )
    assert difference_text(Cell(0.5, difference=-0.0123), BITS) == "−0.0123"
    assert difference_text(Cell(0.5, difference=-0.00001), SCORE) == "0.0"
    assert (count(950), count(12_345), count(7e9), duration(0.44), duration(431)) == (
        "950",
        "12.3k",
        "7B",
        "0.4 s",
        "7 min 11 s",
    )


def test_tex_escapes_its_special_characters() -> None:
    assert tex("a_b & 50% #1 {x} $y ~ ^ \\") == (
        r"a\_b \& 50\% \#1 \{x\} \$y \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )


def test_tex_tables_are_balanced_and_use_booktabs(report: RunReport) -> None:
    text = latex(build_tables(report))
    for pair in (("\\begin{table*}", "\\end{table*}"), ("\\toprule", "\\bottomrule"), ("{", "}")):
        clean = text.replace(r"\{", "").replace(r"\}", "")
        assert clean.count(pair[0]) == clean.count(pair[1]) > 0
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert body and all("−" not in line for line in body)
    assert r"\textbf{" in text and "^{*}" in text


def test_markdown_rows_all_have_the_columns_of_their_head(report: RunReport) -> None:
    text = markdown(build_tables(report), "T", "S")
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1


def test_markdown_escapes_markup() -> None:
    assert md("<b>|a_b*\nc") == "\\<b\\>\\|a\\_b\\* c"


def test_the_headline_says_yes_no_or_open_as_the_test_says() -> None:
    rows = [r for r in RUN["rows"]() if r.experiment == "main" and r.name in ("clm", "fusion")]
    samples = RUN["samples"]()
    samples = samples[(samples["experiment"] == "main") & samples["row"].isin(["clm", "fusion"])]
    assert headline(quick(rows=rows, samples=samples)).answer == "yes"
    names = {"clm": "fusion", "fusion": "clm"}
    swapped = samples.assign(row=samples["row"].map(lambda name: names.get(name, name)).astype("string"))
    assert headline(quick(rows=rows, samples=swapped)).answer == "no"
    twin = samples[samples["row"] != "fusion"]
    copy = twin[twin["row"] == "clm"].assign(row="fusion").astype({"row": "string"})
    same = headline(quick(rows=rows, samples=pd.concat([twin, copy])))
    assert same.answer == "open" and "not significant" in same.sentence


def test_the_headline_names_numbers_the_best_method_and_the_same_batches(report: RunReport) -> None:
    sentence = headline(report).sentence
    assert "fusion-w0.1" in sentence and "same batches" in sentence and "interval" in sentence


def test_without_fusion_the_headline_says_that_the_run_cannot_tell() -> None:
    rows = [row for row in RUN["rows"]() if row.role != "fusion"]
    assert headline(quick(rows=rows)).answer == "none"


def test_the_terminal_table_lines_up(report: RunReport) -> None:
    block = headline_text(report).split("\n\n")[1].splitlines()
    assert len({len(line) for line in block[2:-2] if not line.startswith("-")}) == 1
    assert any(line.startswith("fusion-em") for line in block)
