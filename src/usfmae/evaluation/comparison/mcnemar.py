"""McNemar's test of two models' right and wrong answers, with frames independent or clustered in subjects."""

from __future__ import annotations

import numpy as np
from scipy import stats

from usfmae.evaluation.comparison.result import (
    NEW_SUBJECTS,
    Comparison,
    Floats,
    normal_test,
    not_compared,
)
from usfmae.evaluation.comparison.signed_rank import smallest_p
from usfmae.evaluation.estimates import Estimate

EXACT = "McNemar, exact, frames as independent"
CLUSTERED = "McNemar, clustered by subject"


def mcnemar_exact(a: Estimate, b: Estimate) -> Comparison:
    """McNemar's (1947) exact test: of the frames that one model alone gets right, half are each model's.

    It counts whole frames, so it needs one set of predictions a model: several seeds or fold models have no
    such count.
    """
    right_a, right_b = a.predicted == a.labels, b.predicted == b.labels  # (R, N)
    shares = (right_a.mean(axis=0) - right_b.mean(axis=0)).astype(np.float64)
    if len(right_a) > 1:
        reason = f"{len(right_a)} sets of predictions a model: the exact test counts the frames of one."
        return not_compared(EXACT, reason, shares, np.zeros(len(shares)))
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    discordant = only_a + only_b
    p = float(stats.binomtest(only_a, discordant).pvalue) if discordant else 1.0
    return Comparison(
        test=EXACT,
        null=NEW_SUBJECTS,
        n_pairs=len(shares),
        zero_differences=len(shares) - discordant,
        difference=float(shares.mean()),
        lower=np.nan,
        upper=np.nan,
        statistic=float(only_a),
        p=p,
        smallest_p=smallest_p(discordant),
        method=f"binomial, {discordant} frames that one model alone gets right",
        note="Says nothing about training the models again.",
    )


def mcnemar_clustered(a: Estimate, b: Estimate) -> Comparison:
    """Two accuracies with frames clustered in subjects (Obuchowski 1998, Stat. Med. 17:1495).

    With d_k the frames of subject k that a alone gets right, less those of b, the null's variance of the
    difference is K / (K - 1) · Σ d_k² / N²: with one frame a subject that is McNemar's chi-squared without
    continuity correction, times (K - 1) / K. Over several sets of predictions d_k is the mean. The interval
    is Wald's: its variance takes the deviations of d_k from their mean a frame.
    """
    shares = (a.predicted == a.labels).mean(axis=0) - (b.predicted == b.labels).mean(axis=0)  # (N,)
    names, subjects = np.unique(a.clusters, return_inverse=True)
    difference, frames, n = float(shares.mean()), len(shares), len(names)
    by_subject = np.asarray(np.bincount(subjects, shares), dtype=np.float64)
    deviations = np.asarray(np.bincount(subjects, shares - difference), dtype=np.float64)

    def error(sums: Floats) -> float:
        return float(np.sqrt(n / (n - 1) * (sums @ sums)) / frames) if n > 1 else np.nan

    return Comparison(
        test=CLUSTERED,
        null=NEW_SUBJECTS,
        n_pairs=n,
        zero_differences=int((np.abs(by_subject) < 1e-12).sum()),
        method=f"normal, {frames} frames in {n} subjects (Obuchowski 1998)",
        note="Says nothing about training the models again.",
        **normal_test(difference, error(deviations), error(by_subject)),
    )
