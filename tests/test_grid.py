"""The grid: the setting with the lowest mean validation loss is chosen, from whole settings alone."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from usfmae.record import write_json
from usfmae.settings.pretraining import Grid
from usfmae.training.grid import choose

GRID = Grid(learning_rate=[3e-4, 1e-3], weight_decay=[0.01, 0.05], folds=3)
NAMES = [
    "learning_rate-0.0003_weight_decay-0.01",
    "learning_rate-0.0003_weight_decay-0.05",
    "learning_rate-0.001_weight_decay-0.01",
    "learning_rate-0.001_weight_decay-0.05",
]


def chosen(folder: Path, losses: list[list[float]]) -> dict[str, float | str]:
    """What is chosen where the settings, in order, reached these validation losses on their folds."""
    assert list(GRID.settings()) == NAMES
    for name, of_folds in zip(NAMES, losses, strict=True):
        for fold, loss in enumerate(of_folds):
            record = {"metrics": {"train_loss": 0.1, "validation_loss": loss}}  # NaN is written as null
            write_json(folder / "grid" / name / f"fold-{fold}" / "run.json", record)
    choose(GRID, folder / "grid", folder / "grid.csv", folder / "grid.json")
    found: dict[str, float | str] = json.loads((folder / "grid.json").read_text(encoding="utf-8"))
    return found


def test_the_lowest_mean_over_the_folds_is_chosen(tmp_path: Path) -> None:
    # The second has the lowest single fold, the third the lowest mean.
    losses = [[0.5, 0.5, 0.5], [0.1, 0.6, 0.6], [0.4, 0.4, 0.4], [0.9, 0.4, 0.4]]
    assert chosen(tmp_path, losses) == {
        "setting": NAMES[2],
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
        "mean_validation_loss": pytest.approx(0.4),
    }


def test_the_table_has_a_row_a_setting_and_fold(tmp_path: Path) -> None:
    chosen(tmp_path, [[0.5, 0.6, 0.7], [0.1, 0.6, 0.6], [0.4, 0.4, math.nan], [0.9, 0.4, 0.4]])
    table = pd.read_csv(tmp_path / "grid.csv")
    columns = ["setting", "learning_rate", "weight_decay", "fold", "train_loss", "validation_loss"]
    assert list(table.columns) == columns
    assert table[["setting", "fold"]].values.tolist() == [[name, k] for name in NAMES for k in range(3)]
    assert table["validation_loss"].tolist()[:3] == [0.5, 0.6, 0.7]
    assert table["validation_loss"].isna().sum() == 1
    assert table["learning_rate"].tolist() == [3e-4] * 6 + [1e-3] * 6


def test_of_two_alike_the_first_is_chosen(tmp_path: Path) -> None:
    losses = [[0.5, 0.5, 0.5], [0.3, 0.3, 0.3], [0.9, 0.9, 0.9], [0.3, 0.3, 0.3]]
    assert chosen(tmp_path, losses)["setting"] == NAMES[1]


def test_a_setting_that_lacks_the_loss_of_a_fold_is_never_chosen(tmp_path: Path) -> None:
    """The mean of the other folds would look like the whole."""
    losses = [[0.5, 0.5, 0.5], [0.1, math.nan, 0.1], [0.4, 0.4, 0.4], [math.nan, math.nan, math.nan]]
    assert chosen(tmp_path, losses)["setting"] == NAMES[2]


def test_a_grid_without_any_whole_setting_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no setting of the grid has a validation loss on each of 3 folds"):
        chosen(tmp_path, [[math.nan, 0.5, 0.5]] * 4)
    assert not (tmp_path / "grid.json").exists() and not (tmp_path / "grid.csv").exists()
