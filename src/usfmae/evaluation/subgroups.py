"""Results by subgroup: the frames of one device, hospital or sex, where a release names it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from usfmae.evaluation.comparison.validity import FEWEST_OF_CLASS, Size
from usfmae.evaluation.estimates import Estimate, estimates, with_decisions
from usfmae.evaluation.predictions import files_as_subjects, with_unknown_patients
from usfmae.evaluation.summaries import summarise_frames

NOT_TOLD = "not told"


def subgroup_table(
    predictions: pd.DataFrame,
    groups: pd.Series,
    *,
    classes: list[str],
    positive: str | None,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """`model, role, estimate, subgroup, metric, value, lower, upper, n_frames, n_subjects, note` and for
    each class `frames_<class>`.

    `predictions` as in `statistics_tables`; `groups` maps `frame_id` to a name, and a frame without one is
    `not told`. Thresholds are those of the whole validation part. A group without a frame of some class has
    no figures, and `note` says why. The classes' shares differ between groups, so precision and accuracy do
    too; no test compares the groups.
    """
    tables = []
    for estimate in estimates(with_decisions(predictions, classes, positive), classes, positive):
        if estimate.name == "averaged probability":
            continue
        named = groups.reindex(estimate.frame_ids).fillna(NOT_TOLD).to_numpy(str)  # (N,)
        for name in np.unique(named):
            tables.append(_of_group(estimate, named == name, resamples, seed).assign(subgroup=name))
    first = ["model", "role", "estimate", "subgroup", "metric", "value", "lower", "upper"]
    table = pd.concat(tables, ignore_index=True)
    if files_as_subjects(predictions):
        table = with_unknown_patients(table)
    return table[[*first, "n_frames", "n_subjects", *(f"frames_{name}" for name in classes), "note"]]


def _of_group(estimate: Estimate, inside: np.ndarray, resamples: int, seed: int) -> pd.DataFrame:
    """The metrics of the frames `inside (N,)`, with intervals over their own subjects."""
    part = replace(
        estimate,
        frame_ids=estimate.frame_ids[inside],
        labels=estimate.labels[inside],
        subjects=estimate.subjects[inside],
        groups=None if estimate.groups is None else estimate.groups[inside],
        folds=None if estimate.folds is None else estimate.folds[inside],
        probabilities=estimate.probabilities[:, inside],
        predicted=estimate.predicted[:, inside],
    )
    table, _ = summarise_frames(part, resamples, seed)
    counts = np.bincount(part.labels, minlength=len(part.classes))
    absent = [name for name, count in zip(part.classes, counts, strict=True) if count == 0]
    note = f"no frame of class {', '.join(absent)}: the metrics need each class" if absent else ""
    size = Size.of(part)
    if size.of_class < 2:  # of none, the note above says so
        table[["lower", "upper"]] = np.nan
        note = note or "one subject of a class: nothing says how its subjects differ"
    elif size.of_class < FEWEST_OF_CLASS:
        note = f"{size.of_class} subjects of the rarest class: intervals are too narrow"
    if not absent and table.set_index("metric")["value"].isna()["auc"]:
        note += "; no fold has frames of each class, so nothing is ranked"
    return table.assign(
        note=note, **{f"frames_{name}": count for name, count in zip(part.classes, counts, strict=True)}
    )
