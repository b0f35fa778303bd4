"""A task's predictions turned into its tables."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd

from usfmae.evaluation.calibration import calibration_tables, with_temperature
from usfmae.evaluation.comparison.pairs import Comparer, compare
from usfmae.evaluation.curves import precision_recall_curves
from usfmae.evaluation.estimates import check_same_rows, with_decisions
from usfmae.evaluation.metrics import subject_level
from usfmae.evaluation.predictions import NOT_RUN, files_as_subjects, with_unknown_patients
from usfmae.evaluation.summaries import confusion, roc_curves, summarise

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
    rope: float = 0.01,
    models: Sequence[str] = (),
) -> dict[str, pd.DataFrame]:
    """The tables of docs/contracts.md, statistics, of one task, recipe and fraction, by name.

    `predictions` holds the rows of all runs' `predictions.parquet` and `model, seed, fold`. Every model is
    compared with `reference`, and every other pair, in the metric `primary` where a test does not name its
    own; `rope` is half the width of the region of practical equivalence, in its unit. Those of `models` (all
    of the study) that have no rows are named as not run. Of two classes, `positive` is predicted from the
    threshold with the highest Youden index on each run's own validation rows; the temperature is fitted on
    these too. Seeds are averaged before anything is compared over folds. A subject's result is the mean of
    its frames' probabilities, with a threshold from the validation subjects. Where patients are not told, a
    file counts as a subject, `n_subjects` is empty, and no test is called valid.
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
    subjects = measured(with_decisions(of_subjects(predictions), classes, positive))
    n_frames = frames.summary.groupby("role")["n_frames"].first()
    scaled = with_temperature(runs, classes)
    missing = [model for model in models if model not in set(predictions["model"])]
    files = files_as_subjects(predictions)
    compared = partial(Comparer, primary=primary, rope=rope, resamples=resamples, seed=seed, files=files)
    curves = [
        estimate for estimate in frames.estimates if estimate.name != "mean of fold models"
    ]  # one a role
    tables = {
        "fold_metrics": frames.fold_metrics,
        "summary": _with_missing(frames.summary, missing),
        "summary_subjects": subjects.summary.assign(n_frames=subjects.summary["role"].map(n_frames)),
        "comparisons": compare(compared(frames), reference, missing),
        "comparisons_subjects": compare(compared(subjects), reference, missing),
        "roc": pd.concat([roc_curves(each, resamples, seed) for each in curves], ignore_index=True),
        "pr": pd.concat(
            [precision_recall_curves(each, resamples, seed) for each in curves], ignore_index=True
        ),
        "confusion": pd.concat([confusion(each) for each in curves], ignore_index=True),
        "decisions": decisions(scaled),
        **calibration_tables(runs, scaled, classes, positive, resamples=resamples, seed=seed),
    }
    if files:
        counted = {name: table for name, table in tables.items() if "n_subjects" in table}
        tables |= {name: with_unknown_patients(table) for name, table in counted.items()}
    return tables


def decisions(scaled: pd.DataFrame) -> pd.DataFrame:
    """What each run's validation rows decided, a row a run; only of two classes there is a threshold."""
    validation = scaled[scaled["role"] == "validation"]
    return validation.groupby(["model", "seed", "fold"], as_index=False).agg(
        threshold=("threshold", "first"),
        temperature=("temperature", "first"),
        validation_frames=("frame_id", "size"),
    )[DECISION_COLUMNS]


def of_subjects(predictions: pd.DataFrame) -> pd.DataFrame:
    """A row a subject in place of a frame; it has one label (`splits.checked`)."""
    subjects = subject_level(predictions)
    return subjects.assign(frame_id=subjects["subject"] + " " + subjects["label"].astype(str))


def _with_missing(summary: pd.DataFrame, missing: Sequence[str]) -> pd.DataFrame:
    """A row without figures for each model that was not run; its `interval` says so."""
    if not missing:
        return summary
    rows = pd.DataFrame({"model": list(missing), "interval": NOT_RUN})
    whole = dict.fromkeys(["n_folds", "n_frames", "n_subjects", "n_seeds"], "Int64")  # not 96.0 beside a gap
    return pd.concat([summary, rows], ignore_index=True).astype(whole)
