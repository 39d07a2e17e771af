import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fusebench.stats import AVERAGE, OVERALL, compare
from fusebench.stats.paired import mcnemar

RUN = runpy.run_path(str(Path(__file__).with_name("synthetic_run.py")))
PAIRS = [("main", "fusion", "clm"), ("main", "fusion", "reasoner"), ("main", "fusion-em", "fusion")]


@pytest.fixture(scope="module")
def samples() -> pd.DataFrame:
    return RUN["samples"]()


def run(samples: pd.DataFrame, pairs: list = PAIRS, **options: object) -> pd.DataFrame:
    return compare(samples, pairs, **{"confidence": 0.95, "bootstrap": 300, "correction": "holm", "seed": 1, **options})


def one(got: pd.DataFrame, a: str, b: str, suite: str, task: str = AVERAGE) -> pd.Series:
    found = got[(got["a"] == a) & (got["b"] == b) & (got["suite"] == suite) & (got["task"] == task)]
    assert len(found) == 1
    return found.iloc[0]


def test_fewer_bits_favour_the_first_row_and_more_points_do(samples: pd.DataFrame) -> None:
    got = run(samples)
    bits, score = one(got, "fusion", "clm", "perplexity"), one(got, "fusion", "clm", "toy_bbh")
    assert bits["difference"] < 0 and bits["favours"] == "a"
    assert score["difference"] > 0 and score["favours"] == "a"
    assert one(got, "fusion", "reasoner", "toy_bbh")["favours"] == "b"


def test_right_or_wrong_tasks_get_mcnemar_and_the_rest_permutations(samples: pd.DataFrame) -> None:
    got = run(samples, PAIRS[:1])
    row = one(got, "fusion", "clm", "toy_bbh", "navigate")
    here = samples[(samples["experiment"] == "main") & (samples["task"] == "navigate") & (samples["step"] == -1)]
    wide = here.pivot(index="item", columns="row", values="value")
    b = int(((wide["fusion"] == 1) & (wide["clm"] == 0)).sum())
    c = int(((wide["fusion"] == 0) & (wide["clm"] == 1)).sum())
    assert row["test"] == "mcnemar_exact" and row["p"] == pytest.approx(mcnemar(np.array([b]), np.array([c]))[0])
    assert row["difference"] == pytest.approx((b - c) / len(wide)) and row["n"] == len(wide)
    assert one(got, "fusion", "clm", "perplexity", "code")["test"] == "paired_permutation"
    assert one(got, "fusion", "clm", "toy_bbh")["test"] == "stratified_permutation"


def test_the_average_is_the_mean_of_the_tasks_and_overall_of_the_score_suites(samples: pd.DataFrame) -> None:
    got = run(samples, PAIRS[:1])
    tasks = got[(got["suite"] == "toy_bbh") & (got["task"] != AVERAGE)]["difference"]
    assert one(got, "fusion", "clm", "toy_bbh")["difference"] == pytest.approx(tasks.mean())
    scores = [one(got, "fusion", "clm", s)["difference"] for s in ("toy_bbh", "toy_commonsense", "toy_code")]
    assert one(got, "fusion", "clm", OVERALL)["difference"] == pytest.approx(np.mean(scores))


def test_the_same_seed_gives_the_same_numbers_and_another_suite_moves_none(samples: pd.DataFrame) -> None:
    got = run(samples)
    pd.testing.assert_frame_equal(got, run(samples))
    fewer = run(samples[samples["suite"] != "toy_code"], correction="none")
    alike = run(samples, correction="none")
    same = alike[alike["suite"].isin(["toy_bbh", "perplexity"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, fewer[fewer["suite"].isin(["toy_bbh", "perplexity"])].reset_index(drop=True))


def test_turning_a_pair_round_turns_the_difference_and_keeps_the_p_value(samples: pd.DataFrame) -> None:
    there, back = run(samples, [("main", "fusion", "clm")]), run(samples, [("main", "clm", "fusion")])
    assert there["difference"].to_numpy() == pytest.approx(-back["difference"].to_numpy())
    assert there["p"].to_numpy() == pytest.approx(back["p"].to_numpy())


def test_only_items_that_both_have_are_compared(samples: pd.DataFrame) -> None:
    lost = samples.copy()
    gone = (lost["row"] == "clm") & (lost["task"] == "python") & lost["item"].isin(["python-0", "python-1"])
    lost.loc[gone, "status"] = "error"
    lost.loc[gone, "value"] = np.nan
    assert one(run(lost, PAIRS[:1]), "fusion", "clm", "toy_code", "python")["n"] == 38


def test_an_unavailable_suite_gives_no_difference_and_no_overall_of_its_own(samples: pd.DataFrame) -> None:
    got = run(RUN["samples"](unavailable=("toy_code",)), PAIRS[:1])
    assert "toy_code" not in set(got["suite"])
    rest = [one(got, "fusion", "clm", s)["difference"] for s in ("toy_bbh", "toy_commonsense")]
    assert one(got, "fusion", "clm", OVERALL)["difference"] == pytest.approx(np.mean(rest))


def test_a_row_without_one_suite_has_no_overall_difference(samples: pd.DataFrame) -> None:
    lost = samples.copy()
    gone = (lost["row"] == "clm") & (lost["suite"] == "toy_code")
    lost.loc[gone, ["value"]] = np.nan
    lost.loc[gone, "status"] = "unavailable"
    row = one(run(lost, PAIRS[:1]), "fusion", "clm", OVERALL)
    assert np.isnan(row["p"]) and row["n"] == 0 and row["favours"] == ""


def test_holm_is_within_one_table_so_p_values_only_grow(samples: pd.DataFrame) -> None:
    got = run(samples)
    assert (got["p_adjusted"] >= got["p"] - 1e-12).all()
    family = got[(got["suite"] == "toy_bbh") & (got["task"] == AVERAGE)]
    smallest = family.loc[family["p"].idxmin()]
    assert smallest["p_adjusted"] == pytest.approx(min(1.0, len(family) * smallest["p"]))


def test_two_equal_rows_are_never_told_apart(samples: pd.DataFrame) -> None:
    twin = samples[samples["row"] == "clm"].assign(row="twin")
    got = run(pd.concat([samples, twin]), [("main", "twin", "clm")])
    assert (got["difference"] == 0).all() and (got["p"] == 1).all() and (got["favours"] == "").all()


def test_an_unknown_row_is_passed_over(samples: pd.DataFrame) -> None:
    assert run(samples, [("main", "fusion", "nobody")]).empty


def test_an_average_of_tasks_without_any_difference_still_has_an_interval(samples: pd.DataFrame) -> None:
    twin = samples[samples["row"] == "clm"].assign(row="twin")
    got = run(pd.concat([samples, twin]), [("main", "twin", "clm")])
    for suite in ("toy_code", OVERALL):
        row = one(got, "twin", "clm", suite)
        assert row["low"] < 0 < row["high"]
    bits = one(got, "twin", "clm", "perplexity")
    assert bits["low"] == bits["high"] == 0
