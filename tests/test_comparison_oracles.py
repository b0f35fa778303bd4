"""Tests of two models beside other people's code (statsmodels, baycomp) and beside brute force."""

from __future__ import annotations

import itertools
from pathlib import Path

import baycomp
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from usfmae.evaluation import metrics
from usfmae.evaluation.comparison import resampled, signed_rank, subjects
from usfmae.evaluation.comparison.delong import delong, placement_values
from usfmae.evaluation.comparison.mcnemar import mcnemar_clustered, mcnemar_exact
from usfmae.evaluation.comparison.ranks import rank_models
from usfmae.evaluation.comparison.result import effect_size, holm
from usfmae.evaluation.estimates import Estimate


def estimate(scores: np.ndarray, labels: np.ndarray, owners: np.ndarray) -> Estimate:
    """Two classes; `scores (R, N)` of the second, which is predicted from 0.5 on."""
    return Estimate(
        model="m",
        role="test",
        name="pooled",
        classes=["benign", "malignant"],
        positive=None,
        frame_ids=np.arange(len(labels)).astype(str),
        labels=labels,
        subjects=owners.astype(str),
        probabilities=np.stack([1 - scores, scores], axis=-1),
        predicted=(scores >= 0.5).astype(int),
    )


def two_models(
    n_subjects: int, frames: int, sets: int = 1, seed: int = 0, ties: bool = False
) -> tuple[Estimate, Estimate]:
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(n_subjects), frames)
    labels = rng.permutation(np.arange(n_subjects * frames) % 2)
    shared = rng.normal(size=n_subjects)[owners]

    def scores(skill: float) -> np.ndarray:
        logits = skill * labels + shared + rng.normal(size=(sets, len(labels)))
        values = 1 / (1 + np.exp(-logits))
        return np.round(values, 1) if ties else values

    return estimate(scores(1.5), labels, owners), estimate(scores(0.8), labels, owners)


def auc_of(found: Estimate, weights: np.ndarray | None = None) -> float:
    return float(found.metrics(found.ones if weights is None else weights)["auc"][0])


@pytest.mark.parametrize("ties", [False, True])
def test_placement_values_are_the_share_of_the_other_class_that_a_frame_is_ranked_right_against(
    ties: bool,
) -> None:
    one, _ = two_models(30, 1, ties=ties)
    scores, positive = one.probabilities[0, :, 1], one.labels == 1
    beats = np.sign(scores[:, None] - scores[None]) / 2 + 0.5  # (N, N): 1, 0.5 for a tie, 0
    placed = placement_values(positive, scores)
    np.testing.assert_allclose(placed[positive], beats[positive][:, ~positive].mean(axis=1))
    np.testing.assert_allclose(placed[~positive], beats[positive][:, ~positive].mean(axis=0))
    assert placed[positive].mean() == pytest.approx(auc_of(one)) == pytest.approx(placed[~positive].mean())


@pytest.mark.parametrize("ties", [False, True])
def test_delongs_variance_equals_that_of_brute_force_placement_values(ties: bool) -> None:
    one, other = two_models(40, 1, ties=ties)
    positive = one.labels == 1
    placed = []  # per model: placement values of positives and of negatives, by comparing every pair
    for each in (one, other):
        scores = each.probabilities[0, :, 1]
        beats = [[(x > y) + (x == y) / 2 for y in scores[~positive]] for x in scores[positive]]
        placed.append((np.mean(beats, axis=1), np.mean(beats, axis=0)))
    s10, s01 = np.cov(placed[0][0], placed[1][0]), np.cov(placed[0][1], placed[1][1])
    covariance = s10 / positive.sum() + s01 / (~positive).sum()
    contrast = np.array([1, -1])
    error = np.sqrt(contrast @ covariance @ contrast)
    z = (placed[0][0].mean() - placed[1][0].mean()) / error
    found = delong(one, other, clustered=False)
    assert (found.statistic, found.p) == pytest.approx((z, 2 * stats.norm.sf(abs(z))))
    assert found.upper - found.lower == pytest.approx(2 * 1.959964 * error)
    clustered = delong(one, other, clustered=True)  # one frame a subject: the same test
    assert (clustered.statistic, clustered.p) == pytest.approx((found.statistic, found.p))


def test_clustered_delong_follows_obuchowskis_formulas() -> None:
    one, other = two_models(25, 4, seed=3)
    positive, m, n = one.labels == 1, int((one.labels == 1).sum()), int((one.labels == 0).sum())
    placed = [placement_values(positive, each.probabilities[0, :, 1]) for each in (one, other)]
    areas = [auc_of(one), auc_of(other)]
    owners = one.subjects.astype(int)
    names = np.unique(owners)

    def summed(model: int, side: np.ndarray) -> np.ndarray:
        return np.array(
            [(placed[model][side & (owners == k)] - areas[model]).sum() for k in names]
        )  # V(X_i.) - m_i θ

    def held(side: np.ndarray) -> int:
        return len(np.unique(owners[side]))

    def covariance(r: int, s: int) -> float:
        s10 = held(positive) / ((held(positive) - 1) * m) * summed(r, positive) @ summed(s, positive)
        s01 = held(~positive) / ((held(~positive) - 1) * n) * summed(r, ~positive) @ summed(s, ~positive)
        s11 = len(names) / (len(names) - 1) * summed(r, positive) @ summed(s, ~positive)
        back = len(names) / (len(names) - 1) * summed(s, positive) @ summed(r, ~positive)
        return float(s10 / m + s01 / n + (s11 + back) / (m * n))

    error = np.sqrt(covariance(0, 0) + covariance(1, 1) - 2 * covariance(0, 1))
    found = delong(one, other, clustered=True)
    assert found.statistic == pytest.approx((areas[0] - areas[1]) / error)
    assert found.statistic != pytest.approx(delong(one, other, clustered=False).statistic, rel=0.01)


def test_the_exact_mcnemar_test_equals_statsmodels() -> None:
    one, other = two_models(60, 1)
    right, wrong = one.predicted[0] == one.labels, other.predicted[0] == other.labels
    table = pd.crosstab(right, wrong).to_numpy()
    found = mcnemar_exact(one, other)
    assert found.p == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert found.difference == pytest.approx(right.mean() - wrong.mean())
    chi = mcnemar(table, exact=False, correction=False).statistic
    clustered = mcnemar_clustered(one, other)  # one frame a subject
    assert clustered.statistic**2 == pytest.approx(chi * 59 / 60)
    assert mcnemar_exact(*two_models(10, 1, sets=2)).method == "not made"


def test_copies_of_a_frame_are_no_new_evidence_to_the_clustered_tests() -> None:
    one, other = two_models(60, 1)
    thrice = [
        estimate(*(np.repeat(x, 3, axis=-1) for x in (e.probabilities[:, :, 1], e.labels, e.subjects)))
        for e in (one, other)
    ]
    for test in (mcnemar_clustered, lambda a, b: delong(a, b, clustered=True)):
        assert test(*thrice).p == pytest.approx(test(one, other).p)
    swaps = {"resamples": 500, "seed": 0}
    for metric in ("auc", "accuracy"):
        few, many = (subjects.permutation_by_subject(*m, metric, **swaps) for m in ((one, other), thrice))
        assert few.p == pytest.approx(many.p) and many.n_pairs == 60
    for test in (mcnemar_exact, lambda a, b: delong(a, b, clustered=False)):
        assert test(*thrice).p < test(one, other).p / 2


@pytest.mark.parametrize("metric", ["auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity"])
@pytest.mark.parametrize("sets", [1, 2])
def test_the_permutation_test_equals_computing_the_metric_anew_for_every_swap(metric: str, sets: int) -> None:
    one, other = two_models(7, 3, sets=sets, seed=1, ties=True)
    ranks = [stats.rankdata(each.probabilities[:, :, 1], axis=-1) / 100 for each in (one, other)]
    sums = []
    for swap in itertools.product([False, True], repeat=7):
        swapped = np.array(swap)[one.subjects.astype(int)]
        values = []
        for first, second, scores in ((one, other, ranks), (other, one, ranks[::-1])):
            table = np.where(swapped, scores[1], scores[0])
            predicted = np.where(swapped, second.predicted, first.predicted)
            found = [
                metrics.weighted_metrics(one.labels, np.stack([1 - t, t], -1), p, one.ones, one.classes)[
                    metric
                ][0]
                for t, p in zip(table, predicted, strict=True)
            ]
            values.append(np.mean(found))
        sums.append(values[0] - values[1])
    expected = (np.abs(sums) >= abs(sums[0]) - 1e-12).mean()
    found = subjects.permutation_by_subject(one, other, metric, resamples=128, seed=0)
    assert found.difference == pytest.approx(sums[0])
    assert found.p == pytest.approx(expected) and "all" in found.method
    truth = one.metrics(one.ones)[metric][0] - other.metrics(other.ones)[metric][0]
    assert found.difference == pytest.approx(truth)


def test_random_swaps_agree_with_all_swaps() -> None:
    one, other = two_models(12, 3, seed=2)
    every, random = (
        subjects.permutation_by_subject(one, other, "auc", resamples=n, seed=0) for n in (4096, 4000)
    )
    assert every.method.startswith("all 4096 swaps") and random.method.startswith("4000 random swaps")
    assert random.p == pytest.approx(every.p, abs=0.02) and 0.001 < every.p < 0.9
    many = two_models(1100, 1)  # two to the power of these is no float
    found = subjects.permutation_by_subject(*many, "auc", resamples=100, seed=0)
    assert found.method == "100 random swaps of 1100 subjects"


def test_shares_of_three_classes_add_up_to_the_difference() -> None:
    rng = np.random.default_rng(0)
    labels, owners = np.arange(60) % 3, np.arange(60) // 2
    models = []
    for skill in (1.5, 0.5):
        logits = rng.normal(size=(1, 60, 3)) + skill * np.eye(3)[labels]
        table = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        models.append(
            Estimate("m", "test", "pooled", ["a", "b", "c"], None, owners.astype(str), labels,
                     owners.astype(str), table, table.argmax(axis=-1))
        )  # fmt: skip
    for metric in ("auc", "accuracy", "balanced_accuracy", "sensitivity"):
        shares = subjects.swap_shares(*models, metric)
        values = [each.metrics(each.ones)[metric][0] for each in models]
        assert shares is not None and shares.sum() == pytest.approx(values[0] - values[1])
    assert subjects.swap_shares(*models, "f1_macro") is None
    assert subjects.permutation_by_subject(*models, "kappa", resamples=100, seed=0).method == "not made"


@pytest.mark.parametrize("rope", [0.0, 0.01, 0.03])
@pytest.mark.parametrize("runs", [1, 3])
def test_the_bayesian_test_equals_baycomp(rope: float, runs: int) -> None:
    rng = np.random.default_rng(runs)
    a, b = 0.8 + rng.normal(0, 0.03, 5 * runs), 0.78 + rng.normal(0, 0.03, 5 * runs)
    # baycomp knows cross-validation without a validation part: of 5 folds, n_test / n_train = 1 / 4.
    found = resampled.bayesian_t(a, b, n_train=80, n_test=20, rope=rope)
    theirs = baycomp.CorrelatedTTest.probs(a, b, rope=rope, runs=runs)  # a better, equivalent, b better
    expected = (theirs[1], 0.0, theirs[0]) if rope == 0 else theirs[::-1]
    assert (found.left, found.rope, found.right) == pytest.approx(expected)
    assert found.left + found.rope + found.right == pytest.approx(1) and np.isnan(found.p)
    mean, variance, degrees = baycomp.CorrelatedTTest.compute_statistics(b, a, runs)
    assert (found.lower, found.upper) == pytest.approx(stats.t.interval(0.95, degrees, mean, variance**0.5))


def test_a_posterior_without_spread_lies_in_one_of_the_three() -> None:
    sides = [resampled.bayesian_t([d, d], [0, 0], n_train=2, n_test=1, rope=0.01) for d in (-0.1, 0.0, 0.1)]
    assert [(s.left, s.rope, s.right) for s in sides] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]


def test_the_detectable_difference_is_found_in_four_of_five_studies() -> None:
    rng = np.random.default_rng(0)
    true = resampled.corrected_t([0.1, 0.3, 0.2, 0.4, 0.0], np.zeros(5), n_train=4, n_test=0)
    error = true.difference / true.statistic  # without correction: s / √J
    draws = rng.normal(true.detectable, error * 5**0.5, (20_000, 5))
    found = stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.01)


def test_hedges_effect_size_is_the_standardised_mean_times_his_factor() -> None:
    d = np.array([0.01, 0.03, 0.02, 0.05])
    assert effect_size(d) == pytest.approx(d.mean() / d.std(ddof=1) * (1 - 3 / 11))
    assert np.isnan(effect_size(np.array([0.1, 0.1, 0.1])))


def test_both_smallest_p_of_a_signed_rank_test_stand_beside_it() -> None:
    found = signed_rank.wilcoxon(np.arange(1, 5) / 10, np.zeros(4))
    assert found.smallest_p_exact == 0.125
    assert found.smallest_p_normal == pytest.approx(0.0679, abs=1e-4)
    five = signed_rank.wilcoxon(np.arange(1, 6) / 10, np.zeros(5))
    normal = stats.wilcoxon(np.arange(1, 6), method="asymptotic").pvalue
    assert (five.smallest_p_exact, five.smallest_p_normal) == pytest.approx((0.0625, normal))


def test_holm_equals_statsmodels() -> None:
    p = np.random.default_rng(0).uniform(0, 0.2, 12)
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])


def test_friedman_and_nemenyi_follow_demsars_example() -> None:
    """Demšar 2006, table 6: 14 data sets, 4 classifiers, mean ranks 3.143, 2.000, 2.893, 1.964; CD 1.25."""
    rng = np.random.default_rng(0)
    values = {f"task {t}": dict(zip("abcd", rng.normal([0, 1, 0.2, 1]), strict=True)) for t in range(14)}
    found = rank_models(values)
    table = pd.DataFrame(values).T
    assert found["critical_difference"].iloc[0] == pytest.approx(1.25, abs=0.005)
    assert found["p"].iloc[0] == pytest.approx(stats.friedmanchisquare(*(table[m] for m in "abcd")).pvalue)
    assert found["mean_rank"].sum() == pytest.approx(10) and found["mean_rank"].is_monotonic_increasing
    best = table.rank(axis=1, ascending=False).mean().idxmin()
    assert found["model"].iloc[0] == best


def test_few_tasks_give_ranks_without_a_test_and_a_sentence_why() -> None:
    values = {task: {"a": 0.9, "b": 0.8, "c": 0.7 if task == "x" else float("nan")} for task in "xyz"}
    found = rank_models(values)
    assert found["model"].tolist() == ["a", "b"] and found["mean_rank"].tolist() == [1.0, 2.0]
    assert found[["statistic", "p", "critical_difference"]].isna().all(axis=None)
    assert found["note"].str.contains("here are 3 and 2").all()


def test_the_same_images_count_once_in_the_ranks() -> None:
    rng = np.random.default_rng(0)
    values = {f"task {t}": dict(zip("abc", rng.normal([0, 1, 2]), strict=True)) for t in range(5)}
    datasets = {task: [f"dataset {task}"] for task in values}
    plain = rank_models(values, datasets)
    assert plain["n_tasks"].eq(5).all() and plain["p"].notna().all()
    twice = values | {"untied": {"a": 9.0, "b": 0.0, "c": 0.0}}
    found = rank_models(twice, datasets | {"untied": ["dataset task 0"]})
    pd.testing.assert_frame_equal(found.drop(columns="note"), plain.drop(columns="note"))
    assert found["note"].str.contains(r"Not counted, .* another task: untied \(as task 0\)\.").all()
    four = {task: each for task, each in twice.items() if task != "task 4"}
    assert (
        rank_models(four, {task: datasets.get(task, ["dataset task 0"]) for task in four})["p"].isna().all()
    )


def test_without_a_model_on_every_task_a_row_says_so(tmp_path: Path) -> None:
    found = rank_models({"x": {"a": 0.9}, "y": {"b": 0.8}})
    found.to_csv(tmp_path / "ranks.csv", index=False)
    row = pd.read_csv(tmp_path / "ranks.csv").iloc[0]
    assert len(found) == 1 and pd.isna(row["model"]) and pd.isna(row["mean_rank"])
    assert row["note"].startswith("No model ran on each of the 2 tasks, so none is ranked. No test:")
    assert (row["n_tasks"], row["n_models"]) == (2, 0)
