"""Two trained models on the same subjects: the cluster bootstrap, and swapping the models by subject."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from usfmae.evaluation import metrics
from usfmae.evaluation.comparison.result import NEW_SUBJECTS, Comparison, Floats, detectable, not_compared
from usfmae.evaluation.estimates import Estimate
from usfmae.evaluation.intervals import expanded, percentile_interval

BOOTSTRAP = "subject-cluster bootstrap"
PERMUTATION = "permutation by subject"
_CHUNK = 4_000_000  # signs held at once


def bootstrap_difference(difference: float, draws: Floats, n_subjects: int) -> Comparison:
    """The paired difference of two trained models on the same frames, from its bootstrap `draws (B,)`.

    p is twice the smaller share of resamples on one side of zero, counting the observed sample as one more.
    Interval and p are then `expanded` for few subjects.
    """
    usable = draws[np.isfinite(draws)]
    if n_subjects < 2 or len(usable) < 2:
        reason = "One subject cannot be resampled." if n_subjects < 2 else "No resample holds all classes."
        return not_compared(BOOTSTRAP, reason, [difference], [0.0])
    lower, upper = percentile_interval(usable[:, None], expanded(n_subjects))
    beyond = min((usable <= 0).sum(), (usable >= 0).sum())

    def corrected(p: float) -> float:
        z = stats.norm.isf(p / 2) * np.sqrt((n_subjects - 1) / n_subjects)
        return float(2 * stats.t.sf(z, n_subjects - 1))

    return Comparison(
        test=BOOTSTRAP,
        null=NEW_SUBJECTS,
        n_pairs=n_subjects,
        zero_differences=0,
        difference=difference,
        lower=float(lower[0]),
        upper=float(upper[0]),
        statistic=np.nan,
        p=corrected(min(1.0, 2 * (1 + float(beyond)) / (1 + len(usable)))),
        smallest_p=corrected(2 / (1 + len(usable))),
        method=f"expanded percentile, {len(usable)} resamples of {n_subjects} subjects",
        note="Says nothing about training the models again.",
        detectable=detectable(float(usable.std(ddof=1))),
    )


def permutation_by_subject(a: Estimate, b: Estimate, metric: str, *, resamples: int, seed: int) -> Comparison:
    """Swaps the two models' predictions of whole subjects; not made in a metric that is no sum over frames.

    The null is stronger than that of the bootstrap: a subject's predictions could have come from either
    model. Scores are first ranked within each model, so that only their order counts for the area under the
    curve. Swapping then turns the sign of the subject's share in the difference (Bandos et al. 2005, Stat.
    Med. 24:2873), which makes a permutation a sum over the subjects.
    """
    shares = swap_shares(a, b, metric)
    if shares is None:
        return not_compared(PERMUTATION, f"{metric} is no sum over frames, so a swap has no share in it.")
    names, rows = np.unique(a.clusters, return_inverse=True)
    by_subject = np.asarray(np.bincount(rows, shares), dtype=np.float64)  # (S,)
    observed = float(by_subject.sum())
    turned = np.flatnonzero(by_subject)  # a share of zero stays zero
    exact = len(turned) <= np.log2(resamples)
    if exact:
        bits = np.arange(2 ** len(turned))[:, None] >> np.arange(len(turned)) & 1
        sums = (1.0 - 2 * bits) @ by_subject[turned]
    else:
        sums = _random_swaps(by_subject, resamples, seed)
    beyond = int((np.abs(sums) >= abs(observed) - 1e-12).sum())
    whole = f"all {len(sums)} swaps" if exact else f"{resamples} random swaps"
    return Comparison(
        test=PERMUTATION,
        null="either model could have made each subject's predictions, on new subjects too",
        n_pairs=len(names),
        zero_differences=int((np.abs(by_subject) < 1e-15).sum()),
        difference=observed,
        lower=np.nan,
        upper=np.nan,
        statistic=observed,
        p=beyond / len(sums) if exact else (1 + beyond) / (1 + resamples),
        smallest_p=min(1.0, 2 / len(sums)) if exact else 1 / (1 + resamples),
        method=f"{whole} of {len(names)} subjects",
        note="Says nothing about training the models again.",
        detectable=detectable(float(np.sqrt((by_subject**2).sum()))),
    )


def _random_swaps(by_subject: Floats, resamples: int, seed: int) -> Floats:
    """The sums `(resamples,)` of the subjects' shares with random signs."""
    generator = np.random.default_rng(seed)
    found, chunk = [], max(1, _CHUNK // len(by_subject))
    for start in range(0, resamples, chunk):
        size = (min(chunk, resamples - start), len(by_subject))
        found.append((2.0 * generator.integers(2, size=size, dtype=np.int8) - 1) @ by_subject)
    return np.concatenate(found)


def swap_shares(a: Estimate, b: Estimate, metric: str) -> Floats | None:
    """Each frame's share `(N,)` in the difference a - b of a metric, which a swap of the models turns round.

    Their sum is the difference. None for metrics that are no sum over frames: precision, F1, kappa, average
    precision, expected calibration error.
    """
    labels, n_classes = a.labels, len(a.classes)
    support = np.bincount(labels, minlength=n_classes)
    headline = [metrics.positive_column(a.classes, a.positive)] if n_classes == 2 else list(range(n_classes))
    right = (a.predicted == labels).mean(axis=0) - (b.predicted == labels).mean(axis=0)  # (N,)
    if metric == "accuracy":
        return np.asarray(right / len(labels))
    if metric == "balanced_accuracy":
        return np.asarray(right / support[labels] / n_classes)
    if metric in ("sensitivity", "recall"):
        return np.asarray(np.isin(labels, headline) * right / support[labels] / len(headline))
    if metric == "specificity" and n_classes == 2:
        return np.asarray((labels != headline[0]) * right / support[1 - headline[0]])
    if metric == "auc":
        columns = [_area_shares(a, b, labels == column, column) for column in headline]
        return np.asarray(np.mean(columns, axis=0))
    return None


def _area_shares(a: Estimate, b: Estimate, is_class: NDArray[np.bool_], column: int) -> Floats:
    """Shares `(N,)` in the difference of the areas under the curve of one class against the rest.

    A frame's share is how much better a than b ranks it among the other side's frames of both models, of
    those that the same fold's model judged.
    """
    shares, pairs = np.zeros(len(is_class)), 0
    for rows in a.ranked_together:
        of_class = is_class[rows]
        pairs += int(of_class.sum()) * int((~of_class).sum())
        for of_a, of_b in zip(a.probabilities, b.probabilities, strict=True):
            first, second = stats.rankdata(of_a[rows, column]), stats.rankdata(of_b[rows, column])
            both = np.concatenate([first, second])
            for side, sign in ((of_class, 1.0), (~of_class, -1.0)):
                others = np.sort(both[np.tile(~side, 2)])
                place = _placed(first[side], others) - _placed(second[side], others)
                shares[rows[side]] += sign * place / 2
    return np.asarray(shares / pairs / len(a.probabilities))


def _placed(values: Floats, among: Floats) -> Floats:
    """How many of the sorted `among (m,)` lie below each of `values (n,)`, ties counted half."""
    below = np.searchsorted(among, values, side="left") + np.searchsorted(among, values, side="right")
    return np.asarray(below / 2)
