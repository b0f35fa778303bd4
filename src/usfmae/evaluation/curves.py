"""Precision-recall curves with bands: what a ROC curve hides where a class is rare."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from usfmae.evaluation import metrics
from usfmae.evaluation.estimates import Estimate
from usfmae.evaluation.intervals import cluster_bootstrap, percentile_interval

Floats = NDArray[np.float64]

#: Recalls at which precision is given. Not 0: nothing is predicted there.
RECALL_GRID = np.linspace(0.01, 1, 100)


def precision_at(is_class: NDArray[np.bool_], scores: Floats, grid: Floats, weights: Floats) -> Floats:
    """Precision `(B, G)` at each recall of a `grid (G,)`, rising, in (0, 1], for frame weights `(B, N)`.

    The precision of the highest threshold that reaches the recall: a step function, whose area is the average
    precision. A straight line between thresholds would be too good (Davis and Goadrich 2006, ICML). A
    resample without a frame of the class is NaN.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # tied scores are one step
    taken = np.cumsum(weights[:, order], axis=1)[:, ends]  # (B, J)
    hits = np.cumsum(weights[:, order] * is_class[order], axis=1)[:, ends]
    positives = hits[:, -1:]
    precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
    # Rounding must not push a wanted recall past the step that reaches it.
    wanted = grid * positives - 1e-9 * np.maximum(positives, 1)
    curves = np.empty((len(weights), len(grid)))
    for row, (reached, values, recalls) in enumerate(zip(hits, precision, wanted, strict=True)):
        curves[row] = values[np.searchsorted(reached, recalls, side="left")]
    curves[positives[:, 0] == 0] = np.nan
    return curves


def precision_recall_curves(estimate: Estimate, resamples: int, seed: int) -> pd.DataFrame:
    """The columns of `pr.parquet`: a curve a class (of two classes: of the positive one) with a pointwise
    95 % band over resampled subjects; the mean over the estimate's sets of predictions.

    `prevalence` is the share of the frames that are of the class: the precision of guessing.
    """
    columns = list(range(len(estimate.classes)))
    if len(columns) == 2:
        columns = [metrics.positive_column(estimate.classes, estimate.positive)]
    tables = []
    for column in columns:
        curve = partial(_mean_curve, estimate, column)
        draws = cluster_bootstrap(curve, estimate.clusters, resamples=resamples, seed=seed)  # (B, G)
        lower, upper = percentile_interval(draws)
        is_class = estimate.labels == column
        areas = [
            metrics.ranking_within_folds(is_class, table[:, column], estimate.ones, estimate.folds)[1][0]
            for table in estimate.probabilities
        ]
        found = {
            "model": estimate.model,
            "role": estimate.role,
            "class": estimate.classes[column],
            "recall": RECALL_GRID,
            "precision": curve(estimate.ones)[0],
            "lower": lower,
            "upper": upper,
            "average_precision": np.mean(areas),
            "prevalence": is_class.mean(),
        }
        tables.append(pd.DataFrame(found))
    return pd.concat(tables, ignore_index=True)


def _mean_curve(estimate: Estimate, column: int, weights: Floats) -> Floats:
    """Precision `(B, G)` of one class against the rest on `RECALL_GRID` for weights `(B, N)`.

    The mean of the folds' curves, each counted by its frames of the class.
    """
    is_class = estimate.labels == column
    total, hits = np.zeros((len(weights), len(RECALL_GRID))), np.zeros((len(weights), 1))
    for rows in estimate.ranked_together:
        drawn = weights[:, rows]
        positives = (drawn @ is_class[rows].astype(np.float64))[:, None]  # (B, 1)
        curves = [
            precision_at(is_class[rows], table[rows, column], RECALL_GRID, drawn)
            for table in estimate.probabilities
        ]
        total, hits = total + positives * np.nan_to_num(np.mean(curves, axis=0)), hits + positives
    with np.errstate(invalid="ignore"):  # a resample without a frame of the class gives NaN
        return total / hits
