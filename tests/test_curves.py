"""Precision-recall curves: exact steps, bands that cover, and no frame counted twice."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve
from test_comparison import CLASSES, predictions_of, tables_of

from usfmae.evaluation.curves import RECALL_GRID, precision_at

FINE = np.linspace(1e-5, 1, 20_000)


@pytest.mark.parametrize("ties", [False, True])
def test_the_area_below_the_steps_is_the_average_precision(ties: bool) -> None:
    generator = np.random.default_rng(0)
    truth = generator.random(60) < 0.3
    scores = generator.random(60) + 0.4 * truth
    scores = scores.round(1) if ties else scores
    (curve,) = precision_at(truth, scores, FINE, np.ones((1, 60)))
    assert curve.mean() == pytest.approx(average_precision_score(truth, scores), abs=1e-3)


def test_each_precision_is_that_of_the_highest_threshold_that_reaches_the_recall() -> None:
    generator = np.random.default_rng(1)
    truth = generator.random(40) < 0.4
    scores = (generator.random(40) + 0.3 * truth).round(2)
    precision, recall, _ = precision_recall_curve(truth, scores)
    expected = [precision[:-1][recall[:-1] >= wanted - 1e-12][-1] for wanted in RECALL_GRID]
    (found,) = precision_at(truth, scores, RECALL_GRID, np.ones((1, 40)))
    assert found == pytest.approx(expected)


def test_a_frame_drawn_twice_counts_as_two_frames() -> None:
    generator = np.random.default_rng(2)
    truth, scores = generator.random(30) < 0.4, generator.random(30).round(1)
    times = generator.integers(0, 3, 30)
    (weighted,) = precision_at(truth, scores, RECALL_GRID, times[None].astype(float))
    again = np.repeat(truth, times), np.repeat(scores, times)
    (repeated,) = precision_at(*again, RECALL_GRID, np.ones((1, times.sum())))
    assert weighted == pytest.approx(repeated)


def test_a_resample_without_the_class_has_no_curve() -> None:
    truth, scores = np.array([True, False]), np.array([0.9, 0.1])
    assert np.isnan(precision_at(truth, scores, RECALL_GRID, np.array([[0.0, 2.0]]))).all()


def test_the_table_holds_a_banded_curve_a_model_and_class_with_the_precision_of_guessing() -> None:
    predictions = predictions_of({"usfmae": 2.0, "resnet18": 0.5}, CLASSES)
    tables = tables_of(predictions)
    table, summary = tables["pr"], tables["summary"].set_index(["model", "estimate", "metric"])["value"]
    test = predictions[(predictions["role"] == "test") & (predictions["model"] == "usfmae")]
    for model, curve in table[table["role"] == "test"].groupby("model"):
        assert curve["class"].unique().tolist() == ["malignant"] and len(curve) == len(RECALL_GRID)
        assert (curve["lower"] <= curve["precision"] + 1e-9).all()
        assert (curve["precision"] <= curve["upper"] + 1e-9).all()
        assert (curve["upper"] > curve["lower"]).any()
        assert curve["average_precision"].iloc[0] == pytest.approx(
            summary[model, "pooled", "average_precision"]
        )
        assert curve["prevalence"].iloc[0] == pytest.approx((test["label"] == "malignant").mean())
