"""Tests of two models against tables, formulas and simulation; and the statistics tables of a task."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from usfmae.evaluation import metrics
from usfmae.evaluation.comparison.pairs import COMPARISON_COLUMNS
from usfmae.evaluation.comparison.resampled import corrected_t
from usfmae.evaluation.comparison.result import holm
from usfmae.evaluation.comparison.signed_rank import smallest_p, wilcoxon
from usfmae.evaluation.comparison.subjects import bootstrap_difference
from usfmae.evaluation.intervals import cluster_bootstrap
from usfmae.evaluation.splits import grouped_folds
from usfmae.evaluation.summaries import SUMMARY_COLUMNS
from usfmae.evaluation.tables import statistics_tables


def signed_rank_p(differences: np.ndarray) -> float:
    """Two-sided p from all sign flips of the non-zero differences, by brute force."""
    nonzero = differences[differences != 0]
    ranks = stats.rankdata(np.abs(nonzero))
    sums = np.array([ranks @ np.array(flip) for flip in itertools.product([0, 1], repeat=len(nonzero))])
    observed = ranks[nonzero > 0].sum()
    return min(1.0, 2 * min((sums <= observed).mean(), (sums >= observed).mean()))


@pytest.mark.parametrize("n", range(5, 11))
def test_wilcoxon_equals_scipys_exact_table(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.02, 0.03, n)
    found = wilcoxon(0.8 + differences, np.full(n, 0.8))
    statistic, p = stats.wilcoxon(differences, method="exact")
    assert found.method == "exact" and found.n_pairs == n and found.zero_differences == 0
    assert (found.statistic, found.p) == pytest.approx((statistic, p))
    assert found.p == pytest.approx(signed_rank_p(differences))
    extreme = wilcoxon(np.arange(1, n + 1) / 100, np.zeros(n))
    assert extreme.p == pytest.approx(extreme.smallest_p) == pytest.approx(smallest_p(n)) == 2 / 2**n


@pytest.mark.parametrize(
    "values", [[1, 1, 2, 3, -1, 4], [0, 1, 2, 3, 4, 5], [0, 0, -1, 1, 2, 2, 3, 3], [1, 1, 1, 1]]
)
def test_wilcoxon_stays_exact_with_ties_and_zeros(values: list[float]) -> None:
    differences = np.array(values) / 100
    found = wilcoxon(0.5 + differences, np.full(len(values), 0.5))
    assert found.p == pytest.approx(signed_rank_p(np.array(values)))
    assert found.zero_differences == values.count(0)
    assert found.smallest_p == 2 / 2 ** (len(values) - values.count(0))
    assert "sign flips" in found.method


def test_wilcoxon_names_the_normal_approximation_where_it_stands_in() -> None:
    differences = np.repeat([0.01, 0.02, -0.01], 7)
    found = wilcoxon(differences, np.zeros(21))
    assert found.method == "normal approximation"
    assert found.p == pytest.approx(stats.wilcoxon(np.repeat([1, 2, -1], 7), method="asymptotic").pvalue)


def test_a_p_that_cannot_reach_significance_is_said_in_words() -> None:
    five = wilcoxon(np.arange(1, 6) / 10, np.zeros(5))
    assert five.p == five.smallest_p == 0.0625
    assert "With 5 non-zero pairs p cannot fall below 0.0625, so never below 0.05" in five.note
    assert "cannot" not in wilcoxon(np.arange(1, 7) / 10, np.zeros(6)).note
    same = wilcoxon(np.ones(4), np.ones(4))
    assert (same.p, same.smallest_p, same.zero_differences) == (1.0, 1.0, 4)


def test_the_corrected_t_follows_the_formula_of_its_paper() -> None:
    a, b = np.array([0.81, 0.85, 0.79, 0.88, 0.84]), np.array([0.80, 0.80, 0.78, 0.82, 0.85])
    found = corrected_t(a, b, n_train=320, n_test=80)
    d = a - b
    error = np.sqrt((1 / 5 + 80 / 320) * d.var(ddof=1))
    assert found.statistic == pytest.approx(d.mean() / error)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(d.mean() / error), 4))
    assert (found.lower, found.upper) == pytest.approx(tuple(stats.t.interval(0.95, 4, d.mean(), error)))
    # With no test frames the correction vanishes and the ordinary paired t test is left.
    assert corrected_t(a, b, n_train=320, n_test=0).p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    # One five-fold run: the error grows 1.5 times.
    ratio = stats.ttest_rel(a, b).statistic / found.statistic
    assert ratio == pytest.approx(1.5)


def test_differences_without_spread_give_no_p() -> None:
    assert corrected_t([0.5, 0.5], [0.5, 0.5], n_train=2, n_test=1).p == 1.0
    without = corrected_t([0.6, 0.7], [0.5, 0.6], n_train=2, n_test=1)
    assert np.isnan(without.p) and "no spread" in without.note
    assert np.isnan(corrected_t([0.4, 0.5, 0.6], [0.3, 0.4, 0.5], n_train=2, n_test=1).p), "but for rounding"


def test_pairs_must_match_and_be_numbers() -> None:
    with pytest.raises(ValueError, match="one value a fold of each model"):
        wilcoxon([0.1, 0.2], [0.1])
    with pytest.raises(ValueError, match="not a number"):
        corrected_t([0.1, np.nan], [0.1, 0.2], n_train=2, n_test=1)


def test_holm_counts_only_the_tests_that_were_made() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, np.nan, 0.03]), [0.03, 0.06, np.nan, 0.06])
    assert np.isnan(holm([np.nan])).all()


def test_the_bootstrap_test_rejects_five_percent_under_its_null() -> None:
    """Simulated: two fixed models of equal accuracy on 60 new subjects with 4 frames each."""
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(60), 4)
    rejected = 0
    for trial in range(400):
        hardness = np.repeat(rng.normal(size=60), 4)
        a, b = (hardness + rng.normal(size=240) + np.repeat(rng.normal(size=60), 4) > -0.8 for _ in range(2))
        gain = (a.astype(float) - b)[:, None]
        draws = cluster_bootstrap(lambda w: w @ gain / 240, subjects, resamples=400, seed=trial)[:, 0]  # noqa: B023
        rejected += bootstrap_difference(float(gain.mean()), draws, 60).p < 0.05
    assert 0.02 <= rejected / 400 <= 0.08


def test_the_bootstrap_interval_of_a_normal_mean_is_that_of_students_t() -> None:
    values = np.random.default_rng(0).normal(0.5, 1, 12)
    spread = values.std() / 12**0.5  # what resampling sees: not divided by n - 1
    found = bootstrap_difference(
        values.mean(), stats.norm.ppf(np.arange(0.5, 40_000) / 40_000, values.mean(), spread), 12
    )
    expected = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert (found.lower, found.upper) == pytest.approx(expected, abs=0.005)
    assert found.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=0.01)


CLASSES = ["benign", "malignant"]


def predictions_of(
    models: dict[str, float],
    classes: list[str],
    seeds: tuple[int, ...] = (0,),
    holdout: float = 0.2,
    per_class: int = 20,
) -> pd.DataFrame:
    """Simulated rows of all runs: each model's skill is the shift of the true class's logit."""
    rng = np.random.default_rng(0)
    rows = [
        (f"{c}-{s}/{i}.png#0", f"{c}-{s}", f"{c}-{s}", c)
        for c in classes
        for s in range(per_class)
        for i in range(3)
    ]
    frames = pd.DataFrame(rows, columns=["frame_id", "subject", "group", "label"])
    table = grouped_folds(frames, folds=4, validation_fraction=0.25, holdout_fraction=holdout, seed=0)
    table = table[table["role"] != "train"]
    truth = np.eye(len(classes))[pd.Index(classes).get_indexer(table["label"])]
    runs = []
    for (model, skill), seed in itertools.product(models.items(), seeds):
        logits = rng.normal(size=truth.shape) + skill * truth
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        columns = pd.DataFrame(probabilities, table.index, [f"probability_{name}" for name in classes])
        runs.append(pd.concat([table.assign(model=model, seed=seed), columns], axis=1))
    return pd.concat(runs, ignore_index=True)


def tables_of(
    predictions: pd.DataFrame, classes: list[str] = CLASSES, **changed: Any
) -> dict[str, pd.DataFrame]:
    wanted: dict[str, Any] = {
        "positive": None,
        "primary": "auc",
        "resamples": 200,
        "seed": 0,
        "reference": "usfmae",
    }
    return statistics_tables(predictions, classes=classes, **{**wanted, **changed})


@pytest.mark.parametrize("classes", [CLASSES, ["normal", "dilated", "cystic"]])
def test_the_tables_have_the_columns_of_the_contract(classes: list[str]) -> None:
    tables = tables_of(predictions_of({"usfmae": 2.0, "resnet18": 0.5}, classes), classes)
    summary, comparisons = tables["summary"], tables["comparisons"]
    assert list(tables["fold_metrics"].columns) == ["model", "seed", "fold", "role", "metric", "value"]
    assert list(summary.columns) == SUMMARY_COLUMNS and list(comparisons.columns) == COMPARISON_COLUMNS
    assert set(tables["fold_metrics"]["role"]) == {"test", "holdout"}
    assert set(zip(summary["role"], summary["estimate"], strict=True)) == {
        ("test", "mean of folds"),
        ("test", "pooled"),
        ("holdout", "mean of fold models"),
        ("holdout", "averaged probability"),
    }
    bounded = summary[summary["lower"].notna()]
    assert (bounded["lower"] <= bounded["value"] + 1e-9).mean() > 0.95, "ECE is biased upwards in a resample"
    assert (bounded["lower"] < bounded["upper"]).all(), "what no resample changes has no interval"
    assert set(summary[summary["lower"].isna()]["interval"]) <= {
        "none: the resamples have no spread",
        "none: the folds have no spread",
    }
    curves = tables["roc"].groupby(["model", "role", "class"])
    assert len(curves) == 2 * 2 * (1 if len(classes) == 2 else 3)
    assert (curves.size() == 101).all()
    assert (tables["roc"]["lower"] <= tables["roc"]["upper"]).all()
    n_frames = summary.groupby("role")["n_frames"].first()
    assert (tables["confusion"].groupby(["model", "role"])["frames"].sum().unstack() == n_frames).all(
        axis=None
    )


def test_pooled_values_equal_the_metrics_of_all_test_rows_ranked_within_their_folds() -> None:
    predictions = predictions_of({"usfmae": 1.0}, CLASSES)
    summary = tables_of(predictions)["summary"].set_index(["role", "estimate", "metric"])["value"]
    test = predictions[predictions["role"] == "test"]
    columns = ["probability_benign", "probability_malignant"]
    of_all = metrics.compute(test["label"], test[columns], CLASSES)
    assert summary["test", "pooled", "brier"] == pytest.approx(of_all["brier"])
    right, pairs, precisions = 0.0, 0, 0.0
    for _, fold in test.groupby("fold"):
        found = metrics.compute(fold["label"], fold[columns], CLASSES)
        sick = (fold["label"] == "malignant").sum()
        right, pairs = (
            right + found["auc"] * sick * (len(fold) - sick),
            pairs + sick * (len(fold) - sick),
        )
        precisions += found["average_precision"] * sick
    assert summary["test", "pooled", "auc"] == pytest.approx(right / pairs)
    sick = (test["label"] == "malignant").sum()
    assert summary["test", "pooled", "average_precision"] == pytest.approx(precisions / sick)
    assert abs(right / pairs - of_all["auc"]) > 0.001, "not the same as ranking all frames together"
    holdout = predictions[predictions["role"] == "holdout"]
    averaged = holdout.groupby(["frame_id", "label"])[columns].mean().reset_index()
    expected = metrics.compute(averaged["label"], averaged[columns], CLASSES)["auc"]
    assert summary["holdout", "averaged probability", "auc"] == pytest.approx(expected)
    single = [
        metrics.compute(run["label"], run[columns], CLASSES)["auc"] for _, run in holdout.groupby("fold")
    ]
    assert summary["holdout", "mean of fold models", "auc"] == pytest.approx(np.mean(single))


def test_the_threshold_comes_from_validation_rows_alone() -> None:
    predictions = predictions_of({"usfmae": 1.0}, CLASSES)
    shifted = predictions.copy()
    validation = shifted["role"] == "validation"
    # Validation scores squeezed below 0.1: the threshold follows them and all test rows are called malignant.
    shifted.loc[validation, "probability_malignant"] *= 0.001
    shifted.loc[validation, "probability_benign"] = 1 - shifted.loc[validation, "probability_malignant"]
    before, after = (
        tables_of(table)["summary"].set_index(["estimate", "metric"])["value"]
        for table in (predictions, shifted)
    )
    assert after["pooled", "sensitivity"] == 1.0 and after["pooled", "specificity"] < 0.1
    assert 0.3 < before["pooled", "specificity"] < 1
    assert after["pooled", "auc"] == before["pooled", "auc"]


def test_every_model_is_compared_with_the_reference_and_all_other_pairs_in_a_family_of_their_own() -> None:
    predictions = predictions_of({"usfmae": 2.5, "resnet18": 0.2, "densenet169": 1.5}, CLASSES)
    tables = tables_of(predictions)
    everything = tables["comparisons"]
    pairs = everything[["family", "model_a", "model_b"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [
        ["reference", "usfmae", "densenet169"],
        ["reference", "usfmae", "resnet18"],
        ["other pairs", "densenet169", "resnet18"],
    ]
    assert len(set(everything.groupby(["model_a", "model_b"]).size())) == 1
    # A family of one pair is left as it is; that of two models is corrected.
    other = everything[(everything["family"] == "other pairs") & everything["p"].notna()]
    assert (other["p_holm"] == other["p"]).all()
    comparisons = everything[everything["family"] == "reference"]
    bootstrap = comparisons[comparisons["test"] == "corrected resampled t"]
    assert sorted(bootstrap["p_holm"] / bootstrap["p"])[1] == 2
    assert (
        not comparisons[comparisons["role"] == "holdout"]["test"].str.contains("Wilcoxon|resampled t").any()
    )
    one = comparisons[comparisons["model_b"] == "resnet18"].set_index("test")
    wilcoxon = one.loc["Wilcoxon signed-rank"]
    assert wilcoxon["n_pairs"] == 4 and wilcoxon["p"] == wilcoxon["smallest_p"] == 0.125
    assert "cannot fall below 0.125" in wilcoxon["note"]
    assert (comparisons["p_holm"] >= comparisons["p"])[comparisons["p"].notna()].all()
    pooled = one.loc["subject-cluster bootstrap, pooled"]
    values = tables["summary"].set_index(["model", "estimate", "metric"])["value"]
    assert pooled["difference"] == pytest.approx(
        values["usfmae", "pooled", "auc"] - values["resnet18", "pooled", "auc"]
    )
    assert pooled["lower"] < pooled["difference"] < pooled["upper"]
    z = stats.norm.isf(1 / 201) * np.sqrt(31 / 32)  # of 32 subjects; 2 / 201 by percentiles alone
    assert pooled["p"] == pooled["smallest_p"] == pytest.approx(2 * stats.t.sf(z, 31))
    assert comparisons["method"].str.len().min() > 0
    # n_train of the corrected t: what a fold neither tests nor validates on.
    sizes = predictions[predictions["model"] == "usfmae"].groupby(["fold", "role"]).size().unstack()
    n_train = (sizes["test"].sum() - sizes["test"] - sizes["validation"]).mean()
    assert f"{sizes['test'].mean() / n_train:.3f}" in one.loc["corrected resampled t", "method"]


def test_seeds_are_averaged_before_folds_are_compared() -> None:
    tables = tables_of(predictions_of({"usfmae": 2.0, "resnet18": 0.5}, CLASSES, seeds=(0, 1, 2)))
    wilcoxon = tables["comparisons"].set_index("test").loc["Wilcoxon signed-rank"]
    assert wilcoxon["n_pairs"] == 4, "three seeds of four folds are not twelve folds"
    summary = tables["summary"].set_index(["model", "estimate", "metric"])
    folds = tables["fold_metrics"].query("model == 'usfmae' and role == 'test' and metric == 'auc'")
    by_fold = folds.groupby("fold")["value"].mean()
    row = summary.loc[("usfmae", "mean of folds", "auc")]
    assert (row["value"], row["sd"], row["n_folds"]) == pytest.approx(
        (by_fold.mean(), by_fold.std(ddof=1), 4)
    )
    assert row["n_frames"] == summary.loc[("usfmae", "pooled", "auc"), "n_frames"] == 96
    assert tables["confusion"].query("role == 'test'").groupby("model")["frames"].sum().eq(96).all()


def test_training_on_a_fraction_of_the_subjects_widens_the_corrected_interval() -> None:
    def width(fraction: float) -> float:
        summary = tables_of(predictions_of({"usfmae": 1.0}, CLASSES), fraction=fraction)["summary"]
        row = summary.query("estimate == 'mean of folds' and metric == 'accuracy'").iloc[0]
        return float(row["value"] - row["lower"])  # above, 1 cuts it

    # 4 folds of 24 frames; of the 72 others a quarter validate. Variance: (1/4 + n_test / n_train) s².
    factor = {fraction: (1 / 4 + 24 / (fraction * 54)) ** 0.5 for fraction in (1.0, 0.25)}
    assert width(0.25) / width(1.0) == pytest.approx(factor[0.25] / factor[1.0], rel=0.02)


def test_runs_that_do_not_match_are_refused_by_name() -> None:
    predictions = predictions_of({"usfmae": 2.0, "resnet18": 0.5}, CLASSES)
    torn = predictions[(predictions["model"] != "resnet18") | (predictions["fold"] != 3)]
    with pytest.raises(
        ValueError, match=r"model usfmae, seed 0 and model resnet18, seed 0 differ in \d+ rows"
    ):
        tables_of(torn)
    with pytest.raises(ValueError, match="occurs twice"):
        tables_of(pd.concat([predictions, predictions[:1]]))
    with pytest.raises(
        ValueError, match="primary metric 'auroc' is not computed for this task; choose one of: accuracy"
    ):
        tables_of(predictions, primary="auroc")
    predictions.loc[predictions["role"] == "validation", "label"] = "benign"
    with pytest.raises(
        ValueError, match="model resnet18, seed 0, fold 0, validation: no frame of class malignant"
    ):
        tables_of(predictions)
