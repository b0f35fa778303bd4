"""Every pair of models of a task by every test: the rows of `comparisons.csv`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import combinations

import numpy as np
import pandas as pd

from usfmae.evaluation.comparison import delong, mcnemar, resampled, signed_rank, subjects
from usfmae.evaluation.comparison.result import ALPHA, Comparison, holm, not_compared
from usfmae.evaluation.comparison.validity import (
    Size,
    not_simulated,
    objection_over_folds,
    objection_over_subjects,
)
from usfmae.evaluation.predictions import NOT_RUN
from usfmae.evaluation.summaries import Summary

#: The declared primary family of tests: the reference with each other model.
REFERENCE, OTHER = "reference", "other pairs"
#: What is compared on which part: all fold models see the same hold-out, so no test over folds is made there.
ESTIMATES = {"test": "pooled", "holdout": "mean of fold models"}
COMPARISON_COLUMNS = [
    *("model_a", "model_b", "family", "role", "metric", "test", "null", "n_pairs", "zero_differences"),
    *("difference", "lower", "upper", "statistic", "p", "smallest_p", "smallest_p_exact"),
    *("smallest_p_normal", "p_holm", "valid", "effect_size", "detectable", "left", "rope", "right"),
    *("method", "note", "n_seeds"),
]


@dataclass(frozen=True)
class Found:
    """A test's result, on which part and in which metric; `against` says why it is not valid, if so, and
    `unknown` why nothing is known of that."""

    role: str
    metric: str
    result: Comparison
    against: str = ""
    unknown: str = ""

    @property
    def valid(self) -> str:
        if self.result.method == "not made":
            return "not made"
        return "no" if self.against else "not simulated" if self.unknown else "yes"


@dataclass(frozen=True)
class Comparer:
    """Compares two models of one task by every test.

    `primary` is the metric of the tests that can take any; `rope` half the width of the region of practical
    equivalence, in its unit; `resamples` and `seed` are those of the random swaps of models. `files` counts
    the subjects that are but a file, because no patient is told.
    """

    measured: Summary
    primary: str
    rope: float
    resamples: int
    seed: int
    files: int = 0

    def pair(self, a: str, b: str) -> Iterator[Found]:
        yield from self._over_folds(a, b)
        for role, estimate in ESTIMATES.items():
            if (a, role, estimate) in self.measured.draws:
                yield from self._over_subjects(a, b, role, estimate)
        yield from self._every_metric(a, b)

    def _over_folds(self, a: str, b: str) -> Iterator[Found]:
        """Tests with one value a fold, seeds averaged; and those that count seeds or metrics as pairs."""
        table = self.measured.fold_metrics
        table = table[(table["role"] == "test") & table["model"].isin([a, b])]
        table = table.pivot_table(index=["metric", "fold", "seed"], columns="model", values="value")
        table = table[[a, b]]
        primary = table.loc[self.primary]
        folds = primary.groupby("fold").mean()
        one, other = folds[a], folds[b]
        if len(folds) < 2:
            reason = "One fold alone gives one difference, and no test over folds."
            yield Found("test", self.primary, not_compared("over folds", reason, one, other))
            return
        sizes = {"n_train": self.measured.n_train, "n_test": self.measured.n_test}
        tests = [signed_rank.wilcoxon(one, other), resampled.corrected_t(one, other, **sizes)]
        tests.append(resampled.bayesian_t(one, other, **sizes, rope=self.rope))
        tests.append(self._over_seeds(primary[a], primary[b]))
        n_classes = len(self.measured.estimates[0].classes)
        unknown = not_simulated(self.primary, n_classes, files=self.files)
        for test in tests:
            yield Found("test", self.primary, test, objection_over_folds(test, len(folds)), unknown)
        metrics = [name for name in signed_rank.PAPER_METRICS if name in table.index.unique("metric")]
        values = table.loc[metrics].groupby(["metric", "fold"]).mean()
        over_metrics = signed_rank.wilcoxon(
            values[a], values[b], test=signed_rank.OVER_METRICS, unit="folds and metrics"
        )
        yield Found("test", ", ".join(metrics), over_metrics, objection_over_folds(over_metrics, len(folds)))

    def _over_seeds(self, one: pd.Series, other: pd.Series) -> Comparison:
        if one.index.unique("seed").size < 2:
            reason = "One seed: the pairs would be the folds."
            return not_compared(signed_rank.OVER_SEEDS, reason, one, other)
        pairs = pd.concat([one, other], axis=1).dropna()  # seeds that both models were run with
        one, other = pairs.iloc[:, 0], pairs.iloc[:, 1]
        return signed_rank.wilcoxon(one, other, test=signed_rank.OVER_SEEDS, unit="folds and seeds")

    def _over_subjects(self, a: str, b: str, role: str, estimate: str) -> Iterator[Found]:
        """Tests of the trained models on the same frames."""
        one, other = (self.measured.estimate(model, role, estimate) for model in (a, b))
        size = Size.of(one)
        difference = self.measured.value(one, self.primary) - self.measured.value(other, self.primary)
        draws = self._draws(a, b, role, estimate, self.primary)
        swaps = {"resamples": self.resamples, "seed": self.seed}
        found = [
            (self.primary, subjects.bootstrap_difference(difference, draws, size.subjects)),
            (self.primary, subjects.permutation_by_subject(one, other, self.primary, **swaps)),
            ("accuracy", mcnemar.mcnemar_clustered(one, other)),
            ("accuracy", mcnemar.mcnemar_exact(one, other)),
        ]
        if len(one.classes) == 2:
            found += [("auc", delong.delong(one, other, clustered=each)) for each in (True, False)]
        for metric, test in found:
            against = objection_over_subjects(test, size)
            unknown = not_simulated(metric, len(one.classes), len(one.probabilities), self.files)
            yield Found(role, metric, replace(test, test=f"{test.test}, {estimate}"), against, unknown)

    def _draws(self, a: str, b: str, role: str, estimate: str, metric: str) -> np.ndarray:
        """The resampled difference `(B,)`: both models have the same resamples."""
        of_a, of_b = (self.measured.draws[model, role, estimate][metric] for model in (a, b))
        return np.asarray(of_a - of_b)

    def _every_metric(self, a: str, b: str) -> Iterator[Found]:
        """The cluster bootstrap in each metric but the primary one, which `pair` has."""
        for role, estimate in ESTIMATES.items():
            if (a, role, estimate) not in self.measured.draws:
                continue
            one, other = (self.measured.estimate(model, role, estimate) for model in (a, b))
            size = Size.of(one)
            for metric in self.measured.draws[a, role, estimate]:
                if metric == self.primary:
                    continue
                difference = self.measured.value(one, metric) - self.measured.value(other, metric)
                draws = self._draws(a, b, role, estimate, metric)
                test = subjects.bootstrap_difference(difference, draws, size.subjects)
                against = objection_over_subjects(test, size)
                unknown = not_simulated(metric, len(one.classes), len(one.probabilities), self.files)
                named = replace(test, test=f"{subjects.BOOTSTRAP} of each metric, {estimate}")
                yield Found(role, metric, named, against, unknown)


def compare(comparer: Comparer, reference: str, missing: Sequence[str] = ()) -> pd.DataFrame:
    """The columns of `comparisons.csv`: a row a pair of models and test; where no test can be made, why.

    Holm's families are the reference with each other model and, apart, all other pairs, of one test, metric
    and role. Models that were not run (`missing`) have a row that says so.
    """
    models = list(dict.fromkeys(each.model for each in comparer.measured.estimates))
    others = [model for model in models if model != reference]
    found: list[tuple[str, str, Found]] = []

    def not_run(model: str, who: str) -> None:
        result = not_compared("none", f"The {who} was {NOT_RUN}.")
        found.append((reference, model, Found("test", comparer.primary, result)))

    for model in others:
        if reference in models:
            found += [(reference, model, each) for each in comparer.pair(reference, model)]
        else:
            not_run(model, f"reference {reference}")
    for model in missing:
        if model != reference:
            not_run(model, f"model {model}")
    found += [(a, b, each) for a, b in combinations(others, 2) for each in comparer.pair(a, b)]
    n_seeds = comparer.measured.fold_metrics["seed"].nunique()
    rows = [_row(a, b, each) | {"n_seeds": n_seeds} for a, b, each in found]
    table = pd.DataFrame(rows, columns=[*rows[0]] if rows else [*_ROW, "n_seeds"])
    table["family"] = np.where(table["model_a"] == reference, REFERENCE, OTHER)
    return _with_holm(table)[COMPARISON_COLUMNS]


_ROW = ["model_a", "model_b", "role", "metric", *(field.name for field in fields(Comparison)), "valid"]


def _row(a: str, b: str, found: Found) -> dict[str, object]:
    values = {"model_a": a, "model_b": b, "role": found.role, "metric": found.metric, **asdict(found.result)}
    before = {"no": f"Not valid: {found.against}", "not simulated": f"Not simulated: {found.unknown}"}
    notes = [before.get(found.valid, ""), found.result.note]
    return values | {"valid": found.valid, "note": " ".join(filter(None, notes))}


def _with_holm(table: pd.DataFrame) -> pd.DataFrame:
    """Adds `p_holm`, and to the notes what it and the seeds mean for a row."""
    table = table.assign(p_holm=np.nan)
    for (which, *_), family in table.groupby(["family", "role", "test", "metric"]):
        table.loc[family.index, "p_holm"] = holm(family["p"])
        late = family.index[(family["smallest_p"] < ALPHA) & (family["smallest_p"] * len(family) >= ALPHA)]
        counted = f"{len(family)} {'models' if which == REFERENCE else 'pairs'}"
        table.loc[late, "note"] += f" After Holm over {counted} p can never reach 0.05."
    several = table["n_seeds"] > 1
    table.loc[several, "note"] += (
        " The "
        + table["n_seeds"].astype(str)
        + " seeds are repeats on the same folds, not independent pairs."
    )
    return table
