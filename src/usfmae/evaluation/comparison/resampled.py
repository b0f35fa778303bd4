"""Two learning procedures over the folds: the corrected resampled t, and its Bayesian reading."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.power import TTestPower

from usfmae.evaluation.comparison.result import (
    ALPHA,
    NO_SPREAD,
    POWER,
    TRAINED_AGAIN,
    Comparison,
    effect_size,
    paired_differences,
)
from usfmae.evaluation.intervals import LEVEL

DECISION = 0.975  # of the posterior on one side of the region: 5 % over both sides
TEST = "corrected resampled t"
BAYESIAN = "Bayesian correlated t"


def corrected_interval(values: ArrayLike, n_train: float, n_test: float) -> tuple[float, float, float]:
    """Mean of J fold values, the corrected standard error of it and half the width of its 95 % interval.

    Nadeau and Bengio (2003, Machine Learning 52:239): the variance of the mean is
    (1/J + n_test/n_train) · s², because the folds share training frames; Student's t with J - 1 degrees.
    Folds that are all alike give no interval: that would be certainty from few values.
    """
    folds = np.asarray(values, dtype=np.float64)
    if len(folds) < 2:
        return float(folds.mean()), np.nan, np.nan
    error = float(np.sqrt((1 / len(folds) + n_test / n_train) * folds.var(ddof=1)))
    if error < NO_SPREAD:
        return float(folds.mean()), 0.0, np.nan
    return float(folds.mean()), error, float(stats.t.ppf((1 + LEVEL) / 2, len(folds) - 1) * error)


def corrected_t(a: ArrayLike, b: ArrayLike, *, n_train: float, n_test: float) -> Comparison:
    """The corrected resampled t test of one value a fold (Nadeau and Bengio 2003): `a (J,)`, `b (J,)`.

    `n_train` and `n_test` are the frames of one fold's training and test part. The detectable difference
    takes the error found as the true one.
    """
    differences = paired_differences(a, b)
    mean, error, half = corrected_interval(differences, n_train, n_test)
    folds, note, reach = len(differences), "", np.nan
    if not error > NO_SPREAD:  # one fold, or no spread between the folds
        statistic, p = (0.0, 1.0) if mean == 0 else (np.nan, np.nan)
        note = "The folds' differences have no spread, so the test has no scale."
    else:
        statistic = mean / error
        p = float(2 * stats.t.sf(abs(statistic), folds - 1))
        reach = _detectable_errors(folds) * error
    return Comparison(
        test=TEST,
        null=TRAINED_AGAIN,
        n_pairs=folds,
        zero_differences=int((differences == 0).sum()),
        difference=mean,
        lower=mean - half,
        upper=mean + half,
        statistic=statistic,
        p=p,
        smallest_p=0.0,
        method=f"Student's t, {folds - 1} degrees, variance (1/J + {n_test / n_train:.3f}) s²",
        note=note,
        effect_size=effect_size(differences),
        detectable=reach,
    )


@cache
def _detectable_errors(folds: int) -> float:
    """The difference that a t test of so many folds shows with 80 % power, in standard errors of the mean."""
    return float(TTestPower().solve_power(nobs=folds, alpha=ALPHA, power=POWER) * np.sqrt(folds))


def bayesian_t(a: ArrayLike, b: ArrayLike, *, n_train: float, n_test: float, rope: float) -> Comparison:
    """The Bayesian correlated t test (Corani and Benavoli 2015; Benavoli et al. 2017, JMLR 18:77).

    The posterior of the mean difference, under a flat prior, is Student's t with the location, scale and
    degrees of the corrected resampled t; `left`, `rope` and `right` are its shares below -`rope`, between and
    above `rope`, in the metric's unit. It has no p. That one model is better asks for 97.5 % on its side:
    95 % on either side would be a test at up to 10 %, and rejects too often in the simulation.
    """
    found = corrected_t(a, b, n_train=n_train, n_test=n_test)
    mean, error, _ = corrected_interval(paired_differences(a, b), n_train, n_test)
    if error > NO_SPREAD:
        below, above = stats.t.cdf([-rope, rope], found.n_pairs - 1, mean, error)
    else:  # a posterior at one point
        below, above = float(mean < -rope), float(mean <= rope)
    return replace(
        found,
        test=BAYESIAN,
        statistic=np.nan,
        p=np.nan,
        smallest_p=np.nan,
        method=f"posterior: Student's t, {found.n_pairs - 1} degrees; equivalent within ±{rope:g}; "
        "a decision asks for 97.5 % on one side",
        left=float(below),
        rope=float(above - below),
        right=float(1 - above),
        detectable=np.nan,
    )
