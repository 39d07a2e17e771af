"""The paper's facts, how a run's protocol differs from the paper's, and the paper's columns in tables by task."""

import csv
import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from fusebench.evaluate import SuiteRun, find_suite
from fusebench.evaluate.protocol import protocol_of
from fusebench.report import RunReport, render
from fusebench.report.build import build_tables
from fusebench.report.formats import value_text
from fusebench.report.latex import latex
from fusebench.report.markdown import markdown
from fusebench.report.paper import AVERAGE, paper_tables, place_of, read_table
from fusebench.report.protocol import compare
from fusebench.report.tables import Table
from fusebench.report.titles import in_order, task_title

RUN = runpy.run_path(str(Path(__file__).with_name("synthetic_run.py")))
BROWSER = runpy.run_path(str(Path(__file__).with_name("chromium.py")))
FILES = {
    "bbh": "table1_bbh",
    "commonsense": "table2_commonsense",
    "multipl_e": "table3_multipl_e",
    "distillation": "table6_distillation",
    "domains": "table7_ensemble_merging_perplexity",
}
SUITES = {
    "bbh": "bbh",
    "bbh_direct": "bbh",
    "commonsense": "commonsense",
    "multipl_e": "multipl_e",
    "multipl_e_greedy": "multipl_e",
}


# ---- facts


@pytest.mark.parametrize(("name", "file"), FILES.items())
def test_the_facts_are_those_of_the_paper(name: str, file: str, shared: Path) -> None:
    with (shared / "paper" / f"{file}.csv").open() as lines:
        head, *rows = csv.reader(lines)
    models, values = read_table(name)
    assert list(models) == head[1:]
    assert values == {row[0]: tuple(map(float, row[1:])) for row in rows}


@pytest.mark.parametrize("name", ["bbh", "commonsense", "multipl_e"])
def test_averages_recompute_to_the_last_digit(name: str) -> None:
    table = paper_tables()[name]
    printed = read_table(name)[1][AVERAGE]
    assert AVERAGE not in table.values
    assert [f"{100 * share:.2f}" for share in table.average(table.values)] == [f"{v:.2f}" for v in printed]


def test_the_distillation_table_repeats_the_averages_of_the_others() -> None:
    _, values = read_table("distillation")
    fused = [paper_tables()[name].models.index("FuseLLM-7B") for name in ("bbh", "commonsense", "multipl_e")]
    averages = [read_table(name)[1][AVERAGE] for name in ("bbh", "commonsense", "multipl_e")]
    assert values["FuseLLM-7B"] == tuple(line[at] for line, at in zip(averages, fused, strict=True))


@pytest.mark.parametrize(("suite", "name"), SUITES.items())
def test_every_task_of_a_suite_is_one_row_of_the_paper(suite: str, name: str) -> None:
    places = [place_of(task) for task in find_suite(suite).tasks]
    assert {place[0] for place in places if place is not None} == {name}
    assert sorted(place[1] for place in places if place is not None) == sorted(paper_tables()[name].values)


def test_tasks_stand_in_the_papers_order_and_others_behind_them() -> None:
    mixed = ["gsm8k", *find_suite("bbh").tasks]
    titles = [task_title(task) for task in in_order(mixed)]
    assert titles == [*paper_tables()["bbh"].values, "gsm8k"]


def test_toy_tasks_have_titles_and_no_place_in_the_paper() -> None:
    assert [task_title(t) for t in ("toy_object_counting", "toy_code_js")] == ["Object counting", "JavaScript"]
    assert place_of("toy_object_counting") is None


# ---- protocols, read from the definitions


def test_definitions_say_how_each_suite_is_put() -> None:
    bbh = protocol_of(SuiteRun(find_suite("bbh"))).tasks
    assert {(p.shots, p.chain_of_thought, p.samples, p.metric) for p in bbh.values()} == {(3, True, 1, "exact_match")}
    direct = protocol_of(SuiteRun(find_suite("bbh_direct"))).tasks
    assert {p.chain_of_thought for p in direct.values()} == {False}
    drawn = protocol_of(SuiteRun(find_suite("multipl_e"))).tasks
    assert {(p.samples, p.temperature, p.top_p) for p in drawn.values()} == {(20, 0.2, 0.95)}
    greedy = protocol_of(SuiteRun(find_suite("multipl_e_greedy"))).tasks
    assert {(p.samples, p.temperature) for p in greedy.values()} == {(1, 0.0)}
    choice = protocol_of(SuiteRun(find_suite("commonsense"))).tasks
    assert {(p.choice, p.shots) for p in choice.values()} == {(True, 0)}
    assert {task: p.metric for task, p in choice.items() if p.metric != "acc_norm"} == {"boolq": "acc"}


def test_definitions_know_the_number_of_items() -> None:
    sizes = {s: sum(p.items for p in protocol_of(SuiteRun(find_suite(s))).tasks.values()) for s in SUITES}
    assert sizes["bbh"] == sizes["bbh_direct"] == 6511
    assert sizes["commonsense"] == 2376 + 1172 + 3270 + 10042 + 500
    assert sizes["multipl_e"] == sizes["multipl_e_greedy"] == 161 + 154 + 158 + 161 * 5 + 156 + 159


def test_shots_of_a_run_count_but_where_a_task_has_none_by_definition() -> None:
    assert {p.shots for p in protocol_of(SuiteRun(find_suite("bbh"), shots=1)).tasks.values()} == {1}
    assert {p.shots for p in protocol_of(SuiteRun(find_suite("multipl_e"), shots=1)).tasks.values()} == {0}


def test_a_definition_agrees_with_the_task_that_lm_eval_builds() -> None:
    from fusebench.evaluate.tasks import load_tasks

    data = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not data.is_dir():
        pytest.skip("needs ../shared/data")
    names = ["bbh_cot_fewshot_snarks", "bbh_direct_snarks", "boolq", "multipl_e_rs", "multipl_e_greedy_rs"]
    read = protocol_of(SuiteRun(find_suite("mine", names), shots=None)).tasks
    for name, task in load_tasks(names, data_root=data).items():
        own = read[name]
        drawing = task.get_config("generation_kwargs") or {}
        assert task.get_config("num_fewshot") == own.shots
        assert (task.get_config("repeats") or 1) == own.samples
        assert bool(drawing.get("do_sample")) == (own.temperature > 0)
        assert str(task.get_config("metadata")["version"]) == own.version
        assert own.metric in task.aggregation()
        assert len(task.eval_docs) == own.items


# ---- differences


def differences(
    name: str, tasks: list[str] | None = None, *, limit: int | None = None, lost: tuple[str, ...] = (), **run: object
) -> dict[str, list[str]]:
    """Return what `compare` says of a suite by kind, what is the same under `same`."""
    suite = find_suite(name, tasks)
    length = run.pop("max_length", None)
    protocol = protocol_of(SuiteRun(suite, limit, **run), max_length=length)  # type: ignore[arg-type]
    items = {task: min(own.items, limit or own.items) for task, own in protocol.tasks.items()}
    found = compare(suite.family, protocol, items, [task for task in items if task not in lost])
    assert found is not None
    out: dict[str, list[str]] = {"same": found.same}
    for one in found.differs:
        out.setdefault(one.kind, []).append(one.text)
    return out


@pytest.mark.parametrize("suite", ["bbh", "commonsense", "multipl_e"])
def test_the_papers_own_protocol_differs_in_the_programs_version_alone(suite: str) -> None:
    assert set(differences(suite)) == {"same", "version"}


def test_the_same_program_is_no_difference() -> None:
    suite = find_suite("commonsense")
    protocol = protocol_of(SuiteRun(suite))
    old = {task: replace(own, program="lm-eval 0.3.0") for task, own in protocol.tasks.items()}
    items = {task: own.items for task, own in old.items()}
    found = compare("commonsense", replace(protocol, tasks=old), items, items)
    assert found is not None and found.differs == []
    assert "all 5 tasks" in found.same and "all 17,360 items" in found.same


def test_fewer_items_are_a_difference() -> None:
    assert differences("bbh", limit=10)["limit"] == ["10 items a task instead of 146 to 250"]
    assert differences("bbh", limit=200)["limit"][0].startswith("200 items a task instead of 250 (")


def test_more_items_than_there_are_take_all_and_differ_in_nothing() -> None:
    assert "limit" not in differences("bbh", limit=1000)


def test_fewer_tasks_are_a_difference_and_named() -> None:
    assert differences("bbh", ["navigate", "snarks"])["subset"] == ["2 of 27 tasks: Navigate, Snarks"]
    most = [task for task in find_suite("commonsense").tasks if task != "boolq"]
    assert differences("commonsense", most)["subset"] == ["4 of 5 tasks: without BoolQ"]


def test_tasks_that_could_not_be_scored_are_a_difference() -> None:
    assert differences("multipl_e_greedy", lost=("multipl_e_greedy_go",))["subset"] == ["not scored: Go"]


def test_other_shots_decoding_and_reasoning_are_differences() -> None:
    assert differences("bbh", shots=1)["shots"] == ["1 example instead of 3 examples"]
    assert differences("commonsense", shots=5)["shots"] == ["5 examples instead of zero-shot"]
    assert differences("bbh_direct")["decoding"] == ["answers at once instead of chain of thought"]
    assert differences("multipl_e_greedy")["decoding"] == [
        "one greedy answer instead of 20 samples at temperature 0.2, top-p 0.95"
    ]


def test_another_metric_is_a_difference_of_its_task() -> None:
    suite = find_suite("commonsense")
    protocol = protocol_of(SuiteRun(suite))
    changed = {**protocol.tasks, "hellaswag": replace(protocol.tasks["hellaswag"], metric="acc")}
    items = {task: own.items for task, own in changed.items()}
    found = compare("commonsense", replace(protocol, tasks=changed), items, items)
    assert found is not None
    assert [one.text for one in found.differs if one.kind == "metric"] == [
        "accuracy instead of length-normalised accuracy (HellaSwag)"
    ]


def test_a_shorter_context_is_a_difference() -> None:
    assert differences("bbh", max_length=512)["length"] == ["prompt and answer together cut to 512 tokens"]


def test_a_toy_suite_is_marked_and_has_no_table_of_the_paper() -> None:
    protocol = protocol_of(SuiteRun(find_suite("toy_bbh")))
    found = compare("bbh", protocol, dict.fromkeys(protocol.tasks, 60), protocol.tasks)
    assert found is not None and found.table is None
    assert [one.kind for one in found.differs] == ["toy"]


def test_a_suite_that_the_paper_lacks_is_not_compared() -> None:
    protocol = protocol_of(SuiteRun(find_suite("gsm8k")))
    assert compare("gsm8k", protocol, {"gsm8k": 10}, ["gsm8k"]) is None
    assert compare("bbh", None, {"bbh_cot_fewshot_navigate": 10}, []) is None


# ---- tables


def report(**options: object) -> RunReport:
    return RunReport(**{**RUN["real_parts"](**options), "bootstrap": 40})


@pytest.fixture(scope="module")
def whole() -> RunReport:
    return report()


def by_task(run: RunReport, suite: str) -> Table:
    return next(table for table in build_tables(run) if table.id == f"main-suite-{suite}")


@pytest.mark.parametrize("suite", ["bbh", "commonsense", "multipl-e-greedy"])
def test_lines_are_the_papers_in_its_order_with_its_numbers(whole: RunReport, suite: str) -> None:
    table = by_task(whole, suite)
    name = suite.removesuffix("-greedy").replace("-", "_")
    _, printed = read_table(name)
    assert [line.name for line in table.lines] == list(printed)
    at = [k for k, column in enumerate(table.columns) if column.paper]
    for line in table.lines:
        shown = [value_text(line.cells[k], table.columns[k]) for k in at]
        assert shown == [f"{value:.2f}" for value in printed[line.name]]


def test_the_papers_numbers_are_never_best_and_have_no_interval_or_difference(whole: RunReport) -> None:
    table = by_task(whole, "commonsense")
    for line in table.lines:
        for cell, column in zip(line.cells, table.columns, strict=True):
            if column.paper:
                assert not cell.best and cell.low != cell.low and cell.difference != cell.difference
    # The paper's HellaSwag is far above this run's best, which stays best nonetheless.
    assert any(cell.best for cell in table.lines[3].cells)


def test_the_papers_numbers_enter_no_statistic(whole: RunReport) -> None:
    assert set(whole.analysis.results["method"]) == set(RUN["REAL_ROWS"])


def test_the_overview_marks_the_suites_that_are_not_put_as_in_the_paper(whole: RunReport) -> None:
    overview = build_tables(whole)[0]
    assert {c.title: c.note.endswith("†") for c in overview.columns} == {
        "All suites": False,
        "BIG-Bench Hard": True,
        "CommonSense": True,
        "MultiPL-E, greedy": True,
        "Bits per byte": False,
    }
    assert any(note.startswith("† Not") for note in overview.notes)


def test_of_a_subset_the_papers_average_is_over_the_same_tasks_and_says_so() -> None:
    names = ["bbh_cot_fewshot_navigate", "bbh_cot_fewshot_snarks"]
    table = by_task(report(tasks={"bbh": names}), "bbh")
    average = table.lines[-1]
    fused = average.cells[[c.title for c in table.columns].index("FuseLLM-7B")]
    assert fused.value == pytest.approx((0.6440 + 0.4944) / 2)
    assert "same 2 tasks" in average.note


def test_an_unavailable_task_is_left_out_of_the_papers_average_too() -> None:
    table = by_task(report(unavailable=("multipl_e_greedy_go",)), "multipl-e-greedy")
    average = table.lines[-1]
    fused = average.cells[[c.title for c in table.columns].index("FuseLLM-7B")]
    assert fused.value == pytest.approx((10 * 0.15564 - 0.5978) / 9, abs=1e-4)
    assert "same 9 tasks" in average.note
    assert value_text(table.lines[1].cells[-1], table.columns[-1]) == "59.78"


def test_fewer_items_are_said_on_every_line(whole: RunReport) -> None:
    notes = [line.note for line in by_task(whole, "commonsense").lines]
    assert notes[:2] == ["n = 20 of 2,376", "n = 20 of 1,172"]


def test_distillation_and_domain_tables_cite_the_papers_but_not_in_the_toy_world() -> None:
    parts = {**RUN["parts"](scale=0.15), "bootstrap": 40}
    toy = build_tables(RunReport(**parts))
    assert not any("Table 6" in note or "Table 7" in note for table in toy for note in table.notes)
    tables = {table.id: table.notes for table in build_tables(RunReport(**{**parts, "protocols": {}}))}
    distilled = tables["main-distillation"][-1]
    assert "Table 6" in distilled and "FuseLLM-7B 41.75" in distilled
    (merged,) = tables["domains-domains-perplexity"]
    assert "Table 7" in merged and "Weight merging 0.7112" in merged and "FuseLLM 0.7034" in merged


def test_toy_suites_and_domains_have_no_columns_of_the_paper() -> None:
    run = RunReport(**{**RUN["parts"](scale=0.15), "bootstrap": 40})
    tables = build_tables(run)
    assert not any(column.paper for table in tables for column in table.columns)
    toy = next(table for table in tables if table.id == "main-suite-toy-bbh")
    assert toy.protocol is not None and toy.differs


def test_a_run_without_protocols_is_not_compared() -> None:
    parts = {**RUN["real_parts"](), "protocols": {}, "bootstrap": 40}
    assert all(table.protocol is None for table in build_tables(RunReport(**parts)))


def test_markdown_marks_differences_and_names_the_papers_columns(whole: RunReport) -> None:
    table = by_task(whole, "commonsense")
    text = markdown([table], "T", "S")
    assert "## CommonSense by task · main †" in text and "Paper: FuseLLM-7B" in text
    assert "- limit: 20 items a task instead of 500 to 10,042" in text and "arXiv:2401.10491" in text


def test_tex_has_a_group_of_columns_for_the_paper(whole: RunReport) -> None:
    table = by_task(whole, "multipl-e-greedy")
    text = latex([table])
    assert r"\multicolumn{6}{c}{This run} & \multicolumn{5}{c}{Paper (7B models)}" in text
    assert r"\cmidrule(lr){2-7}\cmidrule(lr){8-12}" in text and r"$^\dagger$Not as in the paper" in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {line.replace(r"\&", "").count("&") for line in rows} == {11}


@pytest.fixture(scope="module")
def page(whole: RunReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(whole, tmp_path_factory.mktemp("paper"))


def test_the_page_sets_the_papers_columns_apart_and_marks_differences(page: Path) -> None:
    text = page.read_text()
    assert text.count('class="over"') == 3
    assert '<td class="paper first">69.70</td>' in text
    assert '<span class="chip undecided">limit</span> 20 items a task' in text
    assert 'href="#main-suite-bbh-protocol"' in text and 'id="main-suite-bbh-protocol"' in text


@pytest.mark.skipif(BROWSER["BROWSER"] is None, reason="no Chromium on this machine")
def test_wide_tables_scroll_in_their_box_on_a_phone(page: Path) -> None:
    with BROWSER["Page"]() as browser:
        for width in (1280, 390):
            browser.open(page, width)
            assert browser.value("document.documentElement.scrollWidth") <= width
            assert browser.complaints() == []
        box = "document.querySelector('.beside')"
        assert browser.value(f"{box}.scrollWidth > {box}.clientWidth")
        browser.value(f"{box}.scrollLeft = 9999")
        first = f"{box}.querySelector('tbody th').getBoundingClientRect()"
        assert browser.value(f"{first}.left") == 0
