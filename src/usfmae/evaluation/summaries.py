"""What a set of runs reached: its metrics by fold, their means, and the frames of all folds together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from usfmae.evaluation import metrics
from usfmae.evaluation.comparison.resampled import corrected_interval
from usfmae.evaluation.comparison.result import NO_SPREAD
from usfmae.evaluation.estimates import ROC_GRID, Estimate, estimates, probability_columns
from usfmae.evaluation.intervals import cluster_bootstrap, percentile_interval, proportion_interval

Floats = NDArray[np.float64]
Draws = dict[tuple[str, str, str], dict[str, Floats]]  # model, role, estimate → metric → resamples (B,)

SUMMARY_COLUMNS = [
    *("model", "role", "estimate", "metric", "value", "lower", "upper", "sd"),
    *("n_folds", "n_frames", "n_subjects", "interval", "n_seeds"),
]


@dataclass(frozen=True)
class Summary:
    """`summary` has a row a model, role, estimate and metric; `n_train` and `n_test` are the mean numbers of
    rows in one fold's parts, NaN and a number where there is one fold."""

    fold_metrics: pd.DataFrame
    summary: pd.DataFrame
    draws: Draws
    estimates: list[Estimate]
    n_train: float
    n_test: float

    def estimate(self, model: str, role: str, name: str) -> Estimate:
        key = (model, role, name)
        return next(each for each in self.estimates if (each.model, each.role, each.name) == key)

    def value(self, estimate: Estimate, metric: str) -> float:
        """The estimate's metric, from `summary`."""
        return float(self._values[estimate.model, estimate.role, estimate.name, metric])

    @cached_property
    def _values(self) -> dict[tuple[str, str, str, str], float]:
        """Looked up for every pair, role and metric."""
        keys = (self.summary[name] for name in ("model", "role", "estimate", "metric"))
        return dict(zip(zip(*keys, strict=True), self.summary["value"], strict=True))


def summarise(
    runs: pd.DataFrame,
    *,
    classes: list[str],
    positive: str | None,
    primary: str,
    resamples: int,
    seed: int,
    fraction: float = 1.0,
) -> Summary:
    """Metrics with intervals of all models; `runs` comes from `with_decisions`. A row counts as a frame."""
    fold_metrics = measure_folds(runs, classes, positive)
    if primary not in set(fold_metrics["metric"]):
        known = ", ".join(fold_metrics["metric"].unique())
        raise ValueError(
            f"the primary metric {primary!r} is not computed for this task; choose one of: {known}"
        )
    n_train, n_test = part_sizes(runs, fraction)
    test = runs[runs["role"] == "test"]
    tables = [
        summarise_folds(fold_metrics, n_train, n_test).assign(
            n_frames=test["frame_id"].nunique(), n_subjects=test["subject"].nunique()
        )
    ]
    draws: Draws = {}
    found = list(estimates(runs, classes, positive))
    for estimate in found:
        table, drawn = summarise_frames(estimate, resamples, seed)
        tables.append(table.assign(n_folds=runs["fold"].nunique()))
        draws[estimate.model, estimate.role, estimate.name] = drawn
    summary = pd.concat(tables, ignore_index=True).assign(n_seeds=runs["seed"].nunique())
    return Summary(fold_metrics, summary[SUMMARY_COLUMNS], draws, found, n_train, n_test)


def part_sizes(runs: pd.DataFrame, fraction: float) -> tuple[float, float]:
    """Mean numbers of rows that one fold trains on and tests on; the first is NaN where there is one fold.

    What a fold neither tests nor validates on, it trains on, or on its `fraction` of it.
    """
    sizes = (
        runs.groupby(["fold", "role"])["frame_id"].nunique().unstack("role", fill_value=0)
    )  # (folds, roles)
    n_train = fraction * float((sizes["test"].sum() - sizes["test"] - sizes["validation"]).mean())
    return n_train if len(sizes) > 1 else np.nan, float(sizes["test"].mean())


def measure_folds(runs: pd.DataFrame, classes: list[str], positive: str | None) -> pd.DataFrame:
    """`model, seed, fold, role, metric, value`; validation rows were used for choices and are no result."""
    rows = []
    for (model, seed, fold, role), run in runs.groupby(["model", "seed", "fold", "role"]):
        if role in ("test", "holdout"):
            probabilities, threshold = run[probability_columns(classes)], float(run["threshold"].iloc[0])
            try:
                values = metrics.compute(run["label"], probabilities, classes, positive, threshold)
            except ValueError as error:
                raise ValueError(f"model {model}, seed {seed}, fold {fold}, {role}: {error}") from error
            rows += [(model, seed, fold, role, name, value) for name, value in values.items()]
    return pd.DataFrame(rows, columns=["model", "seed", "fold", "role", "metric", "value"])


def summarise_folds(fold_metrics: pd.DataFrame, n_train: float, n_test: float) -> pd.DataFrame:
    """Mean, standard deviation and corrected interval over the folds' test parts, seeds averaged first."""
    test = fold_metrics[fold_metrics["role"] == "test"]
    folds = test.groupby(["model", "metric", "fold"], sort=False)["value"].mean()
    rows = []
    for (model, name), values in folds.groupby(["model", "metric"], sort=False):
        mean, _, half = corrected_interval(values, n_train, n_test)
        lower, upper = np.clip([mean - half, mean + half], *metrics.RANGES.get(name, (0.0, 1.0)))
        rows.append(
            (model, "test", "mean of folds", name, mean, lower, upper, values.std(ddof=1), len(values))
        )
    table = pd.DataFrame(rows, columns=SUMMARY_COLUMNS[:9])
    several = "95 %, corrected resampled t (Nadeau and Bengio 2003)"
    alike = np.where(table["lower"].isna(), "none: the folds have no spread", several)
    return table.assign(
        interval=np.where(table["n_folds"] > 1, alike, "none: one fold has no spread between folds")
    )


def summarise_frames(estimate: Estimate, resamples: int, seed: int) -> tuple[pd.DataFrame, dict[str, Floats]]:
    """The estimate's metrics with cluster-bootstrap intervals, and the draws `(B,)` of each.

    Shares of frames have `proportion_interval`, all others percentiles. Where all resamples of these agree
    there is no interval: that every resample of a few frames is alike does not make the value certain.
    """
    draws = cluster_bootstrap(
        lambda weights: np.column_stack(list(estimate.metrics(weights).values())),
        estimate.clusters,
        resamples=resamples,
        seed=seed,
    )  # (B, M)
    values = pd.DataFrame(estimate.metrics(estimate.ones)).iloc[0]
    lower, upper = percentile_interval(draws)
    table = pd.DataFrame({"metric": values.index, "value": values.to_numpy(), "lower": lower, "upper": upper})
    alike = table["upper"] - table["lower"] < NO_SPREAD
    table.loc[alike, ["lower", "upper"]] = np.nan
    how = np.where(
        alike,
        "none: the resamples have no spread",
        f"95 %, percentiles of {resamples} resamples of the subjects",
    )
    shares = _shares(estimate)
    for row, name in enumerate(table["metric"]):
        if name in shares:
            of = shares[name]
            sizes = int(of.sum()), len(np.unique(estimate.clusters[of]))
            bounds = proportion_interval(table.at[row, "value"], draws[:, row], *sizes)
            table.loc[row, ["lower", "upper"]] = bounds
            how[row] = f"95 %, Wilson's by the spread of {resamples} resamples of the subjects"
            if np.isnan(bounds[0]):
                how[row] = "none: fewer than two subjects"
    table = table.assign(
        model=estimate.model,
        role=estimate.role,
        estimate=estimate.name,
        sd=np.nan,
        n_frames=len(estimate.labels),
        n_subjects=len(np.unique(estimate.subjects)),
        interval=how,
    )
    return table, dict(zip(values.index, draws.T, strict=True))


def _shares(estimate: Estimate) -> dict[str, NDArray[np.bool_]]:
    """The metrics that are the share of right answers among some frames, and which `(N,)` these are."""
    labels, classes = estimate.labels, estimate.classes
    found = {"accuracy": np.ones(len(labels), dtype=bool)}
    if len(classes) == 2:
        positive = labels == metrics.positive_column(classes, estimate.positive)
        return found | {"sensitivity": positive, "recall": positive, "specificity": ~positive}
    for column, name in enumerate(classes):
        found |= {f"sensitivity_{name}": labels == column, f"specificity_{name}": labels != column}
    return found


def roc_curves(estimate: Estimate, resamples: int, seed: int) -> pd.DataFrame:
    """A curve a class (of two classes: of the positive one) with a pointwise 95 % band."""
    columns = list(range(len(estimate.classes)))
    if len(columns) == 2:
        columns = [metrics.positive_column(estimate.classes, estimate.positive)]
    tables = []
    for column in columns:
        curve_of = partial(estimate.curve, column)
        draws = cluster_bootstrap(curve_of, estimate.clusters, resamples=resamples, seed=seed)  # (B, G)
        lower, upper = percentile_interval(draws)
        is_class = estimate.labels == column
        areas = [
            metrics.ranking_within_folds(is_class, p[:, column], estimate.ones, estimate.folds)[0]
            for p in estimate.probabilities
        ]
        curve = {
            "model": estimate.model,
            "role": estimate.role,
            "class": estimate.classes[column],
            "specificity_complement": ROC_GRID,
            "sensitivity": estimate.curve(column, estimate.ones)[0],
            "lower": lower,
            "upper": upper,
            "auc": np.mean(areas),
        }
        tables.append(pd.DataFrame(curve))
    return pd.concat(tables, ignore_index=True)


def confusion(estimate: Estimate) -> pd.DataFrame:
    """Frames by label and predicted class; with several seeds their mean, so that they add up to N."""
    n_classes = len(estimate.classes)
    cells = estimate.labels * n_classes + estimate.predicted  # (R, N)
    counts = np.bincount(cells.ravel(), minlength=n_classes**2) / len(estimate.predicted)
    pairs = [(label, predicted) for label in estimate.classes for predicted in estimate.classes]
    table = pd.DataFrame(pairs, columns=["label", "predicted"]).assign(frames=counts)
    return table.assign(model=estimate.model, role=estimate.role)[
        ["model", "role", "label", "predicted", "frames"]
    ]
