"""What a test of two models says, and the correction for making several of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from usfmae.evaluation.intervals import LEVEL

Floats = NDArray[np.float64]

ALPHA = 1 - LEVEL
NO_SPREAD = 1e-12  # equal differences of floats: paired_differences() rounds to as much
POWER = 0.8  # at which the smallest detectable difference is given

NEW_SUBJECTS = "these trained models score alike on new subjects"
TRAINED_AGAIN = "trained again on other subjects, the two learning procedures score alike on average"


@dataclass(frozen=True)
class Comparison:
    """One test of model a against model b; the fields are columns of `comparisons.csv`.

    `difference` is the mean of a - b in the metric's unit, `lower` and `upper` its 95 % interval (NaN where
    the test gives none); `smallest_p` is the least p that the test can give with this n, and
    `smallest_p_exact` and `smallest_p_normal` those of a signed-rank test by either of its nulls.
    `effect_size` is that of `effect_size()`; `detectable` the difference that the test would show with 80 %
    power. `left`, `rope` and `right` are the probabilities that the difference lies below, within or above
    the region of practical equivalence.
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
    smallest_p_exact: float = np.nan
    smallest_p_normal: float = np.nan
    effect_size: float = np.nan
    detectable: float = np.nan
    left: float = np.nan
    rope: float = np.nan
    right: float = np.nan


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


def normal_test(difference: float, error: float, null_error: float | None = None) -> dict[str, float]:
    """Statistic, p, interval and detectable difference of an estimate with standard error `error`.

    `null_error` is the standard error under the null where it differs (a score test). Where it is 0, equal
    models give p = 1 and others none.
    """
    scale = error if null_error is None else null_error
    z = difference / scale if scale > 0 else (0.0 if difference == 0 else np.nan)
    reach = float(stats.norm.ppf((1 + LEVEL) / 2))
    return {
        "difference": difference,
        "lower": difference - reach * error,
        "upper": difference + reach * error,
        "statistic": z,
        "p": float(2 * stats.norm.sf(abs(z))),
        "smallest_p": 0.0,
        "detectable": detectable(error),
    }


def detectable(error: float) -> float:
    """The difference that a two-sided normal test at 5 % shows with 80 % power, from its standard error."""
    return float((stats.norm.ppf((1 + LEVEL) / 2) + stats.norm.ppf(POWER)) * error)


def holm(p: ArrayLike) -> Floats:
    """Holm's (1979) step-down adjustment of one family's p values `(m,)`; NaN stays and is not counted."""
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full_like(values, np.nan)
    known = np.flatnonzero(np.isfinite(values))
    known = known[np.argsort(values[known], kind="stable")]  # smallest first
    # As statsmodels' multipletests, which collects garbage at each call: seconds over all families.
    stepped = np.maximum.accumulate(values[known] * np.arange(len(known), 0, -1))
    adjusted[known] = np.minimum(stepped, 1)
    return adjusted


def paired_differences(a: ArrayLike, b: ArrayLike) -> Floats:
    """a - b, rounded so that equal differences of floats are ties: float64 `(n,)`."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1 or len(first) == 0:
        raise ValueError(
            f"paired tests need one value a fold of each model, got {first.shape} and {second.shape}"
        )
    if not np.isfinite(first - second).all():
        raise ValueError("a fold's metric is not a number: the pair cannot be tested")
    return np.round(first - second, 12)


def effect_size(differences: Floats) -> float:
    """Mean over standard deviation of paired differences `(n,)`, with Hedges' (1981) factor for few pairs.

    The factor is 1 - 3 / (4 (n - 1) - 1). NaN for fewer than three pairs and where there is no spread.
    """
    n = len(differences)
    spread = differences.std(ddof=1) if n > 2 else 0.0
    if spread < NO_SPREAD:
        return np.nan
    return float(differences.mean() / spread * (1 - 3 / (4 * (n - 1) - 1)))
