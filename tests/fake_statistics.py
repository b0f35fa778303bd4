"""Tables of a made-up study: with fewer labels, by device, without the lesion."""

from __future__ import annotations

import numpy as np
import pandas as pd

from usfmae.evaluation.label_efficiency import COLUMNS
from usfmae.evaluation.subgroups import subgroup_table
from usfmae.settings.tasks import Task


def fewer_labels(summary: pd.DataFrame) -> pd.DataFrame:
    """`label_efficiency.csv`: a little worse at a quarter of the subjects."""
    found = summary[(summary["estimate"] == "mean of folds") & (summary["metric"] == "auc")]
    less = found.assign(**{key: found[key] - 0.1 for key in ("value", "lower", "upper")})
    shares = {0.25: less.assign(training_subjects=4.25), 1.0: found.assign(training_subjects=16.0)}
    return pd.concat([table.assign(fraction=share) for share, table in shares.items()])[COLUMNS]


def by_device(predictions: pd.DataFrame, task: Task) -> pd.DataFrame:
    """`subgroups.csv` of two devices, in turn."""
    ids = predictions["frame_id"].drop_duplicates()
    devices = pd.Series(np.where(np.arange(len(ids)) // 4 % 2, "GE <new>", "Philips"), index=ids)
    return subgroup_table(
        predictions,
        devices,
        classes=list(task.classes),
        positive=task.positive,
        resamples=100,
        seed=0,
    )


def no_lesion(summary: pd.DataFrame) -> pd.DataFrame:
    """`shortcuts.csv`: chance without the lesion; the last model keeps no network."""
    found = summary[(summary["estimate"] == "pooled") & (summary["metric"] == "auc")].assign(note=np.nan)
    last = found["model"].iloc[-1]
    found = found[found["model"] != last]
    gone = found.assign(value=0.52, lower=0.41, upper=0.63, shown="without the lesion")
    untested = pd.DataFrame([{"model": last, "note": "not tested: knn keeps no network"}])
    return pd.concat([found.assign(shown="whole frame"), gone, untested])
