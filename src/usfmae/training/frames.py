"""Which frames a pretraining learns from, and which it is validated on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from usfmae.settings.pretraining import Grid, PretrainRecipe
from usfmae.training.processes import TrainingError


def held_back_frames(recipe: PretrainRecipe, folds: Path | None) -> pd.Series | tuple[str, ...]:
    """Ids of the frames that test or hold out in the fold that the recipe leaves out."""
    if recipe.leave_out is None:
        return ()
    if folds is None:
        raise TrainingError(
            f"the recipe leaves out a fold of {recipe.leave_out.task}: give its folds.parquet"
        )
    table = pd.read_parquet(folds)
    held_back = (table["fold"] == recipe.leave_out.fold) & table["role"].isin(["test", "holdout"])
    if not held_back.any():
        raise TrainingError(f"{folds}: there is no fold {recipe.leave_out.fold}, which the recipe leaves out")
    return table.loc[held_back, "frame_id"]


def free_frames(
    groups: pd.DataFrame,
    left_out: list[str],
    held_back: pd.Series | tuple[str, ...] = (),
    without: list[str] | tuple[str, ...] = (),
) -> pd.DataFrame:
    """The rows of `groups` that may be learned from: a group that touches a dataset of `left_out` or a frame
    of `held_back` is left out whole; of the datasets in `without`, their own frames alone."""
    touches = groups["dataset"].isin(left_out) | groups["frame_id"].isin(held_back)
    touched = groups.loc[touches, "group"].unique()
    return groups[~groups["group"].isin(touched) & ~groups["dataset"].isin(without)]


def random_validation(free: pd.DataFrame, fraction: float, seed: int) -> tuple[pd.Series, pd.Series]:
    """(training frame ids, validation frame ids): a share of the groups validates, none where it is 0."""
    names = np.sort(free["group"].unique())
    np.random.default_rng(seed).shuffle(names)
    chosen = names[: max(1, round(fraction * len(names)))] if fraction else names[:0]
    validates = free["group"].isin(chosen)
    return free.loc[~validates, "frame_id"], free.loc[validates, "frame_id"]


def grid_fold(free: pd.DataFrame, grid: Grid, fold: int, seed: int) -> tuple[pd.Series, pd.Series]:
    """(training frame ids, validation frame ids) of one fold of the grid.

    By group: no group on two sides, each dataset spread over the folds in proportion. By frame: as USF-MAE's
    notebook does, scikit-learn's shuffled KFold over the frames, whatever they show.
    """
    from sklearn.model_selection import KFold, StratifiedGroupKFold

    if grid.by == "frame":
        splits = KFold(grid.folds, shuffle=True, random_state=seed).split(free)
    else:
        if free["group"].nunique() < grid.folds:
            raise TrainingError(
                f"{grid.folds} folds need as many groups, there are {free['group'].nunique()}"
            )
        whole = StratifiedGroupKFold(grid.folds, shuffle=True, random_state=seed)
        splits = whole.split(free, free["dataset"], free["group"])
    train, validation = list(splits)[fold]
    return free["frame_id"].iloc[train], free["frame_id"].iloc[validation]
