"""Intervals over subjects: what is resampled, and how often an interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint
from test_comparison import CLASSES, predictions_of, tables_of

from benchmarks.interval_coverage import coverage
from usfmae.evaluation.intervals import cluster_bootstrap, percentile_interval, proportion_interval
from usfmae.evaluation.metrics import weighted_metrics


def test_bootstrap_weights_are_whole_subjects_and_the_same_for_each_model() -> None:
    subjects = np.array(["s", "s", "t", "u", "u", "u"])
    first, second = (cluster_bootstrap(lambda w: w, subjects, resamples=300, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first[:, 0] == first[:, 1]).all() and (first[:, 3] == first[:, 5]).all()
    assert (first[:, 0] + first[:, 2] + first[:, 3] == 3).all(), "as many subjects as there are"
    assert first.mean(axis=0) == pytest.approx(np.ones(6), abs=0.15)


def test_percentile_intervals_leave_out_resamples_that_lack_a_class() -> None:
    draws = np.column_stack([np.linspace(0, 1, 1001), np.linspace(1, 2, 1001)])
    lower, upper = percentile_interval(np.vstack([draws, np.full((50, 2), np.nan)]))
    np.testing.assert_allclose([lower, upper], [[0.025, 1.025], [0.975, 1.975]])
    assert np.isnan(percentile_interval(np.full((5, 1), np.nan))[0]).all()
    one_class = weighted_metrics(
        np.array([0, 1]), np.eye(2), np.array([0, 1]), np.array([[2.0, 0.0]]), ["a", "b"]
    )
    assert all(np.isnan(value[0]) for value in one_class.values())


def test_bootstrap_intervals_cover_the_true_accuracy() -> None:
    """Simulated: 40 subjects with 5 frames each, right or wrong together; the true accuracy is 0.7."""
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(40), 5)
    covered, naive = 0, 0
    for trial in range(300):
        right = rng.random(200) < np.repeat(rng.beta(1.4, 0.6, 40), 5)
        for clusters in (subjects, np.arange(200)):
            draws = cluster_bootstrap(lambda w: w @ right[:, None] / 200, clusters, resamples=300, seed=trial)  # noqa: B023
            (lower,), (upper,) = percentile_interval(draws)
            if clusters is subjects:
                covered += lower <= 0.7 <= upper
            else:
                naive += lower <= 0.7 <= upper
    assert 0.90 <= covered / 300 <= 0.98
    assert naive / 300 < 0.85, "resampling frames instead of subjects would be too sure"


def test_the_interval_of_a_share_is_wilsons_with_as_many_frames_as_the_resamples_vary_like() -> None:
    draws = stats.norm.ppf(np.linspace(0.001, 0.999, 999), 0.8)
    draws = 0.8 + (draws - 0.8) * 0.05 / draws.std(ddof=1)
    # A share of 0.8 whose standard error is 0.05 is one of 64 independent frames (0.8 * 0.2 / 0.05**2).
    lower, upper = proportion_interval(0.8, draws, frames=500, subjects=1_000_000)
    assert (lower, upper) == pytest.approx(proportion_confint(51.2, 64, method="wilson"), abs=1e-5)
    # Never more independent frames than there are.
    few = proportion_interval(0.8, draws, frames=20, subjects=1_000_000)
    assert few == pytest.approx(proportion_confint(16, 20, method="wilson"), abs=1e-5), (
        "never more independent frames than frames"
    )
    fewer_subjects = proportion_interval(0.8, draws, frames=500, subjects=5)
    assert fewer_subjects[1] - fewer_subjects[0] > upper - lower, "Student's t of the subjects"


def test_thirty_right_answers_of_thirty_are_not_certain() -> None:
    reach = stats.t.ppf(0.975, 29) ** 2
    assert proportion_interval(1.0, np.ones(200), 90, 30) == pytest.approx((30 / (30 + reach), 1.0))
    assert proportion_interval(0.0, np.zeros(200), 90, 30) == pytest.approx((0.0, reach / (30 + reach)))
    assert np.isnan(proportion_interval(1.0, np.ones(200), 9, 1)).all(), "one subject tells nothing of others"
    assert np.isnan(proportion_interval(np.nan, np.full(200, np.nan), 0, 0)).all(), "no frame of the class"


@pytest.mark.parametrize("study", [(33, 1, 0.95, 0.0), (33, 2, 0.95, 0.3), (33, 2, 0.8, 0.7)])
def test_the_interval_of_a_share_holds_the_truth_where_percentiles_are_too_short(
    study: tuple[float, ...],
) -> None:
    """Simulated: subjects, mean frames a subject, true share, correlation of a subject's frames."""
    held = {name: share for name, (share, _) in coverage(300, *study).items()}
    assert 0.91 <= held["Wilson's, effective n"] <= 1
    assert held["Wilson's, effective n"] >= held["percentiles"]
    if study[2] == 0.95:
        assert held["percentiles"] < 0.9


def test_the_summary_gives_shares_their_own_interval_and_all_else_percentiles() -> None:
    predictions = predictions_of({"usfmae": 1.0}, CLASSES)
    summary = tables_of(predictions)["summary"].set_index(["estimate", "metric"])
    for metric in ("accuracy", "sensitivity", "specificity", "recall"):
        assert summary.at[("pooled", metric), "interval"].startswith("95 %, Wilson's by the spread of ")
    for metric in ("auc", "balanced_accuracy", "brier", "precision"):
        assert "percentiles" in summary.at[("pooled", metric), "interval"]
    held_out = predictions["role"] == "holdout"
    sure = predictions["label"].eq("malignant").astype(float)
    predictions.loc[held_out, "probability_malignant"] = sure[held_out]
    predictions.loc[held_out, "probability_benign"] = 1 - sure[held_out]
    right = tables_of(predictions)["summary"].set_index(["estimate", "metric"]).loc["averaged probability"]
    assert right.at["accuracy", "value"] == right.at["accuracy", "upper"] == 1
    sick, all_subjects = (right.at[metric, "lower"] for metric in ("sensitivity", "accuracy"))
    assert 0.2 < sick < all_subjects < 1, "there are fewer sick subjects"
    assert right.at["auc", "interval"] == "none: the resamples have no spread"
