"""Folds as a release gives them: its test folds, its hold-out, or its training, validation and test part."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from usfmae.evaluation.splits import (
    HOLDOUT,
    SplitError,
    assert_disjoint,
    checked,
    draw_test_folds,
    first_names,
    refuse,
    with_roles,
)
from usfmae.settings.tasks import OfficialSplit

_TRAIN = -2  # stands where the test fold of a frame would stand that no fold tests


@dataclass(frozen=True)
class OfficialFolds:
    """The table of `grouped_folds`, and what the official split does to the groups."""

    table: pd.DataFrame
    leaks: int
    """Groups that stand in two official parts of the table."""
    left_out: int
    """Frames that are not in the table, because the official split cuts their group (`tied: drop`)."""


def official_folds(frames: pd.DataFrame, split: OfficialSplit) -> OfficialFolds:
    """Takes folds, hold-out or parts from the release. Validation is drawn by group, unless it is a part too.

    `frames` has the columns of `grouped_folds` and `official_fold`, `official_split`. With `test_split` the
    official parts are one fold. Else the values of `official_fold`, in sorted order, become folds 0, 1, …,
    and frames of `holdout_split` the hold-out; a release without folds gets grouped ones outside the
    hold-out.

    A group that stands in two official parts is a `SplitError`; with `leaks: reported` it is counted, and
    with `tied: drop` its frames are left out of all parts. A validation part that is drawn never shares a
    group with the training part. Raises `SplitError` where the release has no such parts or folds too.
    """
    frames = checked(frames)
    frames = frames.assign(part=_parts(frames, split))
    parts = frames.groupby("group")["part"].nunique()
    cut = list(parts.index[parts > 1])
    left_out = 0
    if split.tied == "drop":
        tied = frames["group"].isin(cut)
        frames, left_out, cut = checked(frames[~tied]), int(tied.sum()), []
    elif cut and split.leaks == "refused":
        raise SplitError(
            f"the official split cuts {len(cut)} groups of one subject or of duplicates: {first_names(cut)}; "
            "set `leaks: reported` to run it with the count beside each result, `tied: drop` to leave "
            "their frames out, or use grouped folds"
        )
    validation = frames["part"].eq("validation") if split.validation_split is not None else None
    table = with_roles(frames, _test_folds(frames, split), split.validation, split.seed, validation)
    if not cut:
        assert_disjoint(table)
    elif validation is None:
        assert_disjoint(table[table["role"].isin(["train", "validation"])])
    return OfficialFolds(table, len(cut), left_out)


def _parts(frames: pd.DataFrame, split: OfficialSplit) -> pd.Series:
    """The official part of each frame: `train`, `validation`, `test`, `holdout`, or `fold <its number>`."""
    names = frames["official_split"]
    wanted = {
        split.test_split: "test",
        split.validation_split: "validation",
        split.holdout_split: "holdout",
    }
    wanted.pop(None, None)
    for name in wanted:
        if not names.eq(name).any():
            known = ", ".join(sorted(map(str, names.dropna().unique()))) or "none"
            raise SplitError(f"no frame has the official split {name!r}; the release has: {known}")
    part = names.map(wanted).astype(object)
    remedy = "drop them, or use grouped folds"
    if split.test_split is not None:
        refuse(frames["frame_id"], names.isna(), "frames have no official split", remedy)
    elif frames.loc[part.isna(), "official_fold"].notna().any():
        part = part.fillna(frames["official_fold"].map("fold {}".format, na_action="ignore").astype(object))
        refuse(frames["frame_id"], part.isna(), "frames have no official fold", remedy)
    elif split.holdout_split is None:
        raise SplitError(
            "the release names neither folds nor the hold-out split; set the task's split to grouped"
        )
    else:
        refuse(frames["frame_id"], names.isna(), "frames have no official split", remedy)
    return part.fillna("train")


def _test_folds(frames: pd.DataFrame, split: OfficialSplit) -> pd.Series:
    """The number of the fold that tests each frame, as `draw_test_folds` gives it: int64 `(N,)`."""
    part = frames["part"]
    if split.test_split is not None:
        return part.eq("test").map({True: 0, False: _TRAIN}).astype("int64")
    holdout = part.eq("holdout")
    if part[~holdout].eq("train").all():
        return draw_test_folds(frames, holdout, split.folds, split.seed)
    # Shorter first, so that fold "10" follows fold "9".
    names = sorted(part[~holdout].unique(), key=lambda name: (len(name), name))
    return part.map({"holdout": HOLDOUT} | {name: fold for fold, name in enumerate(names)}).astype("int64")
