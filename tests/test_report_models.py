"""Models evaluated without a recipe: rows in the paper's order with titles, and a page that judges no fusion."""

import json
import runpy
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from fusebench.artifacts import RowInfo
from fusebench.cli import app
from fusebench.report import RunReport, render, with_titles
from fusebench.report.build import build_tables
from fusebench.report.headline import headline
from fusebench.stats import summarise
from tests.tiny_models import save_byte_model

RUN = runpy.run_path(str(Path(__file__).with_name("synthetic_run.py")))


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [save_byte_model(tmp_path_factory.mktemp(f"model{seed}"), seed=seed) for seed in (0, 1)]


def of_models(names: tuple[str, ...]) -> RunReport:
    parts = RUN["real_parts"]()
    samples = parts["samples"]
    return RunReport(
        **{
            **parts,
            "rows": [RowInfo("main", name, "model", "model") for name in names],
            "samples": samples[samples["row"].isin(names) & (samples["step"] == -1)],
            "choices": {},
            "coverage": pd.DataFrame(columns=["experiment", "row", "source", "outcome", "share"]),
            "bootstrap": 40,
        }
    )


def test_results_stand_in_the_papers_order_with_titles_averages_last() -> None:
    samples = RUN["real_parts"]()["samples"]
    shuffled = summarise(samples[samples["step"] == -1].iloc[::-1])
    rows = with_titles(shuffled)
    assert len(rows) == len(shuffled)
    first = rows[(rows["method"] == rows["method"][0]) & (rows["suite"] == "bbh")]
    titles = list(first["title"])
    assert titles[:3] == ["Boolean Expressions", "Causal Judgement", "Date Understanding"] and titles[-1] == "average"
    assert titles.index("Logical Deduction (3)") < titles.index("Logical Deduction (5)")
    assert rows["suite"].iloc[-1] == "overall"
    assert rows["method"].nunique() == (rows["method"] != rows["method"].shift()).sum()


def test_the_page_has_the_papers_numbers_and_no_claims(tmp_path: Path) -> None:
    text = render(of_models(("target", "knower")), tmp_path).read_text()
    assert "Paper (7B models)" in text and 'class="chip undecided">limit' in text
    assert 'id="claims"' not in text and "Does fusion pay off" not in text and "2</b> models" in text


def test_the_headline_names_the_best_model() -> None:
    found = headline(of_models(("target", "knower")))
    assert found.sentence.startswith("knower scores") and "the best of 2 models" in found.sentence
    assert [name for name, _ in found.facts] == ["target", "knower"]


def test_one_model_alone_is_compared_with_nothing() -> None:
    overview = build_tables(of_models(("knower",)))[0]
    assert overview.reference == "" and "difference" not in overview.caption
    assert not any(cell.reference for line in overview.lines for cell in line.cells)


def test_eval_writes_a_page_beside_its_rows(two_models: list[str], tmp_path: Path) -> None:
    where = ["--run-dir", str(tmp_path / "run"), "--report-dir", str(tmp_path / "report")]
    suites = ["--suite", "toy_commonsense", "--suite", "toy_bbh", "--limit", "2"]
    result = CliRunner().invoke(app, ["eval", *two_models, *suites, *where, "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert {row["title"] for row in rows} >= {"Object counting", "Places", "average"}
    text = (tmp_path / "report" / "index.html").read_text()
    assert all(Path(folder).name in text for folder in two_models)
    assert '<span class="chip undecided">toy</span>' in text
    assert (tmp_path / "report" / "results.jsonl").is_file()
    again = CliRunner().invoke(app, ["eval", *two_models, *suites, *where])
    assert again.exit_code == 0 and "report:" in again.stdout and "Object counting" in again.stdout
