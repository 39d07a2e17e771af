import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from fusebench.stats.multiplicity import adjust
from fusebench.stats.paired import (
    agresti_min,
    bootstrap_differences,
    difference,
    mcnemar,
    permutation_p,
    permuted_differences,
)
from fusebench.stats.resample import draws, generator, signs

few = st.integers(0, 40)


@given(few, few)
def test_mcnemar_is_the_exact_binomial_test_of_the_discordant_items(b: int, c: int) -> None:
    want = binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert mcnemar(np.array([b]), np.array([c]))[0] == pytest.approx(want, abs=1e-12)


@given(few, few, few)
def test_agresti_min_interval_turns_round_with_the_pair(b: int, c: int, rest: int) -> None:
    n = np.array([b + c + rest])
    low, high = agresti_min(np.array([b]), np.array([c]), n, 0.95)
    turned_low, turned_high = agresti_min(np.array([c]), np.array([b]), n, 0.95)
    if n[0]:
        assert low[0] == pytest.approx(-turned_high[0]) and high[0] == pytest.approx(-turned_low[0])
    else:
        assert np.isnan(low[0])


def test_agresti_min_does_not_collapse_where_the_rows_never_differ() -> None:
    low, high = agresti_min(np.array([0]), np.array([0]), np.array([50]), 0.95)
    assert low[0] < 0 < high[0]


def test_agresti_min_covers_the_true_difference_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    n = 60
    cells = rng.multinomial(n, [0.25, 0.10, 0.65], size=4000)
    low, high = agresti_min(cells[:, 0], cells[:, 1], np.full(4000, n), 0.95)
    assert 0.93 < np.mean((low <= 0.15) & (high >= 0.15)) < 0.98


def _resampled(differences: np.ndarray, resamples: int, seed: int = 3) -> np.ndarray:
    weights = np.ones_like(differences)
    return bootstrap_differences(differences, weights, resamples, generator(seed, "t"))


def test_bootstrap_interval_covers_the_true_difference_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    # 300 independent experiments side by side: each is a pair with its own items.
    sampled = _resampled(rng.normal(0.3, 1.0, size=(80, 300)), 800)
    low, high = np.quantile(sampled, [0.025, 0.975], axis=0)
    assert 0.90 < np.mean((low <= 0.3) & (high >= 0.3)) < 0.985


def test_bootstrap_weighs_items_by_their_bytes() -> None:
    gap, weights = np.array([[1.0], [0.0]]), np.array([[3.0], [1.0]])
    assert difference(gap, weights)[0] == 0.75
    sampled = bootstrap_differences(gap, weights, 4000, generator(0, "w"))
    assert set(np.round(np.unique(sampled), 6)) == {0.0, 0.75, 1.0}


def test_permutation_test_has_the_level_it_claims_without_a_difference() -> None:
    rng = np.random.default_rng(4)
    gaps = rng.normal(0.0, 1.0, size=(40, 600))
    weights = np.ones_like(gaps)
    p = permutation_p(difference(gaps, weights), permuted_differences(gaps, weights, 500, generator(0, "p")))
    assert 0.03 < np.mean(p < 0.05) < 0.07


def test_permutation_p_is_one_where_nothing_differs_and_never_zero() -> None:
    gaps = np.column_stack([np.zeros(30), np.full(30, 1.0)])
    weights = np.ones_like(gaps)
    p = permutation_p(difference(gaps, weights), permuted_differences(gaps, weights, 999, generator(0, "q")))
    assert p[0] == 1.0 and p[1] == pytest.approx(1 / 1000)


def test_permutation_p_agrees_with_mcnemar_on_right_and_wrong_answers() -> None:
    gaps = np.array([1.0] * 14 + [-1.0] * 5 + [0.0] * 41)[:, None]
    weights = np.ones_like(gaps)
    p = permutation_p(difference(gaps, weights), permuted_differences(gaps, weights, 60_000, generator(5, "m")))
    assert p[0] == pytest.approx(binomtest(14, 19, 0.5).pvalue, abs=0.006)


def test_resampling_is_the_same_for_the_same_seed_and_name_only() -> None:
    def first(seed: int, name: str) -> np.ndarray:
        return next(draws(generator(seed, name), 50, 20))

    assert (first(1, "a") == first(1, "a")).all()
    assert (first(1, "a") != first(2, "a")).any() and (first(1, "a") != first(1, "b")).any()
    assert (first(1, "a").sum(axis=1) == 50).all()


def test_signs_are_plus_and_minus_one_about_equally_often() -> None:
    drawn = np.concatenate(list(signs(generator(0, "s"), 7, 5000)))
    assert drawn.shape == (5000, 7) and set(np.unique(drawn)) == {-1.0, 1.0} and abs(drawn.mean()) < 0.02


def test_holm_gives_the_known_values_and_leaves_untested_pairs_out() -> None:
    p = np.array([0.01, np.nan, 0.04, 0.03])
    assert adjust(p, "holm").tolist() == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)
    assert adjust(p, "none").tolist() == pytest.approx(p.tolist(), nan_ok=True)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_is_that_of_statsmodels(p: list[float]) -> None:
    want = multipletests(np.array(p), method="holm")[1]
    assert adjust(np.array(p), "holm") == pytest.approx(want, abs=1e-12)


def test_an_unknown_correction_is_refused() -> None:
    with pytest.raises(ValueError, match="holm"):
        adjust(np.array([0.1]), "fdr")
