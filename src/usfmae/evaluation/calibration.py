"""Temperature scaling on validation rows, and how well probabilities agree with what happens."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from usfmae.evaluation import metrics
from usfmae.evaluation.estimates import Estimate, estimates, probability_columns
from usfmae.evaluation.intervals import cluster_bootstrap, percentile_interval

Floats = NDArray[np.float64]

_TEMPERATURES = (0.25, 10.0)  # a separable or a useless validation part would lead to 0 or infinity
_SMALLEST = 1e-12  # a probability of 0 has no logarithm
#: One prediction a frame and model; an averaged probability is not what a temperature was fitted to.
_ESTIMATES = ("pooled", "mean of fold models")

CALIBRATION_COLUMNS = [
    *("model", "role", "estimate", "calibration", "metric"),
    *("value", "lower", "upper", "n_frames", "n_subjects"),
]
RELIABILITY_COLUMNS = [
    *("model", "role", "calibration", "bin_lower", "bin_upper", "confidence", "accuracy", "frames"),
]


def fit_temperature(probabilities: ArrayLike, codes: ArrayLike) -> float:
    """The temperature, 0.25 to 10, with the least log loss of probabilities `(N, C)`, classes `(N,)`.

    Guo et al. 2017 (arXiv 1706.04599), section 4.2; above 1 the model was too sure. To be used on validation
    rows only. Raises `ValueError` for no rows and for NaN.
    """
    logits, labels = _logarithms(probabilities), np.asarray(codes)
    if not len(logits) or not np.isfinite(logits).all():
        raise ValueError(f"a temperature needs probabilities without NaN, got {len(logits)} rows")

    def log_loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(scaled[np.arange(len(labels)), labels].mean())

    # The loss is convex in 1 / temperature, so it has one minimum on any scale.
    return float(np.exp(minimize_scalar(log_loss, bounds=np.log(_TEMPERATURES), method="bounded").x))


def calibrated(probabilities: ArrayLike, temperature: float) -> Floats:
    """Probabilities `(N, C)` after division of their logits by `temperature`; their order stays."""
    scaled: Floats = np.exp(log_softmax(_logarithms(probabilities) / temperature, axis=1))
    return scaled


def with_temperature(runs: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """The rows of all runs with calibrated probabilities and `temperature`, fitted on each run's own
    validation rows."""
    columns = probability_columns(classes)
    scaled = []
    for (model, seed, fold), run in runs.groupby(["model", "seed", "fold"]):
        validation = run[run["role"] == "validation"]
        codes = pd.Index(classes).get_indexer(pd.Index(validation["label"]))
        try:
            temperature = fit_temperature(validation[columns], codes)
        except ValueError as error:
            raise ValueError(f"model {model}, seed {seed}, fold {fold}, validation: {error}") from error
        table = calibrated(run[columns], temperature)  # (n, C)
        scaled.append(run.assign(temperature=temperature, **dict(zip(columns, table.T, strict=True))))
    return pd.concat(scaled, ignore_index=True)


def calibration_tables(
    runs: pd.DataFrame,
    scaled: pd.DataFrame,
    classes: list[str],
    positive: str | None,
    *,
    resamples: int,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """The tables `calibration` and `reliability`, before (`runs`) and after scaling (`scaled`)."""
    errors, bins = [], []
    for calibration, table in (("before", runs), ("after", scaled)):
        for estimate in estimates(table, classes, positive):
            if estimate.name in _ESTIMATES:
                errors.append(_errors(estimate, resamples, seed).assign(calibration=calibration))
                bins.append(_reliability(estimate).assign(calibration=calibration))
    return {
        "calibration": pd.concat(errors, ignore_index=True)[CALIBRATION_COLUMNS],
        "reliability": pd.concat(bins, ignore_index=True)[RELIABILITY_COLUMNS],
    }


def _errors(estimate: Estimate, resamples: int, seed: int) -> pd.DataFrame:
    """Brier score and expected calibration error with intervals over resampled subjects."""

    def measured(weights: Floats) -> Floats:
        """`(B, 2)` for weights `(B, N)`."""
        found = [
            metrics.calibration_metrics(estimate.labels, table, weights, estimate.classes, estimate.positive)
            for table in estimate.probabilities
        ]
        return np.column_stack([np.mean([each[name] for each in found], axis=0) for name in names])

    names = ["brier", "expected_calibration_error"]
    lower, upper = percentile_interval(
        cluster_bootstrap(measured, estimate.clusters, resamples=resamples, seed=seed)
    )
    table = pd.DataFrame(
        {"metric": names, "value": measured(estimate.ones)[0], "lower": lower, "upper": upper}
    )
    return table.assign(
        model=estimate.model,
        role=estimate.role,
        estimate=estimate.name,
        n_frames=len(estimate.labels),
        n_subjects=len(np.unique(estimate.subjects)),
    )


def _reliability(estimate: Estimate) -> pd.DataFrame:
    """Mean confidence and accuracy of each bin with a frame; `frames` is the mean over seeds or models."""
    tables = estimate.probabilities.reshape(-1, len(estimate.classes))  # (R * N, C)
    confidence, bins = metrics.confidence_bins(tables)
    right = tables.argmax(axis=1) == np.tile(estimate.labels, len(estimate.probabilities))
    rows = pd.DataFrame({"bin": bins, "confidence": confidence, "accuracy": right.astype(float)})
    found = rows.groupby("bin").agg(
        confidence=("confidence", "mean"), accuracy=("accuracy", "mean"), frames=("accuracy", "size")
    )
    return found.reset_index().assign(
        model=estimate.model,
        role=estimate.role,
        bin_lower=lambda table: table["bin"] / metrics.CALIBRATION_BINS,
        bin_upper=lambda table: (table["bin"] + 1) / metrics.CALIBRATION_BINS,
        frames=lambda table: table["frames"] / len(estimate.probabilities),
    )


def _logarithms(probabilities: ArrayLike) -> Floats:
    logarithms: Floats = np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), _SMALLEST))
    return logarithms
