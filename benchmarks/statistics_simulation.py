"""How often each test finds a difference where there is none, and where there is one: simulated studies.

    python -m benchmarks.statistics_simulation --trials 2000 --powered 400

Prints Markdown tables for docs/statistics.md. (a): two trained models on new subjects. (b): two ways of
training on new training sets, refitted in every fold (benchmarks/simulated_models.py). A cell is the share of
studies, in percent, with its 95 % Monte-Carlo interval; a cross means that the workflow marks the test as not
valid on such data. Ends with an error where a test that the workflow calls valid rejects in more than 6.5 %
of the studies without a difference. Nothing here is a time, so a busy machine does not matter.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from benchmarks.measure import table
from benchmarks.simulated_models import NewSubjects, NewTrainingSets
from usfmae.evaluation import metrics
from usfmae.evaluation.comparison import resampled, signed_rank
from usfmae.evaluation.comparison.delong import delong
from usfmae.evaluation.comparison.mcnemar import mcnemar_clustered, mcnemar_exact
from usfmae.evaluation.comparison.result import ALPHA, Comparison
from usfmae.evaluation.comparison.subjects import bootstrap_difference, permutation_by_subject
from usfmae.evaluation.comparison.validity import (
    LIMIT,
    Size,
    objection_over_folds,
    objection_over_subjects,
)
from usfmae.evaluation.estimates import Estimate
from usfmae.evaluation.intervals import LEVEL, cluster_bootstrap

RESAMPLES, ROPE = 499, 0.01
PAPER_METRICS = signed_rank.PAPER_METRICS

SUBJECTS = [
    NewSubjects("100 subjects, 1 frame", 100, 1),
    NewSubjects("100 subjects, 3 frames", 100, 3),
    NewSubjects("100 subjects, 8 frames", 100, 8),
    NewSubjects("100 subjects, labels mixed", 100, 3, mixed=True),
    NewSubjects("100 subjects, models unlike", 100, 3, own_share=0.95, unlike=True),
    NewSubjects("60 subjects, 8 frames", 60, 8),
    NewSubjects("100 subjects, 20 malignant", 100, 3, malignant=0.2),
    NewSubjects("100 subjects, 10 malignant", 100, 3, malignant=0.1),
    NewSubjects("20 subjects, 8 malignant", 20, 3),
    NewSubjects("200 subjects, 5 folds", 200, 3, folds=5),
    NewSubjects("100 subjects, 5 folds", 100, 3, folds=5),
    NewSubjects("100 subjects, 10 folds", 100, 3, folds=10),
]
TRAINING = [
    NewTrainingSets("4 folds, 60 subjects", 60, 4),
    NewTrainingSets("5 folds, 60 subjects", 60, 5),
    NewTrainingSets("5 folds, 60 subjects, unstable", 60, 5, features=12, ridge=0.05),
    NewTrainingSets("5 folds, 150 subjects", 150, 5),
    NewTrainingSets("3 folds, 60 subjects", 60, 3),
    NewTrainingSets("10 folds, 60 subjects", 60, 10),
]
Scenario = NewSubjects | NewTrainingSets
#: Scenarios and true differences: of the areas under the curve; of the signal in learner a's own features.
NULLS = {
    "a": (SUBJECTS, [(SUBJECTS[1], {"AUC +0.03": 0.03, "AUC +0.06": 0.06})]),
    "b": (TRAINING, [(TRAINING[1], {"signal +50 %": 0.5, "signal +100 %": 1.0})]),
}


def rejects(test: Comparison) -> bool:
    """p below 5 %, or of the Bayesian test enough of the posterior on one side of the equivalence region."""
    return test.p < ALPHA or max(test.left, test.right) > resampled.DECISION


def bootstrap(a: Estimate, b: Estimate, metric: str, seed: int) -> Comparison:
    """The cluster bootstrap of the difference in one metric, of the mean over the sets of predictions."""

    def values(each: Estimate, weights: np.ndarray) -> np.ndarray:
        if metric == "accuracy":
            return weights @ (each.predicted == each.labels).mean(axis=0) / weights.sum(axis=1)
        areas = [
            metrics.ranking_within_folds(each.labels == 1, table[:, 1], weights, each.folds)[0]
            for table in each.probabilities
        ]
        return np.asarray(np.mean(areas, axis=0))

    def difference(weights: np.ndarray) -> np.ndarray:
        return (values(a, weights) - values(b, weights))[:, None]

    with np.errstate(invalid="ignore"):  # a resample without one of the classes is NaN, and left out
        draws = cluster_bootstrap(difference, a.subjects, resamples=RESAMPLES, seed=seed)[:, 0]
    observed = float(difference(a.ones)[0, 0])
    return bootstrap_difference(observed, draws, len(np.unique(a.subjects)))


def of_subjects(
    scenario: NewSubjects, rng: np.random.Generator, effect: float
) -> Iterator[tuple[str, bool, str]]:
    """Each test of one study of null (a): its name, whether it rejects, and why it is not valid there."""
    a, b = scenario.study(rng, effect)
    seed = int(rng.integers(2**31))
    found = []
    for metric in ("auc", "accuracy"):
        found.append((metric, bootstrap(a, b, metric, seed)))
        found.append((metric, permutation_by_subject(a, b, metric, resamples=RESAMPLES, seed=seed)))
    found += [("auc", delong(a, b, clustered=True)), ("auc", delong(a, b, clustered=False))]
    found += [("accuracy", mcnemar_clustered(a, b)), ("accuracy", mcnemar_exact(a, b))]
    for metric, test in found:
        yield f"{test.test} ({metric})", rejects(test), objection_over_subjects(test, Size.of(a))
    together = bootstrap(replace(a, folds=None), replace(b, folds=None), "auc", seed)
    against = "" if a.folds is None else "scores of several models are ranked together."
    against = against or objection_over_subjects(together, Size.of(a))
    yield f"{together.test}, folds ranked together (auc)", rejects(together), against


def of_training(
    scenario: NewTrainingSets, rng: np.random.Generator, effect: float
) -> Iterator[tuple[str, bool, str]]:
    """Each test of one study of null (b)."""
    study = scenario.study(rng, effect)
    one, other = (fold_values(each, study.tests) for each in (study.a, study.b))  # metric -> (seeds, J)
    a, b = one["auc"].mean(axis=0), other["auc"].mean(axis=0)
    n_test = study.tests.sum() / len(study.tests)
    sizes = {"n_train": study.tests.shape[1] - n_test, "n_test": n_test}
    found = [signed_rank.wilcoxon(a, b)]
    by_metric = [np.concatenate([m[name].mean(axis=0) for name in PAPER_METRICS]) for m in (one, other)]
    found.append(signed_rank.wilcoxon(*by_metric, test=signed_rank.OVER_METRICS))
    by_seed = one["auc"].ravel(), other["auc"].ravel()
    found.append(signed_rank.wilcoxon(*by_seed, test=signed_rank.OVER_SEEDS))
    found += [resampled.corrected_t(a, b, **sizes), resampled.bayesian_t(a, b, **sizes, rope=ROPE)]
    for test in found:
        yield test.test, rejects(test), objection_over_folds(test, len(a))
    posterior = found[-1]
    halved = max(posterior.left, posterior.right) > LEVEL
    yield f"{posterior.test}, 95 % on one side", halved, "10 % over both sides."
    naive = resampled.corrected_t(a, b, n_train=1, n_test=0)
    yield "paired t, uncorrected", rejects(naive), "the folds count as independent."
    first = [replace(m, probabilities=m.probabilities[:1]) for m in (study.a, study.b)]  # of the first seed
    draws = bootstrap(*first, "auc", int(rng.integers(2**31)))
    yield f"{draws.test} of pooled predictions", rejects(draws), "its null is (a), not (b)."


def fold_values(of: Estimate, tests: np.ndarray) -> dict[str, np.ndarray]:
    """The papers' metrics of each seed and fold, `(seeds, J)`, from the folds `tests (J, N)` as weights."""
    found = [
        metrics.weighted_metrics(of.labels, table, predicted, tests.astype(float), of.classes)
        for table, predicted in zip(of.probabilities, of.predicted, strict=True)
    ]
    return {name: np.array([each[name] for each in found]) for name in PAPER_METRICS}


@dataclass
class Count:
    """Of how many studies a test rejected, and in how many the workflow calls it valid."""

    rejected: int = 0
    valid: int = 0
    studies: int = 0

    @property
    def rate(self) -> float:
        return self.rejected / self.studies

    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the rate."""
        found = stats.binomtest(self.rejected, self.studies).proportion_ci(method="wilson")
        return float(found.low), float(found.high)

    def cell(self) -> str:
        low, high = self.interval()
        cross = "" if self.valid == self.studies else " ✗"
        return f"{100 * self.rate:.1f} ({100 * low:.1f} to {100 * high:.1f}){cross}"


def simulate(scenario: Scenario, trials: int, effect: float = 0.0, seed: int = 0) -> dict[str, Count]:
    """Each test over `trials` studies; the same scenario, effect, number and seed give the same counts."""
    rng = np.random.default_rng([seed, *scenario.title.encode(), round(1000 * effect)])
    counts: dict[str, Count] = {}
    for _ in range(trials):
        tests = of_subjects if isinstance(scenario, NewSubjects) else of_training
        for name, rejected, against in tests(scenario, rng, effect):  # type: ignore[operator]
            count = counts.setdefault(name, Count())
            count.studies += 1
            count.rejected += rejected
            count.valid += not against
    return counts


def shown(counts: dict[str, dict[str, Count]]) -> str:
    """A row a test, a column a scenario."""
    columns = list(counts)
    tests = list(counts[columns[0]])
    return table(["test", *columns], [[t, *(counts[c][t].cell() for c in columns)] for t in tests])


def wrongly_valid(counts: dict[str, dict[str, Count]]) -> list[str]:
    """Tests that the workflow calls valid in a scenario where they reject too often."""
    return [
        f"{test}: {count.cell()} on {title}"
        for title, tests in counts.items()
        for test, count in tests.items()
        if count.valid and count.rate > LIMIT
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="studies without a difference a scenario")
    parser.add_argument("--powered", type=int, default=400, help="studies a scenario and true difference")
    parser.add_argument("--nulls", nargs="+", choices=NULLS, default=list(NULLS))
    parser.add_argument(
        "--seed", type=int, default=0, help="0: the studies on which the limits of `valid` were chosen"
    )
    arguments = parser.parse_args()
    seed = arguments.seed
    wrong = []
    for null, (scenarios, powered) in NULLS.items():
        if null not in arguments.nulls:
            continue
        without = {each.title: timed(each, arguments.trials, seed=seed) for each in scenarios}
        wrong += wrongly_valid(without)
        print(f"\n({null}), no difference, {arguments.trials} studies a column, seed {seed}:\n")
        print(shown(without), flush=True)
        power = {
            f"{each.title}: {words}": timed(each, arguments.powered, effect, seed)
            for each, effects in powered
            for words, effect in effects.items()
        }
        print(f"\n({null}), power, {arguments.powered} studies a column, seed {seed}:\n")
        print(shown(power), flush=True)
    if wrong:
        raise SystemExit("Called valid, but rejects too often:\n" + "\n".join(wrong))


def timed(scenario: Scenario, trials: int, effect: float = 0.0, seed: int = 0) -> dict[str, Count]:
    started = time.process_time()
    found = simulate(scenario, trials, effect, seed)
    print(f"{scenario.title}, {effect}: {time.process_time() - started:.0f} s", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    main()
