"""DeLong's test of two areas under the ROC curve, with frames independent or clustered in subjects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from usfmae.evaluation import metrics
from usfmae.evaluation.comparison.result import NEW_SUBJECTS, Comparison, Floats, normal_test
from usfmae.evaluation.estimates import Estimate

PLAIN = "DeLong, frames as independent"
CLUSTERED = "DeLong, clustered by subject"


def placement_values(is_positive: NDArray[np.bool_], scores: Floats) -> Floats:
    """For each frame `(N,)` the share of the other class's frames that it is ranked right against.

    Ties count half. The mean over either class is the area under the curve (DeLong et al. 1988, Biometrics
    44:837).
    """
    ranks = stats.rankdata(scores)
    positives, negatives = int(is_positive.sum()), int((~is_positive).sum())
    placed = np.empty(len(scores))
    placed[is_positive] = (ranks[is_positive] - stats.rankdata(scores[is_positive])) / negatives
    placed[~is_positive] = 1 - (ranks[~is_positive] - stats.rankdata(scores[~is_positive])) / positives
    return placed


def area_and_error(
    placed: Floats,
    is_positive: NDArray[np.bool_],
    clusters: NDArray[np.intp],
    together: Sequence[NDArray[np.intp]],
) -> tuple[float, float]:
    """An area, or a difference of areas, and its standard error, from (differences of) placement values.

    `placed (N,)`, `clusters (N,)` numbers of the subjects, `together` the rows of each fold. Obuchowski
    (1997, Biometrics 53:567): the values' deviations from the area are summed within subjects; subjects with
    frames of both classes tie the two sums. With one frame a subject and one fold it is DeLong's. A fold's
    area counts by its pairs, and its deviations are from its own area: each fold costs a degree of freedom.
    """
    n_clusters = int(clusters.max()) + 1
    sides = [(rows, int(is_positive[rows].sum()) * int((~is_positive[rows]).sum())) for rows in together]
    counted = [(rows, pairs) for rows, pairs in sides if pairs]  # folds with frames of both classes
    all_pairs = sum(pairs for _, pairs in counted)
    area, sums = 0.0, np.zeros((2, n_clusters))
    for rows, pairs in counted:
        share = pairs / all_pairs
        of_fold = float(placed[rows][is_positive[rows]].mean())
        area += share * of_fold
        for number, side in enumerate((is_positive[rows], ~is_positive[rows])):
            deviations = share * (placed[rows][side] - of_fold) / side.sum()
            sums[number] += np.bincount(clusters[rows][side], deviations, minlength=n_clusters)
    variance = 0.0
    for number, side in enumerate((is_positive, ~is_positive)):
        held = len(np.unique(clusters[side]))  # subjects with a frame of this class
        if held <= len(counted):
            return area, np.nan
        variance += held / (held - len(counted)) * float(sums[number] @ sums[number])
    variance += 2 * n_clusters / (n_clusters - len(counted)) * float(sums[0] @ sums[1])
    return area, float(np.sqrt(max(variance, 0.0)))


def delong(a: Estimate, b: Estimate, *, clustered: bool) -> Comparison:
    """DeLong's test of the positive class's area of two models on the same frames (two classes).

    Where an estimate has several sets of predictions (seeds, fold models), areas and placement values are
    their means. `clustered` keeps a subject's frames together; without it every frame counts as a subject.
    Frames are ranked among those that the same model judged.
    """
    column = metrics.positive_column(a.classes, a.positive)
    is_positive = a.labels == column
    placed = np.zeros(len(is_positive))
    for rows in a.ranked_together:
        side = is_positive[rows]
        if side.any() and not side.all():
            placed[rows] = np.mean(
                [
                    placement_values(side, of_a[rows, column]) - placement_values(side, of_b[rows, column])
                    for of_a, of_b in zip(a.probabilities, b.probabilities, strict=True)
                ],
                axis=0,
            )
    names, subjects = np.unique(a.clusters, return_inverse=True)
    clusters = subjects if clustered else np.arange(len(placed))
    n = len(names) if clustered else len(placed)
    unit, source = ("subjects", "Obuchowski 1997") if clustered else ("frames", "DeLong et al. 1988")
    return Comparison(
        test=CLUSTERED if clustered else PLAIN,
        null=NEW_SUBJECTS,
        n_pairs=n,
        zero_differences=0,
        method=f"normal, placement values of {n} {unit} ({source})",
        note="Says nothing about training the models again.",
        **normal_test(*area_and_error(placed, is_positive, clusters, a.ranked_together)),
    )
