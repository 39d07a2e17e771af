from dataclasses import replace

import pandas as pd
import pytest

from fusebench.artifacts import RowInfo
from fusebench.stats import AVERAGE, COMPARISON_COLUMNS, OVERALL, claims
from fusebench.stats.efficiency import TokenShare

SUITES = [("b", "bbh", "BBH"), ("c", "commonsense", "CS"), ("m", "multipl_e", "MPE"), ("p", "perplexity", "Bits")]
FUSION = RowInfo(
    "e",
    "fusion",
    "fusion",
    "fusion",
    sources=("s", "u"),
    vocabulary="min_ed",
    sequence="dtw",
    rule="min_ce",
    clm_weight=0.9,
)
TARGET, SOURCE = RowInfo("e", "target", "model", "target"), RowInfo("e", "s", "model", "source")
CLM, KD = RowInfo("e", "clm", "clm", "clm"), RowInfo("e", "kd", "kd", "kd")
ENSEMBLE, MERGE = RowInfo("e", "ensemble", "ensemble", "ensemble"), RowInfo("e", "merge", "merge", "merge")
EM = replace(FUSION, name="em", vocabulary="em")
AVG = replace(FUSION, name="avg", rule="avg_ce")
ONE = replace(FUSION, name="one", sources=("s",))


def gap(a: str, b: str, suite: str, difference: float, significant: bool, task: str = AVERAGE) -> dict:
    bits = suite == "p"
    better = difference < 0 if bits else difference > 0
    return {
        "experiment": "e",
        "a": a,
        "b": b,
        "suite": suite,
        "task": task,
        "metric": "bits_per_byte" if bits else "acc",
        "difference": difference,
        "low": difference - 0.01,
        "high": difference + 0.01,
        "p": 0.001 if significant else 0.4,
        "p_adjusted": 0.002 if significant else 0.8,
        "n": 100,
        "test": "t",
        "favours": ("a" if better else "b") if significant else "",
    }


def verdict(name: str, rows: list[RowInfo], gaps: list[dict], shares: list[TokenShare] | None = None) -> str:
    comparisons = pd.DataFrame(gaps, columns=list(COMPARISON_COLUMNS))
    found = {c.id: c for c in claims(rows, comparisons, shares or [], SUITES)}
    assert list(found) == [f"C{k}" for k in range(1, 8)]
    claim = found[name]
    assert claim.text and claim.rule and claim.reason
    return claim.verdict


def broad(**against: tuple[float, bool]) -> list[dict]:
    """Return fusion against each rival on three suites: average and two tasks."""
    out = []
    for rival in ("target", "s", "clm"):
        for suite in "bcm":
            difference, significant = against.get(f"{rival}_{suite}", (0.05, True))
            out.append(gap("fusion", rival, suite, difference, significant))
            out += [gap("fusion", rival, suite, difference, False, task) for task in ("t1", "t2")]
    return out


ROWS = [TARGET, SOURCE, CLM, FUSION]


def test_c1_is_supported_where_fusion_wins_every_suite_against_every_rival() -> None:
    assert verdict("C1", ROWS, broad()) == "supported"


def test_c1_is_contradicted_where_one_rival_wins_one_suite() -> None:
    assert verdict("C1", ROWS, broad(s_m=(-0.05, True))) == "contradicted"


def test_c1_is_undecided_where_one_average_is_not_significant() -> None:
    assert verdict("C1", ROWS, broad(clm_b=(0.01, False))) == "undecided"


def test_c1_needs_most_tasks_not_the_average_alone() -> None:
    gaps = broad()
    for record in gaps:
        if record["b"] == "clm" and record["suite"] == "b" and record["task"] == "t1":
            record["difference"] = -0.01
    assert verdict("C1", ROWS, gaps) == "undecided"


def test_c1_is_undecided_where_a_suite_is_missing() -> None:
    assert verdict("C1", ROWS, [record for record in broad() if record["suite"] != "m"]) == "undecided"


def share(suite: str, value: float, low: float, high: float) -> TokenShare:
    return TokenShare("e", suite, "acc", "fusion", "clm", value, low, high, 6)


@pytest.mark.parametrize(
    ("value", "low", "high", "want"),
    [
        (0.4, 0.2, 0.9, "supported"),
        (0.4, 0.2, 1.0, "undecided"),
        (0.9, 0.5, float("inf"), "undecided"),
        (float("inf"), float("inf"), float("inf"), "contradicted"),
    ],
)
def test_c2_goes_by_the_interval_of_the_token_share(value: float, low: float, high: float, want: str) -> None:
    shares = [share("b", 0.1, 0.1, 0.1), share(OVERALL, value, low, high)]
    assert verdict("C2", ROWS, [], shares) == want


def test_c2_is_undecided_without_points_of_training() -> None:
    assert verdict("C2", ROWS, []) == "undecided"


PAIRED = [("C3", ONE), ("C4", EM), ("C5", AVG), ("C6", KD)]


@pytest.mark.parametrize(("name", "other"), PAIRED)
@pytest.mark.parametrize(
    ("difference", "significant", "want"),
    [(0.05, True, "supported"), (-0.05, True, "contradicted"), (0.05, False, "undecided")],
)
def test_one_pair_claims_go_by_the_overall_score(
    name: str, other: RowInfo, difference: float, significant: bool, want: str
) -> None:
    gaps = [gap("fusion", other.name, OVERALL, difference, significant), gap("fusion", other.name, "b", -0.5, True)]
    assert verdict(name, [CLM, FUSION, other], gaps) == want


@pytest.mark.parametrize(("name", "other"), PAIRED)
def test_one_pair_claims_are_undecided_without_the_row_or_its_scores(name: str, other: RowInfo) -> None:
    assert verdict(name, [CLM, FUSION], []) == "undecided"
    assert verdict(name, [CLM, FUSION, other], []) == "undecided"


def test_a_pair_compared_the_other_way_round_is_turned() -> None:
    assert verdict("C4", [CLM, FUSION, EM], [gap("em", "fusion", OVERALL, -0.05, True)]) == "supported"


def test_c4_with_exact_match_as_the_main_row_still_asks_whether_mined_is_better() -> None:
    main, other = replace(EM, name="main"), replace(FUSION, name="mined")
    assert verdict("C4", [CLM, main, other], [gap("main", "mined", OVERALL, -0.05, True)]) == "supported"


def test_bits_per_byte_decide_where_there_is_no_score_suite() -> None:
    assert verdict("C4", [CLM, FUSION, EM], [gap("fusion", "em", "p", -0.02, True)]) == "supported"


def test_several_suites_without_an_overall_score_decide_nothing() -> None:
    gaps = [gap("fusion", "em", "b", 0.1, True), gap("fusion", "em", "c", 0.1, True)]
    assert verdict("C4", [CLM, FUSION, EM], gaps) == "undecided"


def test_c3_compares_with_every_row_of_fewest_sources() -> None:
    other = replace(FUSION, name="other", sources=("u",))
    gaps = [gap("fusion", "one", OVERALL, 0.05, True), gap("fusion", "other", OVERALL, 0.01, False)]
    assert verdict("C3", [CLM, FUSION, ONE, other], gaps) == "undecided"


@pytest.mark.parametrize(
    ("ensemble", "merge", "want"),
    [
        ((-0.02, True), (-0.01, True), "supported"),
        ((-0.02, True), (-0.01, False), "undecided"),
        ((-0.02, True), (0.01, True), "contradicted"),
    ],
)
def test_c7_asks_for_fewer_bits_than_ensemble_and_merge(ensemble: tuple, merge: tuple, want: str) -> None:
    gaps = [gap("fusion", "ensemble", "p", *ensemble), gap("fusion", "merge", "p", *merge)]
    assert verdict("C7", [TARGET, ENSEMBLE, MERGE, FUSION], gaps) == want


def test_c7_is_undecided_without_a_merge() -> None:
    assert verdict("C7", [TARGET, ENSEMBLE, FUSION], [gap("fusion", "ensemble", "p", -0.1, True)]) == "undecided"


def test_c7_goes_by_the_experiment_that_has_both_an_ensemble_and_a_merge() -> None:
    both = [replace(row, experiment="d") for row in (TARGET, ENSEMBLE, MERGE, FUSION)]
    gaps = [{**gap("fusion", rival, "p", -0.1, True), "experiment": "d"} for rival in ("ensemble", "merge")]
    alone = [gap("fusion", "ensemble", "p", 0.1, True)]
    assert verdict("C7", [TARGET, ENSEMBLE, FUSION, *both], alone + gaps) == "supported"


def test_evidence_names_numbers_and_p_values() -> None:
    comparisons = pd.DataFrame([gap("fusion", "em", OVERALL, 0.05, True)], columns=list(COMPARISON_COLUMNS))
    claim = claims([CLM, FUSION, EM], comparisons, [], SUITES)[3]
    assert "+5.0 points" in claim.evidence[0] and "p = 0.002" in claim.evidence[0] and "n = 100" in claim.evidence[0]


def test_c2_is_undecided_where_clm_itself_learned_nothing() -> None:
    shares = [replace(share(OVERALL, 0.0, 0.0, 0.0), learned=False)]
    assert verdict("C2", ROWS, [], shares) == "undecided"
