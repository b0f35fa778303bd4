"""Which tests the simulation supports, on which data: the column `valid` of `comparisons.csv`.

A test is printed as valid only where it rejects at most 6.5 % of simulated studies in which its null holds
(`benchmarks/statistics_simulation.py`, table in docs/statistics.md). What it says of its null stands in the
row: a test that holds for trained models on new subjects says nothing about training again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from usfmae.evaluation.comparison import delong, mcnemar, resampled, signed_rank, subjects
from usfmae.evaluation.comparison.result import Comparison
from usfmae.evaluation.estimates import Estimate

#: The largest share of simulated studies without a difference in which a valid test may find one.
LIMIT = 0.065
#: Where the normal approximation of McNemar's test was simulated.
FEWEST_SUBJECTS = 20
#: With 20 a permutation of ranks within the models rejects too often.
FEWEST_SWAPPED = 60
#: The same of each fold, where the frames of a fold are ranked among themselves.
FEWEST_SWAPPED_A_FOLD = 40
#: With fewer subjects of the rarest class, intervals of the area under the curve are too narrow.
FEWEST_OF_CLASS = 40
#: With two folds no test over folds was simulated.
FEWEST_FOLDS = 3
#: With more folds the signed ranks of correlated folds reject too often; with 5 or fewer they cannot reject.
MOST_FOLDS = 5

_OVER_FOLDS = (
    *(signed_rank.TEST, signed_rank.OVER_METRICS, signed_rank.OVER_SEEDS),
    *(resampled.TEST, resampled.BAYESIAN),
)
#: What the simulated studies measured: two classes, and these metrics.
SIMULATED_METRICS = ("auc", "accuracy")

_FRAMES_ALONE = (delong.PLAIN, mcnemar.EXACT)
_MANY_OF_CLASS = (subjects.BOOTSTRAP, delong.CLUSTERED, delong.PLAIN)
_KNOWN = {subjects.PERMUTATION, mcnemar.CLUSTERED, *_FRAMES_ALONE, *_MANY_OF_CLASS}


@dataclass(frozen=True)
class Size:
    """What a test over frames was made on; `of_class` are the subjects with a frame of the rarest class,
    `of_fold` those of the smallest fold, None where one model judged all.

    Subjects of one duplicate group count as one.
    """

    frames: int
    subjects: int
    of_class: int
    of_fold: int | None = None

    @classmethod
    def of(cls, estimate: Estimate) -> Size:
        subjects = estimate.clusters
        held = [len(np.unique(subjects[estimate.labels == c])) for c in range(len(estimate.classes))]
        of_fold = None
        if estimate.folds is not None:
            of_fold = min(len(np.unique(subjects[rows])) for rows in estimate.ranked_together)
        return cls(len(estimate.labels), len(np.unique(subjects)), min(held), of_fold)


def not_simulated(metric: str, n_classes: int, models_a_frame: int = 1, files: int = 0) -> str:
    """Why the simulation says nothing of such data, so that a test is neither valid nor refused; else empty.

    `models_a_frame`: fold models that judge the same frame, more than one on a hold-out. `files`: subjects
    that are but a file, because no patient is told: one patient may then stand on both sides.
    """
    if files:
        return f"patients are not told; {files} files count as subjects."
    if n_classes > 2:
        return f"{n_classes} classes; studies of two were simulated."
    if metric not in SIMULATED_METRICS:
        return f"studies of {' and '.join(SIMULATED_METRICS)} were simulated, not of {metric}."
    if models_a_frame > 1:
        return f"{models_a_frame} models judge each frame; studies of one were simulated."
    return ""


def objection_over_folds(test: Comparison, n_folds: int) -> str:
    """Why a test over so many folds is not valid; empty where it is, and where it was not made."""
    if test.test not in _OVER_FOLDS:
        raise ValueError(f"the test {test.test!r} was never simulated, so nothing says whether it is valid")
    if test.method == "not made":
        return ""
    if test.test in (signed_rank.OVER_METRICS, signed_rank.OVER_SEEDS):
        return "pairs that share frames and models count as independent."
    if test.test in (resampled.TEST, resampled.BAYESIAN) and np.isnan(test.lower):
        return "without spread between the folds there is nothing to measure the difference by."
    if test.test == signed_rank.TEST and n_folds > MOST_FOLDS:
        return f"{n_folds} folds that share training frames count as independent."
    if n_folds < FEWEST_FOLDS:
        return f"{n_folds} folds; it was simulated with {FEWEST_FOLDS} and more."
    return ""


def objection_over_subjects(test: Comparison, size: Size) -> str:
    """Why a test over the subjects is not valid; empty where it is, and where it was not made."""
    if test.test not in _KNOWN:
        raise ValueError(f"the test {test.test!r} was never simulated, so nothing says whether it is valid")
    if test.method == "not made":
        return ""
    if test.test in _FRAMES_ALONE and size.frames > size.subjects:
        return f"{size.frames} frames of {size.subjects} subjects count as independent."
    fewest = FEWEST_SWAPPED if test.test == subjects.PERMUTATION else FEWEST_SUBJECTS
    if size.subjects < fewest:
        return f"{size.subjects} subjects; it holds with {fewest} and more."
    if test.test == subjects.PERMUTATION and (size.of_fold or fewest) < FEWEST_SWAPPED_A_FOLD:
        return f"{size.of_fold} subjects in a fold; it holds with {FEWEST_SWAPPED_A_FOLD} and more."
    if test.test in _MANY_OF_CLASS and size.of_class < FEWEST_OF_CLASS:
        return f"{size.of_class} subjects with the rarest class; it holds with {FEWEST_OF_CLASS} and more."
    return ""
