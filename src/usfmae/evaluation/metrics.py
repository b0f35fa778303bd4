"""Metrics of a classifier from its probabilities, for one weighting of the frames or for thousands at once.

Every metric is computed for a matrix of frame weights `(B, N)`: one row of ones gives the metric, the integer
weights of B resamples give its bootstrap. A resample without a frame of some class has NaN for all metrics.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

PREFIX = "probability_"
#: Where a metric can lie, if not in 0 to 1. (The Brier score of several classes sums over the classes.)
RANGES = {"kappa": (-1.0, 1.0), "brier": (0.0, 2.0)}
CALIBRATION_BINS = 15  # Guo et al. 2017, On Calibration of Modern Neural Networks


def compute(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: list[str],
    positive: str | None = None,
    threshold: float | None = None,
) -> dict[str, float]:
    """The metrics of `(N,)` class names and `(N, C)` probabilities (0 to 1, columns as in `classes`).

    Of two classes, `positive` (the last unless named) is predicted from `threshold` (0.5) on, and sensitivity
    (the same as recall), specificity, precision, f1, auc and average_precision are that class's. Of more
    classes, the likeliest is predicted and these are means over the classes, each against the rest (of f1,
    `f1_macro`); the classes' own values follow as `sensitivity_<class>`, and likewise for specificity,
    precision, f1 and auc.

    As in scikit-learn, the precision of a class that is never predicted is 0, and the Brier score is the mean
    squared error of the positive class's probability, or summed over the classes if there are more than two.
    The expected calibration error has 15 equal bins of the highest probability (Guo et al. 2017).
    Raises `ValueError` for NaN, unknown or missing classes and rows that do not sum to 1.
    """
    codes, table = checked(labels, probabilities, classes)
    predicted = predict(table, classes, positive, threshold)
    weighted = weighted_metrics(codes, table, predicted, np.ones((1, len(codes))), classes, positive)
    return {name: float(value[0]) for name, value in weighted.items()}


def checked(
    labels: ArrayLike, probabilities: ArrayLike, classes: list[str]
) -> tuple[NDArray[np.intp], Floats]:
    """Class numbers `(N,)` and float64 probabilities `(N, C)`, or a `ValueError` that says what is wrong."""
    names = np.asarray(labels, dtype=object)
    table = np.asarray(probabilities, dtype=np.float64)
    if table.shape != (len(names), len(classes)):
        raise ValueError(f"probabilities have shape {table.shape}, expected {(len(names), len(classes))}")
    codes = pd.Index(classes).get_indexer(pd.Index(names))
    if (codes < 0).any():
        raise ValueError(f"label {names[codes < 0][0]!r} in row {np.argmax(codes < 0)} is none of {classes}")
    wrong = ~(np.isclose(table.sum(axis=1), 1, atol=0.01) & (table >= 0).all(axis=1))  # NaN compares false
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"row {row}: probabilities {table[row].tolist()} are NaN, negative or do not sum to 1"
        )
    missing = [name for code, name in enumerate(classes) if code not in codes]
    if missing:
        raise ValueError(
            f"no frame of class {', '.join(missing)} among {len(codes)}: the metrics need each class"
        )
    return codes, table


def predict(
    probabilities: Floats,
    classes: list[str],
    positive: str | None = None,
    threshold: float | Floats | None = None,
) -> NDArray[np.intp]:
    """Numbers `(N,)` of the predicted classes: the likeliest; of two, `positive` from `threshold` on.

    `threshold` is one number or `(N,)`.
    """
    if len(classes) != 2:
        likeliest: NDArray[np.intp] = probabilities.argmax(axis=1)
        return likeliest
    column = positive_column(classes, positive)
    reached = probabilities[:, column] >= (0.5 if threshold is None else threshold)
    chosen: NDArray[np.intp] = np.where(reached, column, 1 - column)
    return chosen


def positive_column(classes: list[str], positive: str | None) -> int:
    """The column of the positive class, the last one unless named."""
    if positive is not None and positive not in classes:
        raise ValueError(f"the positive class {positive!r} is none of {classes}")
    return len(classes) - 1 if positive is None else classes.index(positive)


def weighted_metrics(
    labels: NDArray[np.intp],
    probabilities: Floats,
    predicted: NDArray[np.intp],
    weights: Floats,
    classes: list[str],
    positive: str | None = None,
    folds: NDArray[np.intp] | None = None,
) -> dict[str, Floats]:
    """Each metric of `compute`, `(B,)`, for `weights (B, N)`; labels and predictions `(N,)` are numbers.

    With `folds (N,)`, auc and average_precision rank each frame only among those of its fold
    (`ranking_within_folds`).
    """
    n_classes = len(classes)
    headline = _headline(classes, positive)
    counts = weights @ np.eye(n_classes**2)[labels * n_classes + predicted]  # (B, C * C)
    counts = counts.reshape(-1, n_classes, n_classes)  # (B, label, predicted)
    hits = np.diagonal(counts, axis1=1, axis2=2)  # (B, C)
    support, called, total = counts.sum(axis=2), counts.sum(axis=1), counts.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        one_vs_rest = {  # (B, C) each
            "sensitivity": hits / support,
            "specificity": 1 - (called - hits) / (total[:, None] - support),
            "precision": np.where(called > 0, hits / called, 0.0),
            "f1": 2 * hits / (support + called),
        }
        ranked = [ranking_within_folds(labels == c, probabilities[:, c], weights, folds) for c in headline]
        auc, average_precision = np.moveaxis(np.array(ranked), 0, -1)  # (B, headline) each
        chance = (support * called).sum(axis=1) / total**2
        accuracy = hits.sum(axis=1) / total
        kappa = (accuracy - chance) / (1 - chance)

    of_interest = {name: values[:, headline].mean(axis=1) for name, values in one_vs_rest.items()}
    metrics = {
        "accuracy": accuracy,
        "balanced_accuracy": one_vs_rest["sensitivity"].mean(axis=1),
        "sensitivity": of_interest["sensitivity"],
        "specificity": of_interest["specificity"],
        "precision": of_interest["precision"],
        "precision_weighted": (one_vs_rest["precision"] * support).sum(axis=1) / total,
        "recall": of_interest["sensitivity"],
        "f1_macro": one_vs_rest["f1"].mean(axis=1),
        "f1_weighted": (one_vs_rest["f1"] * support).sum(axis=1) / total,
        "auc": auc.mean(axis=1),
        "average_precision": average_precision.mean(axis=1),
        "kappa": kappa,
        **calibration_metrics(labels, probabilities, weights, classes, positive),
    }
    if n_classes == 2:
        metrics["f1"] = of_interest["f1"]
    else:
        for name, values in {**one_vs_rest, "auc": auc}.items():
            metrics |= {f"{name}_{label}": values[:, c] for c, label in enumerate(classes)}
    complete = (support > 0).all(axis=1)
    return {name: np.where(complete, values, np.nan) for name, values in metrics.items()}


def calibration_metrics(
    labels: NDArray[np.intp],
    probabilities: Floats,
    weights: Floats,
    classes: list[str],
    positive: str | None = None,
) -> dict[str, Floats]:
    """`brier` and `expected_calibration_error` of `weighted_metrics`, `(B,)` each; arguments as there."""
    truth = np.eye(len(classes))[labels]  # (N, C)
    headline = _headline(classes, positive)
    squared = ((probabilities - truth)[:, headline] ** 2).sum(axis=1)  # (N,)
    confidence, bins = confidence_bins(probabilities)
    excess = (probabilities.argmax(axis=1) == labels) - confidence
    gaps = np.abs(weights @ (np.eye(CALIBRATION_BINS)[bins] * excess[:, None])).sum(axis=1)
    total, complete = weights.sum(axis=1), (weights @ truth > 0).all(axis=1)  # (B,) each
    errors = {"brier": weights @ squared / total, "expected_calibration_error": gaps / total}
    return {name: np.where(complete, values, np.nan) for name, values in errors.items()}


def confidence_bins(probabilities: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """The highest probability of each row `(N,)` and its bin of `CALIBRATION_BINS` equal ones `(N,)`."""
    confidence = probabilities.max(axis=1)
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    return confidence, bins


def ranking_metrics(is_class: NDArray[np.bool_], scores: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Area under the ROC curve and average precision, `(B,)` each, from one sort; tied scores count half.

    Only the class's frames are looked at one by one: how many of the others lie above, and not below.
    """
    falling = np.argsort(-scores, kind="stable")
    inside, outside = falling[is_class[falling]], falling[~is_class[falling]]
    ours, others = -scores[inside], -scores[outside]  # rising
    hits = weights.take(inside, axis=1)  # (B, P)
    cumulative = np.zeros((len(weights), len(outside) + 1))  # weight of the first 0, 1, … others
    weights.take(outside, axis=1).cumsum(axis=1, out=cumulative[:, 1:])
    above, reached = (np.searchsorted(others, ours, side=side) for side in ("left", "right"))
    misses = cumulative.take(reached, axis=1)  # others that score at least as high
    found = hits.cumsum(axis=1)
    positives, negatives = hits.sum(axis=1), cumulative[:, -1]
    half = (misses + cumulative.take(above, axis=1)) / 2 if (above < reached).any() else misses
    auc = np.einsum("bj,bj->b", hits, negatives[:, None] - half) / (positives * negatives)
    last = np.searchsorted(ours, ours, side="right") - 1  # of the class's frames with the same score
    if (last > np.arange(len(last))).any():
        found = found.take(last, axis=1)
    taken = found + misses
    precision = np.divide(found, taken, out=np.zeros_like(taken), where=taken > 0)
    return auc, np.einsum("bj,bj->b", hits, precision) / positives


def ranking_within_folds(
    is_class: NDArray[np.bool_], scores: Floats, weights: Floats, folds: NDArray[np.intp] | None
) -> tuple[Floats, Floats]:
    """`ranking_metrics` where a frame is ranked only among those of its fold: `folds (N,)`, None for one.

    Each fold has a model of its own, and scores of two models have no common scale. The area is the share of
    all pairs within a fold that are ranked right, so folds count by their pairs (Airola et al. 2011, Comput.
    Stat. Data Anal. 55:1828); the average precision is the mean over all frames of the class.
    """
    if folds is None:
        return ranking_metrics(is_class, scores, weights)
    right, precise, pairs, hits = (np.zeros(len(weights)) for _ in range(4))
    for inside in fold_rows(folds):
        drawn = weights.take(inside, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):  # no frame of a side: no pairs, so it counts 0
            area, precision = ranking_metrics(is_class[inside], scores[inside], drawn)
        positives = drawn @ is_class[inside].astype(np.float64)
        counted = positives * (drawn.sum(axis=1) - positives)
        right, pairs = right + np.nan_to_num(area) * counted, pairs + counted
        precise, hits = precise + np.nan_to_num(precision) * positives, hits + positives
    with np.errstate(invalid="ignore", divide="ignore"):
        return right / pairs, precise / hits


def fold_rows(folds: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """The numbers of the rows of each fold, from `folds (N,)`."""
    return [np.flatnonzero(folds == fold) for fold in np.unique(folds)]


def roc(is_class: NDArray[np.bool_], scores: Floats, grid: Floats, weights: Floats | None = None) -> Floats:
    """Sensitivity on a `grid (G,)` of 1 - specificity: `(G,)`, or `(B, G)` for `weights (B, N)`.

    `is_class (N,)` says which frames are of the class that `scores (N,)` speak for. Between the thresholds
    the curve is a straight line; at a vertical step the upper end counts.
    """
    hits, misses = _ranked(is_class, scores, np.ones((1, len(scores))) if weights is None else weights)
    with np.errstate(invalid="ignore"):  # a resample without one of the two sides gives NaN
        sensitivity, complement = (
            np.pad(counts.cumsum(axis=1) / counts.sum(axis=1, keepdims=True), ((0, 0), (1, 0)))
            for counts in (hits, misses)
        )
    curves = np.array([np.interp(grid, x, y) for x, y in zip(complement, sensitivity, strict=True)])
    curves[~(np.isfinite(complement[:, -1]) & np.isfinite(sensitivity[:, -1]))] = np.nan
    return curves[0] if weights is None else curves


def youden_threshold(is_positive: ArrayLike, scores: ArrayLike) -> float:
    """The threshold of the positive class's probability with the highest sensitivity + specificity - 1.

    (Youden 1950.) It lies midway between two neighbouring scores; of equally good ones the nearest to 0.5 is
    taken. To be used on validation frames only. Raises `ValueError` where one side is missing.
    """
    positive, values = np.asarray(is_positive, dtype=bool), np.asarray(scores, dtype=np.float64)
    if positive.all() or not positive.any() or np.isnan(values).any():
        raise ValueError("a threshold needs frames of both classes and scores without NaN")
    hits, misses = _ranked(positive, values, np.ones((1, len(values))))
    distinct = np.unique(values)[::-1]
    youden = hits.cumsum() / hits.sum() - misses.cumsum() / misses.sum()
    midway = (distinct[:-1] + distinct[1:]) / 2
    best = midway[np.isclose(youden[:-1], youden[:-1].max())] if len(midway) else distinct
    return float(best[np.abs(best - 0.5).argmin()])


def subject_level(predictions: pd.DataFrame) -> pd.DataFrame:
    """One row a subject (and role, model, seed, fold if present): the mean of its frames' probabilities."""
    probabilities = [name for name in predictions.columns if name.startswith(PREFIX)]
    keys = [name for name in predictions.columns if name not in (*probabilities, "frame_id")]
    return predictions.groupby(keys, as_index=False, sort=False)[probabilities].mean()


def _ranked(is_class: NDArray[np.bool_], scores: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weights in and outside the class at each distinct score, highest first: `(B, J)` each."""
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))  # tied scores are one step
    ordered = weights[:, order]
    hits = ordered * is_class[order]
    misses = ordered - hits
    if len(starts) == len(order):  # no ties, nothing to sum
        return hits, misses
    return np.add.reduceat(hits, starts, axis=1), np.add.reduceat(misses, starts, axis=1)


def _headline(classes: list[str], positive: str | None) -> list[int]:
    """The columns that the headline metrics are about: of two classes the positive one, else all."""
    return [positive_column(classes, positive)] if len(classes) == 2 else list(range(len(classes)))
