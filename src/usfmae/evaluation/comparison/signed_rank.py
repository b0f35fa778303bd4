"""Wilcoxon's signed-rank test as the papers use it, and what it can and cannot say."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from usfmae.evaluation.comparison.result import ALPHA, Comparison, effect_size, paired_differences

TEST = "Wilcoxon signed-rank"
OVER_METRICS = f"{TEST}, folds x metrics"
OVER_SEEDS = f"{TEST}, folds x seeds"
#: The four that arXiv 2512.22730 reports: with 4 folds they are the 16 pairs that its p = 0.0057 fits.
PAPER_METRICS = ("accuracy", "sensitivity", "specificity", "auc")

_EXACT_PAIRS = 50  # up to here scipy tabulates the exact null of the signed-rank sum
_FLIPPED_PAIRS = 13  # up to here all 2^n sign flips are tried where ties or zeros forbid the table


def smallest_p(n: int) -> float:
    """The least two-sided p of an exact signed-rank test of n non-zero differences: 2 / 2^n, at most 1."""
    return min(1.0, 2.0 / 2.0**n)


def smallest_normal_p(n: int) -> float:
    """The least two-sided p of its normal approximation, without continuity correction: 0.068 for n = 4."""
    if n == 0:
        return 1.0
    return float(2 * stats.norm.sf(n * (n + 1) / 4 / np.sqrt(n * (n + 1) * (2 * n + 1) / 24)))


def wilcoxon(a: ArrayLike, b: ArrayLike, *, test: str = TEST, unit: str = "folds") -> Comparison:
    """Wilcoxon's signed-rank test (1945) of paired values `a (n,)`, `b (n,)`, two-sided.

    Zero differences are dropped. The null is exact: from scipy's table without ties and zeros, else from all
    2^n sign flips up to n = 13. Only beyond does the normal approximation stand in, and `method` says so: at
    n = 5 it gives 0.043 where the exact test cannot fall below 0.0625. `unit` says what a pair is.
    """
    differences = paired_differences(a, b)
    nonzero = differences[differences != 0]
    n = len(nonzero)
    tied = n < len(differences) or len(np.unique(np.abs(nonzero))) < n
    least = smallest_p(n)
    if n == 0:
        statistic, p, method = 0.0, 1.0, "none: all differences are zero"
    elif n == 1:  # both flips are as extreme; scipy asks for two pairs
        statistic, p, method = 0.0, 1.0, "exact"
    elif not tied and n <= _EXACT_PAIRS:
        statistic, p = stats.wilcoxon(differences, method="exact")
        method = "exact"
    elif n <= _FLIPPED_PAIRS:
        # 2^n resamples or more: scipy then takes all flips instead of random ones.
        statistic, p = stats.wilcoxon(nonzero, method=stats.PermutationMethod(n_resamples=2**n))
        method = "exact, all sign flips (ties or zeros)"
    else:
        statistic, p = stats.wilcoxon(differences, method="asymptotic")
        least = smallest_normal_p(n)
        method = "normal approximation"
    notes = ["The folds share training frames, so the pairs are not independent."]
    if test != TEST:
        notes = [f"The pairs are {unit}: they share frames and models, so they are not independent."]
    if least >= ALPHA:
        notes.insert(0, f"With {n} non-zero pairs p cannot fall below {least:.4g}, so never below 0.05.")
    return Comparison(
        test=test,
        null=f"over the {unit}, the differences are symmetric about zero",
        n_pairs=len(differences),
        zero_differences=len(differences) - n,
        difference=float(differences.mean()),
        lower=np.nan,
        upper=np.nan,
        statistic=float(statistic),
        p=float(p),
        smallest_p=least,
        method=method,
        note=" ".join(notes),
        smallest_p_exact=smallest_p(n),
        smallest_p_normal=smallest_normal_p(n),
        effect_size=effect_size(differences),
    )
