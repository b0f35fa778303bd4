"""Which tests the simulation supports, on which data: the column `valid` of `comparisons.csv`.

A test is printed as valid only where it rejects at most 6.5 % of simulated studies in which its null holds
(`benchmarks/statistics_simulation.py`, table in docs/statistics.md). What it says of its null stands in the
row: a test that holds for trained models on new subjects says nothing about training again.
"""

from __future__ import annotations

from usfmae.evaluation.comparison import delong, mcnemar, resampled, signed_rank, subjects
from usfmae.evaluation.comparison.result import Comparison

#: The largest share of simulated studies without a difference in which a valid test may find one.
LIMIT = 0.065
#: With fewer subjects the percentile interval and the normal approximations are too narrow.
FEWEST_SUBJECTS = 40
#: With more folds the signed ranks of correlated folds reject too often; with 5 or fewer they cannot reject.
MOST_FOLDS = 5

_OVER_SUBJECTS = (subjects.BOOTSTRAP, delong.CLUSTERED, mcnemar.CLUSTERED)
_FRAMES_ALONE = (delong.PLAIN, mcnemar.EXACT)


def objection(test: Comparison, *, n_folds: int = 0, n_subjects: int = 0, n_frames: int = 0) -> str:
    """Why a test is not valid on so many folds, or so many frames of so many subjects; empty where it is."""
    name = test.test
    if test.method == "not made":
        return ""
    if name in (signed_rank.OVER_METRICS, signed_rank.OVER_SEEDS):
        return "pairs that share frames and models count as independent."
    if name == signed_rank.TEST and n_folds > MOST_FOLDS:
        return f"{n_folds} folds that share training frames count as independent."
    if name in _FRAMES_ALONE and n_frames > n_subjects:
        return f"{n_frames} frames of {n_subjects} subjects count as independent."
    if name in (*_OVER_SUBJECTS, delong.PLAIN) and n_subjects < FEWEST_SUBJECTS:
        return f"with {n_subjects} subjects, fewer than {FEWEST_SUBJECTS}, its errors are too small."
    known = (signed_rank.TEST, resampled.TEST, resampled.BAYESIAN, subjects.PERMUTATION)
    if name not in (*known, *_OVER_SUBJECTS, *_FRAMES_ALONE):
        raise ValueError(f"the test {name!r} was never simulated, so nothing says whether it is valid")
    return ""
