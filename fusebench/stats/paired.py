"""Tests and intervals for two rows that answered the same items.

Nothing here needs more than the outcomes themselves: McNemar's exact test counts the items on which the two
differ; the permutation test asks how often swapping the two rows' outcomes item by item gives a difference
as large as the one seen.
"""

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray
from scipy.stats import binom, norm

from fusebench.stats.resample import draws, signs


def mcnemar(b: Int64[ndarray, " pair"], c: Int64[ndarray, " pair"]) -> Float64[ndarray, " pair"]:
    """Return the exact two-sided p-value of McNemar's test; 1 where the two never differ.

    Args:
        b: items that only the first row has right.
        c: items that only the second row has right.

    Source: McNemar 1947 with the exact binomial distribution.
    """
    p = 2 * binom.cdf(np.minimum(b, c), b + c, 0.5)
    return np.minimum(p, 1.0)


def agresti_min(
    b: Int64[ndarray, " pair"], c: Int64[ndarray, " pair"], n: Int64[ndarray, " pair"], confidence: float
) -> tuple[Float64[ndarray, " pair"], Float64[ndarray, " pair"]]:
    """Return the interval of the difference of two paired proportions (first minus second); NaN where n is 0.

    Half an item is added to each cell of the 2 x 2 table, so that the interval does not collapse where the
    two rows never differ, as a bootstrap's would.

    Source: Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions".
    """
    z = float(norm.ppf(0.5 + confidence / 2))
    b1, c1, n1 = b + 0.5, c + 0.5, n + 2.0
    centre = (b1 - c1) / n1
    half = z * np.sqrt(np.maximum(b1 + c1 - (b1 - c1) ** 2 / n1, 0.0)) / n1
    low, high = np.maximum(centre - half, -1.0), np.minimum(centre + half, 1.0)
    return np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan)


def difference(
    differences: Float64[ndarray, "item pair"], weights: Float64[ndarray, "item pair"]
) -> Float64[ndarray, " pair"]:
    """Return the weighted mean difference of each pair; NaN where nothing is paired."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return (weights * differences).sum(axis=0) / weights.sum(axis=0)


def bootstrap_differences(
    differences: Float64[ndarray, "item pair"],
    weights: Float64[ndarray, "item pair"],
    resamples: int,
    rng: np.random.Generator,
) -> Float64[ndarray, "resample pair"]:
    """Return the weighted mean difference of each pair when items are drawn with replacement.

    Args:
        differences: first minus second; any finite number where the weight is 0.
        weights: 0 where one of the two has no scored sample.
    """
    weighted = weights * differences
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.concatenate([(d @ weighted) / (d @ weights) for d in draws(rng, len(weighted), resamples)])


def permuted_differences(
    differences: Float64[ndarray, "item pair"],
    weights: Float64[ndarray, "item pair"],
    resamples: int,
    rng: np.random.Generator,
) -> Float64[ndarray, "resample pair"]:
    """Return the weighted mean difference of each pair when the two rows are swapped at random, item by item."""
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = weights * differences / weights.sum(axis=0)
    return np.concatenate([s @ scaled for s in signs(rng, len(scaled), resamples)])


def permutation_p(
    observed: Float64[ndarray, " pair"], permuted: Float64[ndarray, "resample pair"]
) -> Float64[ndarray, " pair"]:
    """Return the two-sided p-value: the share of permutations at least as extreme, the observed one counted in."""
    # Sums of the same numbers in another order differ in the last digits; those are ties, not smaller.
    as_extreme = (np.abs(permuted) >= np.abs(observed) - 1e-12).sum(axis=0)
    return np.where(np.isnan(observed), np.nan, (1 + as_extreme) / (1 + len(permuted)))
