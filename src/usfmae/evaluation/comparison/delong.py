"""DeLong's test of two areas under the ROC curve, with frames independent or clustered in subjects."""

from __future__ import annotations

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


def area_error(placed: Floats, is_positive: NDArray[np.bool_], clusters: NDArray[np.intp]) -> float:
    """The standard error of an area, or of a difference of areas, from (differences of) placement values.

    `placed (N,)`, `clusters (N,)` numbers of the subjects. Obuchowski (1997, Biometrics 53:567): the values'
    deviations from the area are summed within subjects; subjects with frames of both classes tie the two
    sums. With one frame a subject it is DeLong's.
    """
    n_clusters = int(clusters.max()) + 1
    variance, sums = 0.0, []
    for side in (is_positive, ~is_positive):
        deviations = placed[side] - placed[side].mean()
        summed = np.bincount(clusters[side], deviations, minlength=n_clusters)
        held = len(np.unique(clusters[side]))  # subjects with a frame of this class
        if held < 2:
            return np.nan
        variance += held / (held - 1) * float(summed @ summed) / int(side.sum()) ** 2
        sums.append(summed / int(side.sum()))
    variance += 2 * n_clusters / (n_clusters - 1) * float(sums[0] @ sums[1])
    return float(np.sqrt(max(variance, 0.0)))


def delong(a: Estimate, b: Estimate, *, clustered: bool) -> Comparison:
    """DeLong's test of the positive class's area of two models on the same frames (two classes).

    Where an estimate has several sets of predictions (seeds, fold models), areas and placement values are
    their means. `clustered` keeps a subject's frames together; without it every frame counts as a subject.
    """
    column = metrics.positive_column(a.classes, a.positive)
    is_positive = a.labels == column
    placed = np.mean(
        [
            placement_values(is_positive, of_a) - placement_values(is_positive, of_b)
            for of_a, of_b in zip(a.probabilities[:, :, column], b.probabilities[:, :, column], strict=True)
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
        **normal_test(float(placed[is_positive].mean()), area_error(placed, is_positive, clusters)),
    )
