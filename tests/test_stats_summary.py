import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from fusebench.artifacts.results import RESULT_COLUMNS, SAMPLE_COLUMNS
from fusebench.stats import AVERAGE, OVERALL, summarise
from fusebench.stats.intervals import estimate, wilson

NAN = float("nan")


def frame(*records: tuple) -> pd.DataFrame:
    """Return samples of (row, suite, task, item, metric, value[, weight[, seed]]); NaN values are unavailable."""
    rows = []
    for row, suite, task, item, metric, value, *more in records:
        rows.append(
            {
                "experiment": "e",
                "row": row,
                "seed": more[1] if len(more) > 1 else 0,
                "step": -1,
                "tokens": 0,
                "suite": suite,
                "task": task,
                "item": str(item),
                "metric": metric,
                "value": value,
                "weight": more[0] if more else 1.0,
                "status": "unavailable" if value != value else "ok",
                "prompt": "",
                "output": "",
                "gold": "",
            }
        )
    return pd.DataFrame(rows, columns=list(SAMPLE_COLUMNS)).astype(SAMPLE_COLUMNS)


def value(results: pd.DataFrame, row: str, suite: str, task: str, column: str = "value") -> float:
    found = results[(results["method"] == row) & (results["suite"] == suite) & (results["task"] == task)]
    assert len(found) == 1
    return found[column].iloc[0]


def test_columns_are_those_of_the_results_file() -> None:
    assert tuple(summarise(frame(("a", "s", "t", 0, "acc", 1.0))).columns) == RESULT_COLUMNS


def test_standard_error_is_the_sample_deviation_over_root_n() -> None:
    values = [1.0, 0.0, 0.0, 1.0, 1.0]
    got = summarise(frame(*(("a", "s", "t", i, "acc", v) for i, v in enumerate(values))))
    assert value(got, "a", "s", "t") == pytest.approx(0.6)
    assert value(got, "a", "s", "t", "stderr") == pytest.approx(np.std(values, ddof=1) / np.sqrt(5))


def test_bits_per_byte_is_weighted_by_bytes() -> None:
    got = summarise(
        frame(("a", "p", "d", 0, "bits_per_byte", 1.0, 300.0), ("a", "p", "d", 1, "bits_per_byte", 2.0, 100.0))
    )
    assert value(got, "a", "p", "d") == pytest.approx(1.25)


def test_an_unavailable_suite_is_null_with_n_zero_not_a_zero() -> None:
    got = summarise(frame(("a", "s", "t", 0, "acc", NAN), ("a", "s", "t", 1, "acc", NAN)))
    for task in ("t", AVERAGE):
        assert np.isnan(value(got, "a", "s", task)) and value(got, "a", "s", task, "n") == 0


def test_an_unscored_item_is_left_out_not_counted_as_wrong() -> None:
    got = summarise(frame(("a", "s", "t", 0, "acc", 1.0), ("a", "s", "t", 1, "acc", NAN)))
    assert value(got, "a", "s", "t") == 1.0 and value(got, "a", "s", "t", "n") == 1


def test_an_average_is_the_unweighted_mean_of_tasks_with_errors_propagated() -> None:
    got = summarise(
        frame(
            *(("a", "s", "t1", i, "acc", float(i < 1)) for i in range(2)),
            *(("a", "s", "t2", i, "acc", 1.0) for i in range(8)),
        )
    )
    assert value(got, "a", "s", AVERAGE) == pytest.approx(0.75)
    assert value(got, "a", "s", AVERAGE, "stderr") == pytest.approx(0.5 / 2)
    assert value(got, "a", "s", AVERAGE, "n") == 10


def test_a_row_that_lacks_a_task_others_have_has_no_average() -> None:
    got = summarise(
        frame(
            ("a", "s", "t1", 0, "acc", 1.0),
            ("a", "s", "t2", 0, "acc", 1.0),
            ("b", "s", "t1", 0, "acc", 1.0),
            ("b", "s", "t2", 0, "acc", NAN),
        )
    )
    assert value(got, "a", "s", AVERAGE) == 1.0
    assert np.isnan(value(got, "b", "s", AVERAGE)) and value(got, "b", "s", AVERAGE, "n") == 0


def test_a_task_nobody_has_does_not_take_the_average_away() -> None:
    got = summarise(frame(("a", "s", "t1", 0, "acc", 1.0), ("a", "s", "t2", 0, "acc", NAN)))
    assert value(got, "a", "s", AVERAGE) == 1.0


def test_overall_is_the_mean_of_score_suites_and_leaves_bits_out() -> None:
    got = summarise(
        frame(
            ("a", "s1", "t", 0, "acc", 1.0),
            ("a", "s2", "t", 0, "exact_match", 0.0),
            ("a", "p", "d", 0, "bits_per_byte", 5.0, 10.0),
        )
    )
    assert value(got, "a", OVERALL, AVERAGE) == 0.5


def test_overall_is_not_made_of_a_single_suite() -> None:
    got = summarise(frame(("a", "s1", "t", 0, "acc", 1.0), ("a", "p", "d", 0, "bits_per_byte", 5.0, 10.0)))
    assert OVERALL not in set(got["suite"])


def test_one_metric_stands_for_a_task_that_has_several() -> None:
    got = summarise(
        frame(
            ("a", "s", "arc", 0, "acc", 0.0),
            ("a", "s", "arc", 0, "acc_norm", 1.0),
            ("a", "s", "boolq", 0, "acc", 1.0),
        )
    )
    assert value(got, "a", "s", AVERAGE) == 1.0
    assert set(got[got["task"] == "arc"]["metric"]) == {"acc", "acc_norm"}


def test_seeds_are_kept_apart_in_results_and_averaged_in_estimates() -> None:
    samples = frame(("a", "s", "t", 0, "acc", 1.0, 1.0, 1), ("a", "s", "t", 0, "acc", 0.0, 1.0, 2))
    assert sorted(summarise(samples).query("task == 't'")["value"]) == [0.0, 1.0]
    table = estimate(samples, confidence=0.95, bootstrap=50, seed=0).table
    assert value(table, "a", "s", "t") == 0.5


def test_nothing_gives_an_empty_table() -> None:
    assert summarise(frame()).empty


def test_wilson_is_the_textbook_interval() -> None:
    k, n = np.array([0.0, 3.0, 10.0]), np.array([10.0, 10.0, 10.0])
    low, high = wilson(k, n, 0.95)
    want_low, want_high = proportion_confint(k, n, alpha=0.05, method="wilson")
    assert low == pytest.approx(want_low) and high == pytest.approx(want_high)


def test_estimates_use_wilson_for_answers_and_a_bootstrap_for_bits() -> None:
    rng = np.random.default_rng(0)
    samples = frame(
        *(("a", "s", "t", i, "acc", float(i < 3)) for i in range(10)),
        *(("a", "p", "d", i, "bits_per_byte", v, 100.0) for i, v in enumerate(rng.normal(1.0, 0.2, 200))),
    )
    table = estimate(samples, confidence=0.95, bootstrap=2000, seed=0).table
    assert value(table, "a", "s", "t", "low") == pytest.approx(wilson(np.array([3.0]), np.array([10.0]), 0.95)[0][0])
    error = value(summarise(samples), "a", "p", "d", "stderr")
    width = value(table, "a", "p", "d", "high") - value(table, "a", "p", "d", "low")
    assert width == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_an_average_of_only_wrong_answers_is_not_certain_to_be_zero() -> None:
    samples = frame(*(("a", "s", task, i, "acc", 0.0) for task in ("t1", "t2") for i in range(10)))
    table = estimate(samples, confidence=0.95, bootstrap=100, seed=0).table
    low, high = (value(table, "a", "s", AVERAGE, end) for end in ("low", "high"))
    single = value(table, "a", "s", "t1", "high")
    assert low == 0 and high == pytest.approx(single / np.sqrt(2))
