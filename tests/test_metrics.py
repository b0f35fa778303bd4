"""Metrics against scikit-learn, for plain frames and for weighted ones; thresholds, curves and errors."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from usfmae.evaluation.intervals import cluster_bootstrap
from usfmae.evaluation.metrics import (
    compute,
    predict,
    ranking_metrics,
    roc,
    subject_level,
    weighted_metrics,
    youden_threshold,
)

NAMES = ["benign", "cyst", "malignant"]


def simulated(n_classes: int, n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Labels `(n,)` and probabilities `(n, C)` that know something of them; rounded, so that scores tie."""
    rng = np.random.default_rng(seed)
    classes = NAMES[:n_classes]
    codes = np.concatenate([np.arange(n_classes), rng.integers(n_classes, size=n - n_classes)])
    logits = rng.normal(size=(n, n_classes)) + 1.2 * np.eye(n_classes)[codes]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probabilities = np.round(probabilities, 2)
    probabilities[:, 0] = 1 - probabilities[:, 1:].sum(axis=1)
    return np.array(classes)[codes], np.abs(probabilities), classes


@pytest.mark.parametrize("weighted", [False, True])
def test_binary_metrics_equal_scikit_learn(weighted: bool) -> None:
    labels, probabilities, classes = simulated(2)
    truth, score = labels == "cyst", probabilities[:, 1]
    weights = np.random.default_rng(1).integers(0, 4, len(labels)) if weighted else np.ones(len(labels))
    chosen = predict(probabilities, classes, "cyst", 0.4)
    found = {
        name: value[0]
        for name, value in weighted_metrics(
            truth.astype(int), probabilities, chosen, weights[None].astype(float), classes
        ).items()
    }
    called = score >= 0.4
    arguments = {"sample_weight": weights}
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(truth, called, **arguments),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(truth, called, **arguments),
        "sensitivity": sklearn_metrics.recall_score(truth, called, **arguments),
        "recall": sklearn_metrics.recall_score(truth, called, **arguments),
        "specificity": sklearn_metrics.recall_score(~truth, ~called, **arguments),
        "precision": sklearn_metrics.precision_score(truth, called, **arguments),
        "f1_macro": sklearn_metrics.f1_score(truth, called, average="macro", **arguments),
        "f1_weighted": sklearn_metrics.f1_score(truth, called, average="weighted", **arguments),
        "f1": sklearn_metrics.f1_score(truth, called, **arguments),
        "precision_weighted": sklearn_metrics.precision_score(truth, called, average="weighted", **arguments),
        "auc": sklearn_metrics.roc_auc_score(truth, score, **arguments),
        "average_precision": sklearn_metrics.average_precision_score(truth, score, **arguments),
        "kappa": sklearn_metrics.cohen_kappa_score(truth, called, **arguments),
        "brier": sklearn_metrics.brier_score_loss(truth, score, **arguments),
    }
    assert set(found) == {*expected, "expected_calibration_error"}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    if not weighted:
        assert compute(labels, probabilities, classes, "cyst", 0.4) == pytest.approx(found, abs=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_multiclass_metrics_equal_scikit_learn(weighted: bool) -> None:
    labels, probabilities, classes = simulated(3)
    codes = np.array([classes.index(label) for label in labels])
    weights = np.random.default_rng(1).integers(0, 4, len(labels)) if weighted else np.ones(len(labels))
    chosen = probabilities.argmax(axis=1)
    arguments = {"sample_weight": weights}
    metrics = weighted_metrics(codes, probabilities, chosen, weights[None].astype(float), classes)
    found = {name: value[0] for name, value in metrics.items()}
    one_hot = np.eye(3)[codes]
    matrices = sklearn_metrics.multilabel_confusion_matrix(codes, chosen, sample_weight=weights)
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(codes, chosen, **arguments),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(codes, chosen, **arguments),
        "sensitivity": sklearn_metrics.recall_score(codes, chosen, average="macro", **arguments),
        "recall": sklearn_metrics.recall_score(codes, chosen, average="macro", **arguments),
        "specificity": np.mean([m[0, 0] / m[0].sum() for m in matrices]),
        "precision": sklearn_metrics.precision_score(codes, chosen, average="macro", **arguments),
        "f1_macro": sklearn_metrics.f1_score(codes, chosen, average="macro", **arguments),
        "f1_weighted": sklearn_metrics.f1_score(codes, chosen, average="weighted", **arguments),
        "precision_weighted": sklearn_metrics.precision_score(codes, chosen, average="weighted", **arguments),
        "auc": sklearn_metrics.roc_auc_score(codes, probabilities, multi_class="ovr", **arguments),
        "average_precision": sklearn_metrics.average_precision_score(one_hot, probabilities, **arguments),
        "kappa": sklearn_metrics.cohen_kappa_score(codes, chosen, **arguments),
        "brier": np.average(((probabilities - one_hot) ** 2).sum(axis=1), weights=weights),
    }
    for c, name in enumerate(classes):
        expected[f"sensitivity_{name}"] = sklearn_metrics.recall_score(codes == c, chosen == c, **arguments)
        expected[f"specificity_{name}"] = sklearn_metrics.recall_score(codes != c, chosen != c, **arguments)
        expected[f"precision_{name}"] = sklearn_metrics.precision_score(codes == c, chosen == c, **arguments)
        expected[f"f1_{name}"] = sklearn_metrics.f1_score(codes == c, chosen == c, **arguments)
        expected[f"auc_{name}"] = sklearn_metrics.roc_auc_score(codes == c, probabilities[:, c], **arguments)
    assert set(found) == {*expected, "expected_calibration_error"}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    # 90 % confident, right in 7 of 10: a gap of 0.2. 60 % confident, right in 6 of 10: none.
    confidence = np.array([0.9] * 10 + [0.6] * 10)
    labels = np.array(["b"] * 7 + ["a"] * 3 + ["b"] * 6 + ["a"] * 4)
    found = compute(labels, np.column_stack([1 - confidence, confidence]), ["a", "b"])
    assert found["expected_calibration_error"] == pytest.approx(0.1)


def test_the_positive_class_may_be_the_first() -> None:
    labels, probabilities, classes = simulated(2)
    last, first = compute(labels, probabilities, classes), compute(labels, probabilities, classes, "benign")
    assert first["sensitivity"] == pytest.approx(last["specificity"], abs=0.05)  # ties at 0.5 change sides
    assert first["auc"] == pytest.approx(last["auc"])


def test_bad_input_is_refused_in_words() -> None:
    labels, probabilities, classes = simulated(3)
    broken = probabilities.copy()
    broken[7, 1] = np.nan
    with pytest.raises(ValueError, match=r"row 7: probabilities .* are NaN"):
        compute(labels, broken, classes)
    with pytest.raises(ValueError, match="do not sum to 1"):
        compute(labels, probabilities * 2, classes)
    with pytest.raises(ValueError, match="no frame of class cyst, malignant among 3"):
        compute(["benign"] * 3, probabilities[:3], classes)
    with pytest.raises(ValueError, match="label 'unknown' in row 0 is none of"):
        compute(["unknown", *labels[1:]], probabilities, classes)
    with pytest.raises(ValueError, match=r"shape \(400, 2\), expected \(400, 3\)"):
        compute(labels, probabilities[:, :2], classes)
    with pytest.raises(ValueError, match="positive class 'cysst' is none of"):
        compute(*simulated(2), positive="cysst")


def test_the_youden_threshold_is_the_best_there_is() -> None:
    labels, probabilities, _ = simulated(2)
    truth, score = labels == "cyst", probabilities[:, 1]
    complement, sensitivity, _ = sklearn_metrics.roc_curve(truth, score, drop_intermediate=False)
    threshold = youden_threshold(truth, score)
    reached = (score >= threshold)[truth].mean() - (score >= threshold)[~truth].mean()
    assert reached == pytest.approx((sensitivity - complement).max())
    assert not np.isin(threshold, score), "it lies between two scores"
    assert youden_threshold([False, True], [0.2, 0.4]) == pytest.approx(0.3)
    with pytest.raises(ValueError, match="both classes"):
        youden_threshold([True, True], [0.2, 0.4])


def test_the_roc_curve_equals_scikit_learn_on_its_grid() -> None:
    labels, probabilities, _ = simulated(2)
    truth, score = labels == "cyst", probabilities[:, 1]
    complement, sensitivity, _ = sklearn_metrics.roc_curve(truth, score, drop_intermediate=False)
    grid = np.linspace(0, 1, 51)
    np.testing.assert_allclose(roc(truth, score, grid), np.interp(grid, complement, sensitivity))
    assert roc(truth, score, grid, np.ones((3, len(score)))).shape == (3, 51)


def test_the_mean_of_a_subjects_frames_stands_for_the_subject() -> None:
    predictions = pd.DataFrame(
        {
            "frame_id": ["1", "2", "3"],
            "subject": ["s", "s", "t"],
            "label": ["a", "a", "b"],
            "probability_a": [0.2, 0.6, 0.1],
            "probability_b": [0.8, 0.4, 0.9],
        }
    )
    found = subject_level(predictions)
    assert found["subject"].tolist() == ["s", "t"]
    assert found["probability_a"].tolist() == pytest.approx([0.4, 0.1])


def test_ten_thousand_bootstraps_of_a_binary_task_take_under_ten_seconds() -> None:
    labels, probabilities, classes = simulated(2, n=2000)
    codes = (labels == classes[1]).astype(int)
    started = time.process_time()
    draws = cluster_bootstrap(
        lambda w: np.column_stack(
            list(weighted_metrics(codes, probabilities, probabilities.argmax(axis=1), w, classes).values())
        ),
        np.arange(2000) // 4,
        resamples=10_000,
        seed=0,
    )
    assert time.process_time() - started < 10
    assert draws.shape == (10_000, 15)


def test_the_area_is_one_half_where_all_scores_tie() -> None:
    auc, precision = ranking_metrics(np.array([True, False, False, True]), np.full(4, 0.5), np.ones((1, 4)))
    assert auc[0] == 0.5 and precision[0] == 0.5
