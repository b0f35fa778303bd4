"""The grid of a pretraining recipe: what each setting reached on each fold, and which one is best."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from usfmae.record import write_json, write_table
from usfmae.settings.pretraining import Grid


def choose(grid: Grid, folder: Path, table: Path, chosen: Path) -> None:
    """Writes `table`, a row a setting and fold, and `chosen`, the setting whose validation loss, averaged
    over the folds, is the lowest; of two alike the first.

    `folder` holds the records, `<setting>/fold-<k>/run.json`. Raises ValueError where no setting has a loss.
    """
    rows = []
    for name, setting in grid.settings().items():
        for fold in range(grid.folds):
            record = json.loads((folder / name / f"fold-{fold}" / "run.json").read_text(encoding="utf-8"))
            losses = {key: record["metrics"][key] for key in ("train_loss", "validation_loss")}
            rows.append({"setting": name, **setting, "fold": fold, **losses})
    found = pd.DataFrame(rows).astype({"validation_loss": float, "train_loss": float})
    losses_of = found.groupby("setting", sort=False)["validation_loss"]
    means = losses_of.mean().where(losses_of.count() == grid.folds)
    if means.isna().all():
        raise ValueError(
            f"{folder}: no setting of the grid has a validation loss on each of {grid.folds} folds"
        )
    best = str(means.idxmin())
    write_table(table, found)
    write_json(chosen, {"setting": best, **grid.settings()[best], "mean_validation_loss": means[best]})
