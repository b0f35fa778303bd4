"""A task's predictions turned into its tables: fold metrics, summary, comparisons, ROC curves, confusion."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from usfmae.evaluation import metrics
from usfmae.evaluation.comparison import (
    ALPHA,
    Comparison,
    bootstrap_difference,
    corrected_interval,
    corrected_t,
    holm,
    wilcoxon_folds,
)
from usfmae.evaluation.estimates import (
    ROC_GRID,
    Estimate,
    check_same_rows,
    estimates,
    probability_columns,
    with_decisions,
)
from usfmae.evaluation.intervals import cluster_bootstrap, percentile_interval

Floats = NDArray[np.float64]
Draws = dict[tuple[str, str, str], Floats]  # model, role, estimate → resampled primary metric (B,)

SUMMARY_COLUMNS = [
    *("model", "role", "estimate", "metric", "value", "lower", "upper", "sd"),
    *("n_folds", "n_frames", "n_subjects", "interval"),
]
COMPARISON_COLUMNS = [
    *("model_a", "model_b", "role", "metric", "test", "null", "n_pairs", "zero_differences", "difference"),
    *("lower", "upper", "statistic", "p", "smallest_p", "p_holm", "method", "note"),
]


def statistics_tables(
    predictions: pd.DataFrame,
    *,
    classes: list[str],
    positive: str | None,
    primary: str,
    resamples: int,
    seed: int,
    reference: str,
    fraction: float = 1.0,
) -> dict[str, pd.DataFrame]:
    """The tables `fold_metrics, summary, comparisons, roc, confusion` of one task, recipe and fraction.

    `predictions` holds the rows of all runs' `predictions.parquet` and `model, seed, fold`. Every model is
    compared with `reference` in the metric `primary` only; where the reference has no runs the comparisons
    are empty. Of two classes, `positive` is predicted from the threshold with the highest Youden index on
    each run's own validation rows. Seeds are averaged before anything is compared over folds.
    Raises `ValueError` where the models' runs do not match or a metric cannot be computed.
    """
    check_same_rows(predictions)
    runs = with_decisions(predictions, classes, positive)
    fold_metrics = measure_folds(runs, classes, positive)
    if primary not in set(fold_metrics["metric"]):
        known = ", ".join(fold_metrics["metric"].unique())
        raise ValueError(
            f"the primary metric {primary!r} is not computed for this task; choose one of: {known}"
        )
    # What a fold neither tests nor validates on, it trains on, or on its `fraction` of it.
    sizes = (
        runs.groupby(["fold", "role"])["frame_id"].nunique().unstack("role", fill_value=0)
    )  # (folds, roles)
    n_test = float(sizes["test"].mean())
    n_train = fraction * float((sizes["test"].sum() - sizes["test"] - sizes["validation"]).mean())

    test = runs[runs["role"] == "test"]
    summary = [
        summarise_folds(fold_metrics, n_train, n_test).assign(
            n_frames=test["frame_id"].nunique(), n_subjects=test["subject"].nunique()
        )
    ]
    curves, confusions = [], []
    draws: Draws = {}
    for estimate in estimates(runs, classes, positive):
        table, drawn = summarise_frames(estimate, primary, resamples, seed)
        summary.append(table.assign(n_folds=len(sizes)))
        draws[estimate.model, estimate.role, estimate.name] = drawn
        if estimate.name != "mean of fold models":  # one curve and one matrix a role
            curves.append(roc_curves(estimate, resamples, seed))
            confusions.append(confusion(estimate))
    summarised = pd.concat(summary, ignore_index=True)[SUMMARY_COLUMNS]
    return {
        "fold_metrics": fold_metrics,
        "summary": summarised,
        "comparisons": compare(fold_metrics, summarised, draws, reference, primary, n_train, n_test),
        "roc": pd.concat(curves, ignore_index=True),
        "confusion": pd.concat(confusions, ignore_index=True),
    }


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
    return table.assign(interval="95 %, corrected resampled t (Nadeau and Bengio 2003)")


def summarise_frames(
    estimate: Estimate, primary: str, resamples: int, seed: int
) -> tuple[pd.DataFrame, Floats]:
    """The estimate's metrics with cluster-bootstrap intervals, and the draws `(B,)` of the primary metric."""
    draws = cluster_bootstrap(
        lambda weights: np.column_stack(list(estimate.metrics(weights).values())),
        estimate.subjects,
        resamples=resamples,
        seed=seed,
    )  # (B, M)
    values = pd.DataFrame(estimate.metrics(estimate.ones)).iloc[0]
    lower, upper = percentile_interval(draws)
    table = pd.DataFrame({"metric": values.index, "value": values.to_numpy(), "lower": lower, "upper": upper})
    table = table.assign(
        model=estimate.model,
        role=estimate.role,
        estimate=estimate.name,
        sd=np.nan,
        n_frames=len(estimate.labels),
        n_subjects=len(np.unique(estimate.subjects)),
        interval=f"95 %, percentiles of {resamples} resamples of the subjects",
    )
    return table, draws[:, values.index.get_loc(primary)]


def roc_curves(estimate: Estimate, resamples: int, seed: int) -> pd.DataFrame:
    """A curve a class (of two classes: of the positive one) with a pointwise 95 % band."""
    columns = list(range(len(estimate.classes)))
    if len(columns) == 2:
        columns = [metrics.positive_column(estimate.classes, estimate.positive)]
    tables = []
    for column in columns:
        curve_of = partial(estimate.curve, column)
        draws = cluster_bootstrap(curve_of, estimate.subjects, resamples=resamples, seed=seed)  # (B, G)
        lower, upper = percentile_interval(draws)
        is_class = estimate.labels == column
        areas = [
            metrics.ranking_metrics(is_class, p[:, column], estimate.ones)[0] for p in estimate.probabilities
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


def compare(
    fold_metrics: pd.DataFrame,
    summary: pd.DataFrame,
    draws: Draws,
    reference: str,
    primary: str,
    n_train: float,
    n_test: float,
) -> pd.DataFrame:
    """The columns of `comparisons.csv`: reference minus each other model.

    Holm's family is the models of one test and role. All fold models see the same hold-out, so no test over
    folds is given there, only the cluster bootstrap.
    """
    found: list[tuple[str, str, Comparison]] = []
    folds = fold_metrics[(fold_metrics["role"] == "test") & (fold_metrics["metric"] == primary)]
    folds = folds.pivot_table(
        index="fold", columns="model", values="value"
    )  # (folds, models), mean over seeds
    values = summary[summary["metric"] == primary].set_index(["model", "role", "estimate"])
    for other in folds.columns.drop(reference) if reference in folds else ():
        if len(folds) > 1:
            pair = folds[reference], folds[other]
            found.append((other, "test", wilcoxon_folds(*pair)))
            found.append((other, "test", corrected_t(*pair, n_train=n_train, n_test=n_test)))
        for role, estimate in (("test", "pooled"), ("holdout", "mean of fold models")):
            a, b = (reference, role, estimate), (other, role, estimate)
            if a in draws:
                difference = float(values.at[a, "value"] - values.at[b, "value"])
                test = bootstrap_difference(difference, draws[a] - draws[b], int(values.at[a, "n_subjects"]))
                found.append((other, role, replace(test, test=f"{test.test}, {estimate}")))
    rows = [{"model_b": other, "role": role, **asdict(test)} for other, role, test in found]
    table = pd.DataFrame(rows, columns=["model_b", "role", *(field.name for field in fields(Comparison))])
    table = table.assign(model_a=reference, metric=primary, p_holm=np.nan)
    for _, family in table.groupby(["role", "test"]):
        table.loc[family.index, "p_holm"] = holm(family["p"])
        late = family.index[(family["smallest_p"] < ALPHA) & (family["smallest_p"] * len(family) >= ALPHA)]
        table.loc[late, "note"] += f" After Holm over {len(family)} models p can never reach 0.05."
    return table[COMPARISON_COLUMNS]
