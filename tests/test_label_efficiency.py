"""Label efficiency: the same test frames at each share of the training subjects, as a table and a target."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from test_comparison import CLASSES, predictions_of, tables_of

from usfmae.evaluation.label_efficiency import COLUMNS, label_efficiency
from usfmae.record import write_json, write_table
from workflow import ROOT, planned, snakemake

TINY = ROOT / "tests/data/tiny.yaml"


def write_runs(root: Path, predictions: pd.DataFrame, fraction: float, subjects: int) -> list[Path]:
    """The runs of all models, seeds and folds, of which fold k trained on `subjects` + k subjects."""
    folders = []
    for (model, seed, fold), rows in predictions.groupby(["model", "seed", "fold"]):
        run = root / "task" / model / "recipe" / f"fraction-{fraction:g}" / f"seed-{seed}" / f"fold-{fold}"
        write_table(run / "predictions.parquet", rows.drop(columns=["model", "seed", "fold"]))
        wildcards = {"model": model, "fraction": f"{fraction:g}", "seed": str(seed), "fold": str(fold)}
        counts = {"subjects_train": subjects + fold}
        write_json(run / "run.json", {"wildcards": wildcards, "counts": counts, "outputs": {}})
        folders.append(run)
    return folders


def test_the_table_has_a_row_a_model_and_share_and_agrees_with_the_summary(tmp_path: Path) -> None:
    whole = predictions_of({"usfmae": 2.0, "resnet18": 1.0}, CLASSES, seeds=(0, 1))
    less = predictions_of({"usfmae": 1.5, "resnet18": 0.1}, CLASSES, seeds=(0, 1))
    folders = write_runs(tmp_path, whole, 1.0, 16) + write_runs(tmp_path, less, 0.25, 4)
    table = label_efficiency(folders, classes=CLASSES, positive=None, primary="auc")
    assert list(table.columns) == COLUMNS
    assert list(zip(table["model"], table["fraction"], strict=True)) == [
        ("resnet18", 0.25),
        ("resnet18", 1.0),
        ("usfmae", 0.25),
        ("usfmae", 1.0),
    ]
    assert table["training_subjects"].tolist() == [5.5, 17.5, 5.5, 17.5], "the mean over folds"
    assert (table["n_folds"] == 4).all() and (table["n_seeds"] == 2).all(), "two seeds are not eight folds"
    for fraction, predictions in ((1.0, whole), (0.25, less)):
        summary = tables_of(predictions, fraction=fraction)["summary"]
        expected = summary.query("estimate == 'mean of folds' and metric == 'auc'").set_index("model")
        found = table[table["fraction"] == fraction].set_index("model")
        for column in ("value", "lower", "upper", "sd", "interval"):
            assert (found[column] == expected[column]).all(), column


def test_runs_that_do_not_match_at_one_share_are_refused(tmp_path: Path) -> None:
    folders = write_runs(tmp_path, predictions_of({"usfmae": 2.0, "resnet18": 1.0}, CLASSES), 0.5, 8)
    with pytest.raises(ValueError, match="give all models the same seeds and folds"):
        label_efficiency(folders[:-1], classes=CLASSES, positive=None, primary="auc")


def test_several_shares_are_trained_and_compared_by_one_target(tmp_path: Path) -> None:
    shares = ["--config", "study={fractions: [0.5, 1.0]}"]
    jobs = planned(snakemake(tmp_path, "label_efficiency", *shares, "-n", configfile=TINY))
    assert jobs["measure_label_efficiency"] == 4
    assert jobs["finetune_fold"] == 4 * 2 * 2 * 2, "tasks, models, folds, shares"


def test_one_share_alone_has_nothing_to_compare_and_says_so(tmp_path: Path) -> None:
    said = snakemake(tmp_path, "label_efficiency", configfile=TINY)
    assert "one share alone: there is nothing to compare" in said
    assert not list(tmp_path.glob("results/*"))
