"""How a model's result grows with the number of labelled subjects it is fine-tuned on."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from usfmae.evaluation.estimates import check_same_rows, with_decisions
from usfmae.evaluation.predictions import read_predictions
from usfmae.evaluation.summaries import measure_folds, part_sizes, summarise_folds

COLUMNS = [
    *("model", "fraction", "training_subjects", "metric", "value", "lower", "upper", "sd"),
    *("n_folds", "n_seeds", "interval"),
]


def label_efficiency(
    folders: list[Path], *, classes: list[str], positive: str | None, primary: str
) -> pd.DataFrame:
    """The columns of `label_efficiency.csv`: a row a model and share of the training subjects.

    `folders` are those of all runs of one task. `value` is the mean of the primary metric over the folds'
    test parts, which are whole at every share; `training_subjects` the mean over folds and seeds. Seeds draw
    other subjects too; they are repeats and averaged first.
    """
    shares: dict[float, list[Path]] = {}
    trained = []
    for folder in folders:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        fraction = float(record["wildcards"]["fraction"])
        shares.setdefault(fraction, []).append(folder)
        trained.append((record["wildcards"]["model"], fraction, record["counts"]["subjects_train"]))
    subjects = pd.DataFrame(trained, columns=["model", "fraction", "training_subjects"])
    subjects = subjects.groupby(["model", "fraction"], as_index=False).mean()
    tables = []
    for fraction, runs in sorted(shares.items()):
        predictions = read_predictions([folder / "predictions.parquet" for folder in runs])
        check_same_rows(predictions)
        measured = measure_folds(with_decisions(predictions, classes, positive), classes, positive)
        summary = summarise_folds(measured, *part_sizes(predictions, fraction))
        n_seeds = predictions["seed"].nunique()
        tables.append(summary[summary["metric"] == primary].assign(fraction=fraction, n_seeds=n_seeds))
    table = pd.concat(tables, ignore_index=True).merge(subjects, on=["model", "fraction"])
    return table.sort_values(["model", "fraction"], ignore_index=True)[COLUMNS]
