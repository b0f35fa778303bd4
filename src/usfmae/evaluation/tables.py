"""A task's predictions turned into its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from functools import partial

import numpy as np
import pandas as pd

from usfmae.evaluation.calibration import calibration_tables, with_temperature
from usfmae.evaluation.comparison import (
    ALPHA,
    Comparison,
    bootstrap_difference,
    corrected_t,
    holm,
    not_compared,
    wilcoxon_folds,
)
from usfmae.evaluation.curves import precision_recall_curves
from usfmae.evaluation.estimates import check_same_rows, with_decisions
from usfmae.evaluation.metrics import subject_level
from usfmae.evaluation.predictions import NOT_RUN
from usfmae.evaluation.summaries import Summary, confusion, roc_curves, summarise

COMPARISON_COLUMNS = [
    *("model_a", "model_b", "role", "metric", "test", "null", "n_pairs", "zero_differences", "difference"),
    *("lower", "upper", "statistic", "p", "smallest_p", "p_holm", "method", "note", "n_seeds"),
]
DECISION_COLUMNS = ["model", "seed", "fold", "threshold", "temperature", "validation_frames"]


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
    models: Sequence[str] = (),
) -> dict[str, pd.DataFrame]:
    """The tables of docs/contracts.md, statistics, of one task, recipe and fraction, by name.

    `predictions` holds the rows of all runs' `predictions.parquet` and `model, seed, fold`. Every model is
    compared with `reference` in the metric `primary` only. Those of `models` (all of the study) that have no
    rows are named as not run. Of two classes, `positive` is predicted from the threshold with the highest
    Youden index on each run's own validation rows; the temperature is fitted on these too. Seeds are averaged
    before anything is compared over folds. A subject's result is the mean of its frames' probabilities, with
    a threshold from the validation subjects.
    Raises `ValueError` where the models' runs do not match or a metric cannot be computed.
    """
    check_same_rows(predictions)
    measured = partial(
        summarise,
        classes=classes,
        positive=positive,
        primary=primary,
        resamples=resamples,
        seed=seed,
        fraction=fraction,
    )
    runs = with_decisions(predictions, classes, positive)
    frames = measured(runs)
    subjects = measured(with_decisions(of_subjects(predictions), classes, positive)).summary
    n_frames = frames.summary.groupby("role")["n_frames"].first()
    scaled = with_temperature(runs, classes)
    missing = [model for model in models if model not in set(predictions["model"])]
    curves = [
        estimate for estimate in frames.estimates if estimate.name != "mean of fold models"
    ]  # one a role
    return {
        "fold_metrics": frames.fold_metrics,
        "summary": _with_missing(frames.summary, missing),
        "summary_subjects": subjects.assign(n_frames=subjects["role"].map(n_frames)),
        "comparisons": compare(frames, reference, primary, missing),
        "roc": pd.concat([roc_curves(each, resamples, seed) for each in curves], ignore_index=True),
        "pr": pd.concat(
            [precision_recall_curves(each, resamples, seed) for each in curves], ignore_index=True
        ),
        "confusion": pd.concat([confusion(each) for each in curves], ignore_index=True),
        "decisions": decisions(scaled),
        **calibration_tables(runs, scaled, classes, positive, resamples=resamples, seed=seed),
    }


def decisions(scaled: pd.DataFrame) -> pd.DataFrame:
    """What each run's validation rows decided, a row a run; only of two classes there is a threshold."""
    validation = scaled[scaled["role"] == "validation"]
    return validation.groupby(["model", "seed", "fold"], as_index=False).agg(
        threshold=("threshold", "first"),
        temperature=("temperature", "first"),
        validation_frames=("frame_id", "size"),
    )[DECISION_COLUMNS]


def compare(frames: Summary, reference: str, primary: str, missing: Sequence[str] = ()) -> pd.DataFrame:
    """The columns of `comparisons.csv`: reference minus each other model; where no test can be made, why.

    Holm's family is the models of one test and role. All fold models see the same hold-out, so no test over
    folds is given there, only the cluster bootstrap.
    """
    found: list[tuple[str, str, Comparison]] = []
    folds = frames.fold_metrics
    folds = folds[(folds["role"] == "test") & (folds["metric"] == primary)]
    n_seeds = folds["seed"].nunique()
    folds = folds.pivot_table(
        index="fold", columns="model", values="value"
    )  # (folds, models), mean over seeds
    summary = frames.summary
    values = summary[summary["metric"] == primary].set_index(["model", "role", "estimate"])
    for other in folds.columns.drop(reference, errors="ignore"):
        if reference not in folds:
            found.append((other, "test", not_compared("none", f"The reference {reference} was {NOT_RUN}.")))
            continue
        pair = folds[reference], folds[other]
        if len(folds) > 1:
            found.append((other, "test", wilcoxon_folds(*pair)))
            found.append((other, "test", corrected_t(*pair, n_train=frames.n_train, n_test=frames.n_test)))
        else:
            reason = "One fold alone gives one difference, and no test over folds."
            found.append((other, "test", not_compared("over folds", reason, *pair)))
        for role, estimate in (("test", "pooled"), ("holdout", "mean of fold models")):
            a, b = (reference, role, estimate), (other, role, estimate)
            if a in frames.draws:
                difference = float(values.at[a, "value"] - values.at[b, "value"])
                draws, n_subjects = frames.draws[a] - frames.draws[b], int(values.at[a, "n_subjects"])
                test = bootstrap_difference(difference, draws, n_subjects)
                found.append((other, role, replace(test, test=f"{test.test}, {estimate}")))
    for model in missing:
        if model != reference:
            found.append((model, "test", not_compared("none", f"The model {model} was {NOT_RUN}.")))
    rows = [{"model_b": other, "role": role, **asdict(test)} for other, role, test in found]
    table = pd.DataFrame(rows, columns=["model_b", "role", *(field.name for field in fields(Comparison))])
    table = table.assign(model_a=reference, metric=primary, p_holm=np.nan, n_seeds=n_seeds)
    for _, family in table.groupby(["role", "test"]):
        table.loc[family.index, "p_holm"] = holm(family["p"])
        late = family.index[(family["smallest_p"] < ALPHA) & (family["smallest_p"] * len(family) >= ALPHA)]
        table.loc[late, "note"] += f" After Holm over {len(family)} models p can never reach 0.05."
    if n_seeds > 1:
        repeats = (
            f" The {n_seeds} seeds are repeats on the same folds, not independent pairs: their mean counts."
        )
        table["note"] += repeats
    return table[COMPARISON_COLUMNS]


def of_subjects(predictions: pd.DataFrame) -> pd.DataFrame:
    """A row a subject in place of a frame; one with a benign and a malignant lesion counts once for each."""
    subjects = subject_level(predictions)
    return subjects.assign(frame_id=subjects["subject"] + " " + subjects["label"].astype(str))


def _with_missing(summary: pd.DataFrame, missing: Sequence[str]) -> pd.DataFrame:
    """A row without figures for each model that was not run; its `interval` says so."""
    if not missing:
        return summary
    rows = pd.DataFrame({"model": list(missing), "interval": NOT_RUN})
    whole = dict.fromkeys(["n_folds", "n_frames", "n_subjects", "n_seeds"], "Int64")  # not 96.0 beside a gap
    return pd.concat([summary, rows], ignore_index=True).astype(whole)
