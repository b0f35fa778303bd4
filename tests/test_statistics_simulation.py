"""The simulated studies: a small run agrees with the column `valid`, and the table in the docs with both."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from benchmarks import bootstrap_speed, statistics_simulation
from benchmarks.simulated_models import NewSubjects, NewTrainingSets, logistic
from benchmarks.statistics_simulation import Count, simulate, wrongly_valid
from usfmae.evaluation.comparison import resampled
from usfmae.evaluation.comparison.delong import area_and_error
from usfmae.evaluation.comparison.resampled import corrected_interval
from usfmae.evaluation.comparison.validity import LIMIT

DOCS = (Path(__file__).resolve().parents[1] / "docs/statistics.md").read_text(encoding="utf-8")
#: Learners that depend much on their training set: there the folds' dependence costs most.
UNSTABLE = NewTrainingSets("test: 5 folds", 40, 5, seeds=2, features=12, ridge=0.05)
CLUSTERED = NewSubjects("test: clustered", 100, 3)


@pytest.fixture(autouse=True)
def _fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics_simulation, "RESAMPLES", 99)


def test_without_its_correction_the_t_test_over_folds_would_not_be_valid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = simulate(UNSTABLE, 100)
    corrected, naive = counts["corrected resampled t"], counts["paired t, uncorrected"]
    assert corrected.valid and corrected.rate <= LIMIT < naive.rate and not naive.valid
    assert counts["Bayesian correlated t"].rate <= corrected.rate
    assert counts["Wilcoxon signed-rank"].rejected == 0, "5 folds cannot give a p below 0.05"
    for more in ("metrics", "seeds"):
        found = counts[f"Wilcoxon signed-rank, folds x {more}"]
        assert found.rate > 0.15 and not found.valid
    assert not wrongly_valid({"": {"corrected": corrected, "naive": naive}})

    def uncorrected(values: Any, n_train: float, n_test: float) -> tuple[float, float, float]:
        return corrected_interval(values, n_train, 0)

    monkeypatch.setattr(resampled, "corrected_interval", uncorrected)
    without = simulate(UNSTABLE, 100)
    assert without["corrected resampled t"].rejected == naive.rejected
    assert any(line.startswith("corrected resampled t") for line in wrongly_valid({"": without}))


def test_frames_of_one_subject_are_no_independent_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = simulate(CLUSTERED, 100)
    for name in ("DeLong, frames as independent (auc)", "McNemar, exact, frames as independent (accuracy)"):
        assert not counts[name].valid and counts[name].rate > LIMIT
    for name, count in counts.items():
        if "independent" not in name:
            assert count.valid and count.interval()[0] <= 0.05
    monkeypatch.setattr(
        "usfmae.evaluation.comparison.delong.area_and_error",
        lambda placed, positive, clusters, together: area_and_error(
            placed, positive, np.arange(len(clusters)), together
        ),
    )
    without = simulate(CLUSTERED, 60)
    assert without["DeLong, clustered by subject (auc)"].rate > 2 * LIMIT


def test_with_one_frame_a_subject_the_plain_tests_are_valid_and_with_few_subjects_not_all_are() -> None:
    alone = simulate(NewSubjects("test: alone", 100, 1), 2)
    assert all(count.valid == 2 for count in alone.values())
    few = simulate(NewSubjects("test: few", 20, 1), 2)
    assert {name for name, count in few.items() if count.valid} == {
        "McNemar, clustered by subject (accuracy)",
        "McNemar, exact, frames as independent (accuracy)",
    }
    assert not any(count.valid for count in simulate(NewSubjects("test: 19", 19, 1), 1).values())


def test_the_refitted_logistic_regression_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    inputs = np.column_stack([np.ones(200), rng.normal(size=(200, 4))])
    labels = (inputs[:, 1] + rng.normal(size=200) > 0).astype(int)
    weights = rng.integers(0, 3, (2, 200)).astype(float)
    for found, weight in zip(logistic(inputs, labels, weights, 0.5), weights, strict=True):
        theirs = LogisticRegression(C=2.0, tol=1e-10).fit(inputs[:, 1:], labels, sample_weight=weight)
        np.testing.assert_allclose(found[1:], theirs.coef_[0], atol=1e-4)
        assert found[0] == pytest.approx(theirs.intercept_[0], abs=1e-4)


def test_the_two_learners_see_features_of_one_distribution_and_the_frames_of_a_subject_in_one_fold() -> None:
    areas = []
    for seed in range(60):
        study = NewTrainingSets("", 60, 5, seeds=1).study(np.random.default_rng(seed))
        areas.append([each.metrics(each.ones)["auc"][0] for each in (study.a, study.b)])
        assert (study.tests.sum(axis=0) == 1).all()
        of_subject = [study.tests[:, study.a.subjects == s].any(axis=1).sum() for s in ("0", "7", "59")]
        assert of_subject == [1, 1, 1]
    a, b = np.mean(areas, axis=0)
    assert a == pytest.approx(b, abs=0.02) and 0.7 < a < 0.95


def cells(line: str) -> list[tuple[float, bool]]:
    """Rate in percent, and whether the workflow calls the test valid, of a row of a table in the docs."""
    return [(float(c[1]), not c[2]) for c in re.finditer(r"\| ([\d.]+) \([\d.]+ to [\d.]+\)( ✗)?", line)]


def test_no_test_that_the_docs_call_valid_rejects_over_the_limit() -> None:
    tables = re.findall(r"No difference, \d+ studies.*?\n\n((?:\|.*\n)+)", DOCS)
    assert len(tables) == 2, "a table for each null"
    rows = {line.split(" | ")[0].strip("| "): cells(line) for table in tables for line in table.splitlines()}
    found = [cell for row in rows.values() for cell in row]
    assert len(found) > 80 and all(rate <= 100 * LIMIT for rate, valid in found if valid)
    assert all(valid for _, valid in rows["corrected resampled t"])
    assert not any(valid for _, valid in rows["Wilcoxon signed-rank, folds x seeds"])
    assert {count for count in map(len, rows.values()) if count} == {
        len(statistics_simulation.SUBJECTS),
        len(statistics_simulation.TRAINING),
    }
    known = set(simulate(CLUSTERED, 1)) | set(simulate(UNSTABLE, 1))
    assert known == {name for name, row in rows.items() if row}


def test_a_count_has_wilsons_interval_and_a_cross_where_it_is_not_valid() -> None:
    count = Count(rejected=5, valid=100, studies=100)
    assert count.cell() == "5.0 (2.2 to 11.2)"
    assert Count(5, 0, 100).cell().endswith(" ✗")
    assert wrongly_valid({"here": {"t": Count(7, 100, 100)}}) == ["t: 7.0 (3.4 to 13.7) on here"]


def test_the_speed_of_the_bootstrap_is_only_shown_where_scikit_learn_agrees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = {"n_models": 1, "frames": 60, "subjects": 20}
    row = bootstrap_speed.compare(3, 20, 3, **sizes)
    assert row[0] == "3 classes, 29 metrics"
    monkeypatch.setattr(bootstrap_speed, "one_by_one", lambda *_: np.zeros((3, 6)))
    with pytest.raises(AssertionError):
        bootstrap_speed.compare(2, 20, 3, **sizes)
