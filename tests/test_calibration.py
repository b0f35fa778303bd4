"""Temperature scaling: finds what is true, looks at validation rows alone, is reported before and after."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from test_comparison import CLASSES, predictions_of, tables_of

from usfmae.evaluation.calibration import (
    CALIBRATION_COLUMNS,
    RELIABILITY_COLUMNS,
    calibrated,
    fit_temperature,
    with_temperature,
)
from usfmae.evaluation.estimates import with_decisions
from usfmae.evaluation.tables import DECISION_COLUMNS, decisions


def drawn(sharpness: float, n: int = 4000, n_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities `(n, C)` with logits `sharpness` times those that labels `(n,)` were drawn from."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=1.5, size=(n, n_classes))
    codes = np.array([rng.choice(n_classes, p=row) for row in softmax(logits, axis=1)])
    return softmax(sharpness * logits, axis=1), codes


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_made_a_model_too_sure_or_too_shy(sharpness: float) -> None:
    probabilities, codes = drawn(sharpness)
    temperature = fit_temperature(probabilities, codes)
    assert temperature == pytest.approx(sharpness, rel=0.06)
    losses = [
        -np.log(calibrated(probabilities, t)[np.arange(len(codes)), codes]).mean()
        for t in (temperature, 0.97 * temperature, 1.03 * temperature)
    ]
    assert losses[0] == min(losses), "no temperature beside it has a lower log loss"


def test_a_temperature_keeps_the_order_and_one_changes_nothing() -> None:
    probabilities, _ = drawn(2.0, n=200)
    np.testing.assert_allclose(calibrated(probabilities, 1.0), probabilities, atol=1e-12)
    softer = calibrated(probabilities, 2.5)
    np.testing.assert_allclose(softer.sum(axis=1), 1)
    assert (softer.argsort(axis=1) == probabilities.argsort(axis=1)).all()
    assert (softer.max(axis=1) < probabilities.max(axis=1)).all()
    assert np.isfinite(calibrated([[0.0, 1.0]], 0.25)).all(), "a probability of 0 has no logarithm"


def test_a_separable_validation_part_does_not_end_in_certainty() -> None:
    assert 0.25 <= fit_temperature([[0.9, 0.1], [0.2, 0.8]], [0, 1]) < 0.26
    assert 9.9 < fit_temperature([[0.99, 0.01], [0.01, 0.99]], [1, 0]) <= 10
    with pytest.raises(ValueError, match="got 0 rows"):
        fit_temperature(np.empty((0, 2)), [])
    with pytest.raises(ValueError, match="without NaN"):
        fit_temperature([[np.nan, 1.0]], [0])


@pytest.mark.parametrize("classes", [CLASSES, ["normal", "dilated", "cystic"]])
@pytest.mark.parametrize("roles", [["test"], ["holdout"], ["validation"]])
def test_threshold_and_temperature_look_at_validation_rows_alone(
    roles: list[str], classes: list[str]
) -> None:
    predictions = predictions_of({"usfmae": 1.0, "resnet18": 0.5}, classes)
    touched = predictions.copy()
    rows = touched["role"].isin(roles)
    columns = [f"probability_{name}" for name in classes]
    touched.loc[rows, columns] = softmax(
        np.random.default_rng(5).normal(size=(rows.sum(), len(classes))), axis=1
    )
    touched.loc[rows, "label"] = np.random.default_rng(6).permutation(touched.loc[rows, "label"])
    before, after = (
        decisions(with_temperature(with_decisions(table, classes, None), classes))
        for table in (predictions, touched)
    )
    assert list(before.columns) == DECISION_COLUMNS and len(before) == 2 * 4
    if roles == ["validation"]:
        assert (before["temperature"] != after["temperature"]).all()
    else:
        pd.testing.assert_frame_equal(before, after, check_exact=True)
    assert before["threshold"].notna().all() == (len(classes) == 2)


def test_each_run_has_a_temperature_of_its_own() -> None:
    predictions = predictions_of({"usfmae": 1.0}, CLASSES)
    fold = predictions["fold"] == 2
    columns = ["probability_benign", "probability_malignant"]
    sharper = predictions.copy()
    sharper.loc[fold, columns] = calibrated(predictions.loc[fold, columns], 0.5)
    before, after = (
        with_temperature(with_decisions(table, CLASSES, None), CLASSES).groupby("fold")["temperature"].first()
        for table in (predictions, sharper)
    )
    assert after[2] == pytest.approx(2 * before[2], rel=1e-3)
    assert (after.drop(2) == before.drop(2)).all()


def test_calibration_is_reported_before_and_after_and_agrees_with_the_summary() -> None:
    predictions = predictions_of({"usfmae": 0.8}, CLASSES, seeds=(0, 1))
    columns = ["probability_benign", "probability_malignant"]
    predictions[columns] = calibrated(predictions[columns], 0.2)  # far too sure
    tables = tables_of(predictions)
    calibration, reliability = tables["calibration"], tables["reliability"]
    assert list(calibration.columns) == CALIBRATION_COLUMNS
    assert list(reliability.columns) == RELIABILITY_COLUMNS
    keys = ["role", "estimate", "metric"]
    before = calibration[calibration["calibration"] == "before"].set_index(keys)
    after = calibration[calibration["calibration"] == "after"].set_index(keys)
    summary = tables["summary"].set_index(keys).loc[before.index]
    for column in ("value", "lower", "upper", "n_frames", "n_subjects"):
        assert (before[column] == summary[column]).all()
    assert (after["value"] < before["value"]).all(), "both are better after scaling"
    for (role, when), bins in reliability.groupby(["role", "calibration"]):
        share = bins["frames"] / bins["frames"].sum()
        assert bins["frames"].sum() == pytest.approx(summary.xs(role, level="role")["n_frames"].iloc[0])
        assert bins["confidence"].between(bins["bin_lower"], bins["bin_upper"] + 1e-12).all()
        # The mean gap over all rows of one table; the reported error is the mean over tables, so no smaller.
        gap = (share * (bins["accuracy"] - bins["confidence"]).abs()).sum()
        error = {"before": before, "after": after}[str(when)]["value"]
        error = error.xs((role, "expected_calibration_error"), level=("role", "metric")).iloc[0]
        assert gap <= error + 1e-9
