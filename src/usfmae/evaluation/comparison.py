"""Tests of two models on the same folds or the same frames, each with its null and what it can reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from usfmae.evaluation.intervals import LEVEL, percentile_interval

Floats = NDArray[np.float64]

ALPHA = 1 - LEVEL
_EXACT_PAIRS = 50  # up to here scipy tabulates the exact null of the signed-rank sum
_FLIPPED_PAIRS = 13  # up to here all 2^n sign flips are tried where ties or zeros forbid the table


@dataclass(frozen=True)
class Comparison:
    """One test of model a against model b; the fields are columns of `comparisons.csv`.

    `difference` is the mean of a - b in the metric's unit, `lower` and `upper` its 95 % interval (NaN where
    the test gives none); `smallest_p` is the least p that the test can give with this n.
    """

    test: str
    null: str
    n_pairs: int
    zero_differences: int
    difference: float
    lower: float
    upper: float
    statistic: float
    p: float
    smallest_p: float
    method: str
    note: str


def smallest_p(n: int) -> float:
    """The least two-sided p of an exact signed-rank test of n non-zero differences: 2 / 2^n, at most 1."""
    return min(1.0, 2.0 / 2.0**n)


def wilcoxon_folds(a: ArrayLike, b: ArrayLike) -> Comparison:
    """Wilcoxon's signed-rank test (1945) of one value a fold: `a (n,)`, `b (n,)`, two-sided.

    Zero differences are dropped. The null is exact: from scipy's table without ties and zeros, else from all
    2^n sign flips up to n = 13. Only beyond does the normal approximation stand in, and `method` says so: at
    n = 5 it gives 0.043 where the exact test cannot fall below 0.0625.
    """
    differences = _differences(a, b)
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
        least = float(stats.wilcoxon(np.arange(1, n + 1), method="asymptotic").pvalue)
        method = "normal approximation"
    notes = ["The folds share training frames, so the pairs are not independent."]
    if least >= ALPHA:
        notes.insert(0, f"With {n} non-zero pairs p cannot fall below {least:.4g}, so never below 0.05.")
    return Comparison(
        test="Wilcoxon signed-rank",
        null="over the folds, the differences are symmetric about zero",
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
    )


def corrected_interval(values: ArrayLike, n_train: float, n_test: float) -> tuple[float, float, float]:
    """Mean of J fold values, the corrected standard error of it and half the width of its 95 % interval.

    Nadeau and Bengio (2003, Machine Learning 52:239): the variance of the mean is
    (1/J + n_test/n_train) · s², because the folds share training frames; Student's t with J - 1 degrees.
    """
    folds = np.asarray(values, dtype=np.float64)
    if len(folds) < 2:
        return float(folds.mean()), np.nan, np.nan
    error = float(np.sqrt((1 / len(folds) + n_test / n_train) * folds.var(ddof=1)))
    return float(folds.mean()), error, float(stats.t.ppf((1 + LEVEL) / 2, len(folds) - 1) * error)


def corrected_t(a: ArrayLike, b: ArrayLike, *, n_train: float, n_test: float) -> Comparison:
    """The corrected resampled t test of one value a fold (Nadeau and Bengio 2003): `a (J,)`, `b (J,)`.

    `n_train` and `n_test` are the frames of one fold's training and test part.
    """
    differences = _differences(a, b)
    mean, error, half = corrected_interval(differences, n_train, n_test)
    note = ""
    if not error > 0:  # one fold, or no spread between the folds
        statistic, p = (0.0, 1.0) if mean == 0 else (np.nan, np.nan)
        note = "The folds' differences have no spread, so the test has no scale."
    else:
        statistic = mean / error
        p = float(2 * stats.t.sf(abs(statistic), len(differences) - 1))
    return Comparison(
        test="corrected resampled t",
        null="trained again on other subjects, the two learning procedures score alike on average",
        n_pairs=len(differences),
        zero_differences=int((differences == 0).sum()),
        difference=mean,
        lower=mean - half,
        upper=mean + half,
        statistic=statistic,
        p=p,
        smallest_p=0.0,
        method=f"Student's t, {len(differences) - 1} degrees, variance (1/J + {n_test / n_train:.3f}) s²",
        note=note,
    )


def bootstrap_difference(difference: float, draws: Floats, n_subjects: int) -> Comparison:
    """The paired difference of two trained models on the same frames, from its bootstrap `draws (B,)`.

    p is twice the smaller share of resamples on one side of zero, counting the observed sample as one more.
    """
    usable = draws[np.isfinite(draws)]
    lower, upper = percentile_interval(usable[:, None])
    beyond = min((usable <= 0).sum(), (usable >= 0).sum())
    notes = ["Says nothing about training the models again."]
    if n_subjects < 30:
        notes.append(f"With {n_subjects} subjects a percentile interval is somewhat too narrow.")
    return Comparison(
        test="subject-cluster bootstrap",
        null="these trained models score alike on new subjects",
        n_pairs=n_subjects,
        zero_differences=0,
        difference=difference,
        lower=float(lower[0]),
        upper=float(upper[0]),
        statistic=np.nan,
        p=min(1.0, 2 * (1 + float(beyond)) / (1 + len(usable))),
        smallest_p=2 / (1 + len(usable)),
        method=f"percentile, {len(usable)} resamples of {n_subjects} subjects",
        note=" ".join(notes),
    )


def not_compared(test: str, reason: str, a: ArrayLike = (), b: ArrayLike = ()) -> Comparison:
    """The row of a test that cannot be made, with the mean difference of `a (n,)` and `b (n,)` if given."""
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    return Comparison(
        test=test,
        null="not tested",
        n_pairs=len(differences),
        zero_differences=int((differences == 0).sum()),
        difference=float(differences.mean()) if len(differences) else np.nan,
        lower=np.nan,
        upper=np.nan,
        statistic=np.nan,
        p=np.nan,
        smallest_p=np.nan,
        method="not made",
        note=reason,
    )


def holm(p: ArrayLike) -> Floats:
    """Holm's (1979) step-down adjustment of one family's p values `(m,)`; NaN stays and is not counted."""
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full_like(values, np.nan)
    known = np.isfinite(values)
    if known.any():
        adjusted[known] = multipletests(values[known], method="holm")[1]
    return adjusted


def _differences(a: ArrayLike, b: ArrayLike) -> Floats:
    """a - b, rounded so that equal differences of floats are ties: float64 `(n,)`."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or len(first) == 0:
        raise ValueError(
            f"paired tests need one value a fold of each model, got {first.shape} and {second.shape}"
        )
    if not np.isfinite(first - second).all():
        raise ValueError("a fold's metric is not a number: the pair cannot be tested")
    return np.round(first - second, 12)
