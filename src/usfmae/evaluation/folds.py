"""From a task's entry and its corpus to `folds.parquet`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from usfmae.evaluation.official import official_folds
from usfmae.evaluation.splits import SplitError, grouped_folds
from usfmae.record import write_json, write_table
from usfmae.settings.tasks import OfficialSplit, Task


def split_task(name: str, task: Task, *, corpus: Path, out: Path) -> None:
    """Writes `folds.parquet` and `folds.json` into `out`; see docs/contracts.md.

    Frames without a usable label are left out and counted. Raises SplitError where a class has no frame
    or the split cannot be made.
    """
    frames, unlabelled = labelled_frames(task, corpus)
    unread = count_unread(task, corpus)
    absent = [label for label in task.classes if label not in set(frames["label"])]
    if absent:
        raise SplitError(f"task {name}: no frame of class {', '.join(absent)} in {', '.join(task.datasets)}")
    leaks = left_out = 0
    if isinstance(task.split, OfficialSplit):
        official = official_folds(frames, task.split)
        folds, leaks, left_out = official.table, official.leaks, official.left_out
    else:
        folds = grouped_folds(
            frames,
            folds=task.split.folds,
            validation_fraction=task.split.validation,
            holdout_fraction=task.split.holdout,
            seed=task.split.seed,
        )
    made = int(folds["fold"].nunique())
    if made != task.split.folds:
        raise SplitError(
            f"task {name}: the release has {made} folds, but split.folds says {task.split.folds}"
        )
    write_table(out / "folds.parquet", folds)
    used = folds.drop_duplicates("frame_id")
    print(_summary(name, task.split.folds, used, unlabelled, unread, leaks, left_out), flush=True)
    counts = used.groupby("label").agg(frames=("frame_id", "size"), subjects=("subject", "nunique"))
    write_json(
        out / "folds.json",
        {
            "classes": list(task.classes),
            "counts": counts.to_dict(orient="index"),
            "unlabelled": unlabelled,
            "unread": unread,
            "leaks": leaks,
            "left_out": left_out,
            "roles": folds.groupby(["fold", "role"]).size().unstack(fill_value=0).to_dict(orient="index"),
        },
    )


def _summary(
    name: str, folds: int, used: pd.DataFrame, unlabelled: int, unread: int, leaks: int, left_out: int
) -> str:
    """One line for the log."""
    frames, subjects = len(used), used["subject"].nunique()
    line = f"task {name}: {frames} frames of {subjects} subjects, folds: {folds}"
    for count, what in (
        (unlabelled, "frames without a usable label"),
        (unread, "labelled frames that curation did not keep (missing, unreadable, blank)"),
        (leaks, "groups cut by the official split"),
        (left_out, "frames left out, because the official split cuts their group"),
    ):
        line += f"; {count} {what}" if count else ""
    return line


def count_unread(task: Task, corpus: Path) -> int:
    """Frames that the releases label with one of the task's classes, and that curation did not keep."""
    labels = [label for of_class in task.classes.values() for label in of_class]
    columns = ["label", "drop_reason"]
    tables = [pd.read_parquet(corpus / name / "frames.parquet", columns=columns) for name in task.datasets]
    return sum(int((t["drop_reason"].notna() & t["label"].isin(labels)).sum()) for t in tables)


def labelled_frames(task: Task, corpus: Path) -> tuple[pd.DataFrame, int]:
    """(the task's labelled frames with their groups, number of kept frames without a usable label).

    Of each set of identical images under one subject all stay: they are in one group and on one side.
    """
    kept = []
    for dataset in task.datasets:
        table = pd.read_parquet(corpus / dataset / "frames.parquet")
        kept.append(table[table["drop_reason"].isna()])
    frames = pd.concat(kept, ignore_index=True)
    to_class = {label: name for name, labels in task.classes.items() for label in labels}
    frames["label"] = frames["label"].map(to_class, na_action="ignore").astype(object)
    frames["label"] = frames["label"].replace({np.nan: None})
    groups = pd.read_parquet(corpus / "groups.parquet")[["frame_id", "group"]]
    frames = frames.merge(groups, on="frame_id", how="left", validate="one_to_one")
    usable = frames["label"].notna()
    columns = ["frame_id", "subject", "group", "label", "official_fold", "official_split"]
    return frames.loc[usable, columns].reset_index(drop=True), int((~usable).sum())
