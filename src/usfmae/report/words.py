"""Numbers and results in words, the same way in figures, tables and sentences."""

from __future__ import annotations

import math

import pandas as pd

from usfmae.evaluation.predictions import NOT_RUN as NOT_RUN

_METRICS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision (positive predictive value)",
    "precision_weighted": "Precision (weighted)",
    "f1": "F1",
    "f1_macro": "F1 (macro)",
    "f1_weighted": "F1 (weighted)",
    "auc": "AUC",
    "average_precision": "Average precision",
    "kappa": "Cohen's kappa",
    "brier": "Brier score",
    "expected_calibration_error": "Expected calibration error",
}
_OFFICIAL_PART = "Official test part"
_ESTIMATES = {
    ("test", "mean of folds"): "Cross-validation, mean of the folds",
    ("test", "pooled"): "Cross-validation, folds pooled",
    ("holdout", "mean of fold models"): "Hold-out, mean of the fold models",
    ("holdout", "averaged probability"): "Hold-out, averaged probability",
}
_METHODS = {
    "score_cam": "Score-CAM",
    "grad_cam": "Grad-CAM",
    "attention_rollout": "Attention rollout",
    "gradient_attention": "Gradient × attention",
    "centred_gaussian": "Centred blob",
}
#: In the order in which tables show them.
ESTIMATES = tuple(_ESTIMATES)


def metric_name(metric: str) -> str:
    """`f1_macro` -> `F1 (macro)`; `sensitivity_cystic hygroma` -> `Sensitivity, cystic hygroma`."""
    if metric in _METRICS:
        return _METRICS[metric]
    known = [name for name in _METRICS if metric.startswith(f"{name}_")]
    name = max(known, key=len, default="")
    return f"{_METRICS[name]}, {class_name(metric[len(name) + 1 :])}" if name else class_name(metric)


def class_name(name: str) -> str:
    """`cystic_hygroma` -> `cystic hygroma`."""
    return name.replace("_", " ")


def estimate_name(role: str, estimate: str, n_folds: float) -> str:
    """Of one fold, an official test part, there is nothing to pool."""
    if role == "test" and n_folds == 1:
        return _OFFICIAL_PART
    return _ESTIMATES.get((role, estimate), f"{role}, {estimate}")


def shown_estimates(summary: pd.DataFrame) -> list[tuple[str, str]]:
    """The (role, estimate) of a `summary.csv` in the order of tables; of one fold its mean is left out, which
    is the fold's value without an interval."""
    found = summary.dropna(subset=["role"]).groupby(["role", "estimate"])["n_folds"].max()
    keys = [key for key in ESTIMATES if key in found.index]
    return [key for key in keys if key != ("test", "mean of folds") or found[key] > 1]


def of_which_predictions(table: pd.DataFrame) -> str:
    """A caption's last sentence on the frames of a `roc`, `pr` or `confusion` table, by its roles."""
    if "holdout" not in set(table["role"]):
        return ""
    return (
        " On the hold-out they are those of the fold models' averaged probability, not the mean of the fold "
        "models that the sentences above are about."
    )


def method_name(method: str) -> str:
    """`score_cam` -> `Score-CAM`."""
    return _METHODS.get(method, class_name(method))


def role_name(role: str) -> str:
    return {"holdout": "hold-out"}.get(role, role)


def number(value: float, digits: int = 2, sign: bool = False) -> str:
    """`0.84`, with a true minus; a dash where there is none."""
    if math.isnan(value):
        return "–"
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return text.replace("-", "−")


def with_interval(value: float, lower: float, upper: float, digits: int = 2, sign: bool = False) -> str:
    """`0.84 (0.79–0.88)`; signed numbers get a `to` between the bounds, where a dash reads as a minus."""
    shown = number(value, digits, sign)
    if math.isnan(value) or math.isnan(lower) or math.isnan(upper):
        return shown
    between = " to " if sign else "–"
    return f"{shown} ({number(lower, digits, sign)}{between}{number(upper, digits, sign)})"


def p_value(p: float) -> str:
    """`0.031`, `<0.001`, or a dash where no test was made."""
    if math.isnan(p):
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def smallest_p(p: float) -> str:
    """The least p a test can give; a test on a continuous statistic has no bound."""
    return "no bound" if p == 0 else p_value(p)


def count(n: float, noun: str) -> str:
    """`1 frame`, `1,204 frames`."""
    return f"{n:,.0f} {noun}" if n == 1 else f"{n:,.0f} {noun}s"


def subjects(n: float) -> str:
    """The number of subjects in a cell of a table."""
    return "unknown" if pd.isna(n) else f"{n:,.0f}"


def sample(n_frames: float, n_subjects: float) -> str:
    """`96 frames of 32 subjects`; without a number of subjects `96 frames, patients unknown`."""
    frames = count(n_frames, "frame")
    if pd.isna(n_subjects):
        return f"{frames}, patients unknown"
    return f"{frames} of {count(n_subjects, 'subject')}"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `2 h 05 min`."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600} h {total % 3600 // 60:02d} min"
