"""The statistics where something is special: subjects, seeds, one fold, models that were not run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_comparison import CLASSES, predictions_of, tables_of

from usfmae.evaluation import metrics
from usfmae.evaluation.comparison.pairs import COMPARISON_COLUMNS
from usfmae.evaluation.comparison.resampled import bayesian_t, corrected_interval, corrected_t
from usfmae.evaluation.comparison.result import not_compared
from usfmae.evaluation.comparison.subjects import bootstrap_difference
from usfmae.evaluation.comparison.validity import not_simulated, objection_over_folds
from usfmae.evaluation.predictions import NOT_RUN, files_as_subjects
from usfmae.evaluation.summaries import SUMMARY_COLUMNS
from usfmae.evaluation.tables import of_subjects

COLUMNS = ["probability_benign", "probability_malignant"]


def one_fold() -> pd.DataFrame:
    """An official training, validation and test part: one fold alone."""
    predictions = predictions_of({"usfmae": 2.0, "resnet18": 0.5}, CLASSES, holdout=0)
    return predictions[predictions["fold"] == 0]


def test_a_subjects_result_is_the_mean_of_its_frames() -> None:
    predictions = predictions_of({"usfmae": 1.0}, CLASSES)
    tables = tables_of(predictions)
    subjects = tables["summary_subjects"]
    assert list(subjects.columns) == SUMMARY_COLUMNS
    found = subjects.set_index(["estimate", "metric"]).loc[("pooled", "auc")]
    test = predictions[predictions["role"] == "test"].groupby(["subject", "label"])[COLUMNS].mean()
    expected = metrics.compute(test.index.get_level_values("label"), test, CLASSES)["brier"]
    assert subjects.set_index(["estimate", "metric"]).at[("pooled", "brier"), "value"] == pytest.approx(
        expected
    )
    assert (found["n_frames"], found["n_subjects"]) == (96, 32)
    assert found["value"] > tables["summary"].set_index(["estimate", "metric"]).at[("pooled", "auc"), "value"]


def test_a_subjects_threshold_comes_from_the_validation_subjects() -> None:
    predictions = predictions_of({"usfmae": 1.0}, CLASSES)
    found = tables_of(predictions)["summary_subjects"].set_index(["estimate", "metric"])["value"]
    right = []
    for _, run in predictions.groupby("fold"):
        subjects = run.groupby(["role", "subject", "label"], as_index=False)[COLUMNS].mean()
        known = subjects[subjects["role"] == "validation"]
        threshold = metrics.youden_threshold(known["label"] == "malignant", known["probability_malignant"])
        sick = subjects[(subjects["role"] == "test") & (subjects["label"] == "malignant")]
        right += list(sick["probability_malignant"] >= threshold)
    assert found["pooled", "sensitivity"] == pytest.approx(np.mean(right))


def test_a_subject_with_two_labels_counts_once_for_each() -> None:
    rows = {"frame_id": ["1", "2", "3"], "subject": ["s", "s", "s"], "label": ["a", "a", "b"], "role": "test"}
    found = of_subjects(pd.DataFrame({**rows, "probability_a": [0.2, 0.4, 0.1]}))
    assert found["label"].tolist() == ["a", "b"] and found["frame_id"].is_unique
    assert found["probability_a"].tolist() == pytest.approx([0.3, 0.1])


def test_every_test_says_that_seeds_are_repeats() -> None:
    models = {"usfmae": 2.0, "resnet18": 0.5}
    several = tables_of(predictions_of(models, CLASSES, seeds=(0, 1, 2)))
    assert several["comparisons"]["note"].str.contains("The 3 seeds are repeats on the same folds").all()
    assert (several["comparisons"]["n_seeds"] == 3).all() and (several["summary"]["n_seeds"] == 3).all()
    over_folds = several["comparisons"]["test"].isin(["Wilcoxon signed-rank", "corrected resampled t"])
    assert (several["comparisons"].loc[over_folds, "n_pairs"] == 4).all()
    assert not tables_of(predictions_of(models, CLASSES))["comparisons"]["note"].str.contains("seeds").any()


def test_one_fold_gives_a_result_and_says_why_there_is_no_test_over_folds() -> None:
    tables = tables_of(one_fold())
    comparisons = tables["comparisons"].set_index("test")
    assert list(comparisons.index[:2]) == ["over folds", "subject-cluster bootstrap, pooled"]
    assert not comparisons.index.str.contains("Wilcoxon| t$").any()
    untested = comparisons.loc["over folds"]
    assert np.isnan(untested["p"]) and "One fold alone" in untested["note"] and untested["n_pairs"] == 1
    values = tables["summary"].set_index(["model", "estimate", "metric"])
    assert untested["difference"] == pytest.approx(
        values.at[("usfmae", "mean of folds", "auc"), "value"]
        - values.at[("resnet18", "mean of folds", "auc"), "value"]
    )
    row = values.loc[("usfmae", "mean of folds", "auc")]
    assert np.isnan(row["lower"]) and row["interval"] == "none: one fold has no spread between folds"
    assert comparisons.loc["subject-cluster bootstrap, pooled", "p"] < 1


def test_a_missing_reference_leaves_a_reason_for_each_model() -> None:
    tables = tables_of(predictions_of({"resnet18": 0.5, "vit": 0.5}, CLASSES, holdout=0))
    comparisons = tables["comparisons"].query("family == 'reference'")
    assert comparisons["model_b"].tolist() == ["resnet18", "vit"] and comparisons["p"].isna().all()
    assert (comparisons["note"] == f"The reference usfmae was {NOT_RUN}.").all()
    assert list(comparisons.columns) == COMPARISON_COLUMNS and set(comparisons["valid"]) == {"not made"}
    others = tables["comparisons"].query("family == 'other pairs'")
    assert set(others["model_a"]) == {"resnet18"} and others["p"].notna().any()
    assert set(tables["summary"]["role"]) == {"test"}


def test_a_model_that_was_not_run_is_named_in_the_tables_and_changes_no_other_row() -> None:
    predictions = predictions_of({"usfmae": 2.0, "resnet18": 0.5}, CLASSES)
    without, tables = tables_of(predictions), tables_of(predictions, models=["usfmae", "sam", "resnet18"])
    for name in ("summary", "comparisons"):
        known = tables[name][: len(without[name])]
        pd.testing.assert_frame_equal(known, without[name], check_dtype=False)
    (row,) = tables["summary"][len(without["summary"]) :].to_dict("records")
    assert row["model"] == "sam" and row["interval"] == NOT_RUN and np.isnan(row["value"])
    (row,) = tables["comparisons"][len(without["comparisons"]) :].to_dict("records")
    assert row["model_b"] == "sam" and row["note"] == f"The model sam was {NOT_RUN}."
    whole = tables_of(predictions, models=["resnet18", "usfmae"])
    pd.testing.assert_frame_equal(whole["summary"], without["summary"])


def test_subjects_are_compared_by_the_same_tests_and_there_plain_ones_may_be_valid() -> None:
    tables = tables_of(predictions_of({"usfmae": 2.0, "resnet18": 0.5}, CLASSES))
    frames, subjects = (tables[name].set_index("test") for name in ("comparisons", "comparisons_subjects"))
    assert list(frames.index) == list(subjects.index) and list(frames.columns) == list(subjects.columns)
    name = "McNemar, exact, frames as independent, pooled"
    assert (frames.at[name, "n_pairs"], subjects.at[name, "n_pairs"]) == (96, 32)
    assert (subjects.at[name, "valid"], frames.at[name, "valid"]) == ("yes", "no")
    assert frames.at[name, "note"].startswith("Not valid: 96 frames of 32 subjects")
    small = "subject-cluster bootstrap, pooled"  # 16 subjects of either class
    assert frames.at[small, "valid"] == "no"
    assert "16 subjects with the rarest class" in frames.at[small, "note"]
    over_folds = frames.loc[["Wilcoxon signed-rank", "corrected resampled t", "Bayesian correlated t"]]
    assert set(over_folds["valid"]) == {"yes"} and (over_folds["n_pairs"] == 4).all()
    assert frames.at["Wilcoxon signed-rank, folds x metrics", "valid"] == "no"


def test_a_metric_or_a_number_of_classes_that_was_not_simulated_is_called_so() -> None:
    comparisons = tables_of(predictions_of({"usfmae": 2.0, "resnet18": 0.5}, CLASSES))["comparisons"]
    each = comparisons[comparisons["test"] == "subject-cluster bootstrap of each metric, pooled"]
    f1 = each.set_index("metric").loc["f1_macro"]
    assert f1["valid"] in ("no", "not simulated") and np.isfinite(f1["lower"])
    assert not_simulated("f1_macro", 2).endswith("were simulated, not of f1_macro.")
    assert not_simulated("auc", 8).startswith("8 classes") and not_simulated("auc", 2) == ""
    assert not_simulated("auc", 2, models_a_frame=5).startswith("5 models judge each frame")


def test_a_method_whose_fold_models_differ_in_scale_is_not_worse_for_it() -> None:
    """Ranked together, its frames would have a smaller area than in any fold."""
    predictions = predictions_of({"usfmae": 1.0, "resnet18": 0.9}, CLASSES, per_class=60)
    shifted = predictions.copy()
    theirs = shifted["model"] == "resnet18"
    odds = shifted.loc[theirs, "probability_malignant"] / shifted.loc[theirs, "probability_benign"]
    odds *= np.exp(3.0 * shifted.loc[theirs, "fold"])
    shifted.loc[theirs, "probability_malignant"] = odds / (1 + odds)
    shifted.loc[theirs, "probability_benign"] = 1 / (1 + odds)
    before, after = (tables_of(each) for each in (predictions, shifted))
    keys = ["test", "metric"]
    one, other = (t["comparisons"].query("role == 'test'").set_index(keys) for t in (before, after))
    for test in ("subject-cluster bootstrap", "permutation by subject", "DeLong, clustered by subject"):
        row = f"{test}, pooled", "auc"
        for column in ("difference", "p"):
            assert one.at[row, column] == pytest.approx(other.at[row, column]), test
        assert one.at[row, "valid"] == other.at[row, "valid"]
    assert one.at[("subject-cluster bootstrap, pooled", "auc"), "valid"] == "yes"
    for table, area in (("roc", "auc"), ("pr", "average_precision")):
        drawn = [t[table].query("model == 'resnet18' and role == 'test'") for t in (before, after)]
        for column in (area, "lower", "upper"):
            np.testing.assert_allclose(drawn[0][column], drawn[1][column])
    together = shifted[theirs & (shifted["role"] == "test")]
    naive = metrics.compute(together["label"], together[COLUMNS], CLASSES)["auc"]
    within = after["summary"].query("model == 'resnet18' and estimate == 'pooled'").set_index("metric")
    assert naive < within.at["auc", "value"] - 0.05


def test_ranks_within_small_folds_are_not_swapped() -> None:
    """Simulated with 10 subjects a fold, such a permutation rejects too often (docs/statistics.md)."""
    small = tables_of(predictions_of({"usfmae": 1.0, "resnet18": 0.9}, CLASSES, per_class=60))
    row = small["comparisons"].query("role == 'test'").set_index("test").loc["permutation by subject, pooled"]
    assert row["valid"] == "no" and "24 subjects in a fold; it holds with 40 and more" in row["note"]


def test_without_patients_no_number_of_subjects_is_told_and_no_test_is_called_valid() -> None:
    predictions = predictions_of({"usfmae": 1.0, "resnet18": 0.9}, CLASSES, per_class=60)
    first = predictions["frame_id"].str.endswith("/0.png#0")
    alone = predictions[first].assign(subject=lambda t: t["frame_id"].str.removesuffix("#0"))
    assert files_as_subjects(predictions) == 0 and files_as_subjects(alone) == 120
    tables = tables_of(alone)
    for name in ("comparisons", "comparisons_subjects"):
        assert set(tables[name]["valid"]) <= {"not simulated", "no", "not made"}
    notes = tables["comparisons"].set_index("test").at["corrected resampled t", "note"]
    assert "Not simulated: patients are not told; 120 files count as subjects." in notes
    for name in ("summary", "summary_subjects", "calibration"):
        assert tables[name]["n_subjects"].isna().all()
    assert tables["summary"]["interval"].str.contains("of the files, patients unknown").any()
    assert tables_of(predictions)["summary"]["n_subjects"].notna().all()


def test_subjects_that_the_audit_tied_are_drawn_and_swapped_as_one() -> None:
    predictions = predictions_of({"usfmae": 2.0, "resnet18": 0.5}, CLASSES)
    number = predictions["subject"].str.rpartition("-")[2].astype(int)
    tied = predictions.assign(group=predictions["label"] + "-" + (number // 2).astype(str))
    apart, together = (tables_of(each) for each in (predictions, tied))
    name = "permutation by subject, pooled"
    pairs = [t["comparisons"].set_index("test").at[name, "n_pairs"] for t in (apart, together)]
    assert pairs[0] == 32 and pairs[1] < pairs[0]
    wide = [t["summary"].query("metric == 'auc' and estimate == 'pooled'") for t in (apart, together)]
    assert (wide[0]["lower"].to_numpy() != wide[1]["lower"].to_numpy()).all()
    assert (wide[0]["n_subjects"].to_numpy() == wide[1]["n_subjects"].to_numpy()).all()


def test_folds_that_are_all_alike_give_no_interval_and_no_valid_test() -> None:
    found = corrected_t([0.9, 0.9, 0.9], [0.8, 0.8, 0.8], n_train=80, n_test=20)
    assert found.difference == pytest.approx(0.1)
    assert np.isnan([found.p, found.lower, found.upper]).all()
    posterior = bayesian_t([0.9, 0.9, 0.9], [0.8, 0.8, 0.8], n_train=80, n_test=20, rope=0.01)
    assert all(objection_over_folds(test, 3).startswith("without spread") for test in (found, posterior))
    assert np.isnan(corrected_interval([1.0, 1.0, 1.0], 80, 20)[2])


def test_one_subject_or_no_usable_resample_makes_no_bootstrap_and_stops_nothing() -> None:
    assert bootstrap_difference(0.1, np.ones(10), 1).method == "not made"
    assert bootstrap_difference(0.1, np.full(10, np.nan), 30).method == "not made"


def test_folds_times_metrics_and_seeds_are_counted_as_the_papers_may_have_done() -> None:
    models = {"usfmae": 2.0, "resnet18": 0.5}
    tables = tables_of(predictions_of(models, CLASSES, seeds=(0, 1, 2)))
    tests = tables["comparisons"].set_index("test")
    metrics_row = tests.loc["Wilcoxon signed-rank, folds x metrics"]
    assert metrics_row["n_pairs"] == 16 and metrics_row["metric"] == "accuracy, sensitivity, specificity, auc"
    seeds_row = tests.loc["Wilcoxon signed-rank, folds x seeds"]
    assert seeds_row["n_pairs"] == 12 and seeds_row["smallest_p_exact"] == 2 / 2**12
    values = tables["fold_metrics"].query("role == 'test' and metric == 'auc'")
    values = values.pivot(index=["fold", "seed"], columns="model", values="value")
    assert seeds_row["difference"] == pytest.approx((values["usfmae"] - values["resnet18"]).mean())
    one = tables_of(predictions_of(models, CLASSES))["comparisons"].set_index("test")
    assert one.at["Wilcoxon signed-rank, folds x seeds", "method"] == "not made"


def test_the_region_of_practical_equivalence_is_a_setting() -> None:
    predictions = predictions_of({"usfmae": 1.0, "resnet18": 1.0}, CLASSES)
    narrow, wide = (
        tables_of(predictions, rope=rope)["comparisons"].set_index("test").loc["Bayesian correlated t"]
        for rope in (0.01, 0.9)
    )
    assert wide["rope"] > 0.99 > narrow["rope"] and "±0.01" in narrow["method"]
    assert narrow[["left", "rope", "right"]].sum() == pytest.approx(1)


def test_what_cannot_be_tested_has_no_p() -> None:
    found = not_compared("none", "reason")
    assert np.isnan(found.p) and np.isnan(found.difference) and (found.n_pairs, found.note) == (0, "reason")
