import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fusebench.artifacts import RowInfo
from fusebench.stats import analyse
from fusebench.stats.efficiency import reach
from fusebench.stats.rowgroups import layouts, planned_pairs

RUN = runpy.run_path(str(Path(__file__).with_name("synthetic_run.py")))
TOKENS = np.array([0.0, 10.0, 20.0, 30.0])


@pytest.mark.parametrize(
    ("curve", "goal", "want"),
    [
        ([0.0, 0.2, 0.4, 0.6], 0.3, 15.0),
        ([0.0, 0.2, 0.4, 0.6], 0.6, 30.0),
        ([0.5, 0.6, 0.7, 0.8], 0.5, 0.0),
        ([0.0, 0.9, 0.2, 0.4], 0.3, 25.0),
        ([0.0, 0.9, 0.9, 0.2], 0.3, np.inf),
    ],
)
def test_reach_is_the_last_crossing_of_the_goal(curve: list[float], goal: float, want: float) -> None:
    assert reach(TOKENS, np.array([curve]), np.array([goal]))[0] == pytest.approx(want)


def test_fusion_that_learns_faster_needs_fewer_tokens_and_slower_never_arrives() -> None:
    samples, rows = RUN["samples"](), RUN["rows"]()
    samples = samples[samples["row"].isin(["target", "clm", "fusion"]) & (samples["experiment"] == "main")]
    rows = [r for r in rows if r.experiment == "main" and r.name in ("target", "clm", "fusion")]
    faster = {s.suite: s for s in analyse(samples, rows, RUN["TITLES"], bootstrap=200).shares}
    assert set(faster) == {"toy_bbh", "toy_commonsense", "toy_code", "perplexity", "overall"}
    assert faster["perplexity"].high < 0.6 and faster["overall"].high < 1
    names = {"clm": "fusion", "fusion": "clm"}
    swapped = samples.assign(row=samples["row"].map(lambda name: names.get(name, name)).astype("string"))
    slower = {s.suite: s for s in analyse(swapped, rows, RUN["TITLES"], bootstrap=200).shares}
    assert slower["perplexity"].share == np.inf and slower["perplexity"].low == np.inf


def test_the_overall_share_is_over_the_suites_evaluated_on_the_way() -> None:
    samples, rows = RUN["samples"](), RUN["rows"]()
    samples = samples[(samples["step"] == -1) | samples["suite"].isin(["toy_bbh", "toy_commonsense"])]
    shares = {s.suite: s for s in analyse(samples, rows, RUN["TITLES"], bootstrap=50).shares}
    assert set(shares) == {"toy_bbh", "toy_commonsense", "overall"}


def test_main_is_the_first_fusion_row_with_most_sources_and_clm_the_baseline() -> None:
    layout = layouts(RUN["rows"]())[0]
    assert layout.main.name == "fusion" and layout.baseline.name == "clm"


def test_each_axis_holds_the_rows_that_differ_along_it_alone() -> None:
    layout = layouts(RUN["rows"]())[0]
    names = {axis: [row.name for row in members] for axis, members in layout.axes.items()}
    assert names == {
        "sources": ["fusion-1", "fusion-2", "fusion"],
        "alignment": ["fusion", "fusion-em"],
        "rule": ["fusion", "fusion-avg"],
        "clm_weight": ["fusion", "fusion-w0.5", "fusion-w0.1"],
    }
    assert layout.others == []


def test_a_fusion_row_that_differs_in_two_ways_or_elsewhere_is_kept_as_another_variant() -> None:
    rows = RUN["rows"]()
    main = next(r for r in rows if r.name == "fusion")
    two = replace(main, name="two", vocabulary="em", rule="avg_ce")
    hidden = replace(main, name="hidden")
    assert [r.name for r in layouts([*rows, two, hidden])[0].others] == ["two", "hidden"]


def test_without_clm_the_target_is_the_baseline_and_every_row_is_compared_once() -> None:
    rows = [r for r in RUN["rows"]() if r.experiment == "domains"]
    assert layouts(rows)[0].baseline.name == "base"
    pairs = planned_pairs(rows)
    assert len({frozenset(p[1:]) for p in pairs}) == len(pairs)
    assert {("domains", "fusion", "ensemble"), ("domains", "fusion", "merge"), ("domains", "fusion", "base")} <= set(
        pairs
    )


def test_no_rows_give_no_layout() -> None:
    assert layouts([]) == [] and planned_pairs([RowInfo("e", "a", "model", "target")]) == []


def test_a_baseline_that_stays_where_it_began_is_said_to_have_learned_nothing() -> None:
    samples, rows = RUN["samples"](), RUN["rows"]()
    assert all(
        s.learned for s in analyse(samples, rows, RUN["TITLES"], bootstrap=100).shares if s.suite == "perplexity"
    )
    final = (samples["row"] == "clm") & (samples["step"] == -1)
    start = samples[(samples["row"] == "target") & (samples["experiment"] == "main")]
    flat = pd.concat([samples[~final], start.assign(row="clm", tokens=300_000).astype({"row": "string"})])
    flat_shares = analyse(flat, rows, RUN["TITLES"], bootstrap=100).shares
    assert flat_shares and not any(s.learned for s in flat_shares)
