"""Which frames are explained, and which of them are drawn: by rule, so that nobody picks the pretty ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

PREFIX = "probability_"
COLUMNS = ["frame_id", "subject", "label", "predicted", "target", "score", "outcome", "has_mask", "shown"]


def select(predictions: pd.DataFrame, n_per_class: int, seed: int) -> pd.DataFrame:
    """The frames to explain, as `selection.parquet` of docs/contracts.md.

    `predictions` has one row a frame: `frame_id, subject, label, has_mask`, a `probability_<class>` for
    each class and, where a threshold decides, `predicted`; without it the most probable class is predicted.

    Explained are `n_per_class` frames of each label (all, if there are fewer), drawn with `seed` whatever
    their outcome, so that means over them are fair. `target` is the predicted class. Shown of each label:
    the correct frame with the highest score, the correct one with the median score, and the wrong one with
    the highest score, as far as they exist. Ties go by `frame_id`; the order of the rows does not matter.

    Raises ValueError for a missing column or a frame that is there twice.
    """
    classes = [str(column).removeprefix(PREFIX) for column in predictions if str(column).startswith(PREFIX)]
    missing = {"frame_id", "subject", "label", "has_mask"} - set(predictions)
    if missing or not classes:
        raise ValueError(f"predictions lack the columns {sorted(missing) or PREFIX + '<class>'}")
    if predictions["frame_id"].duplicated().any():
        twice = predictions["frame_id"][predictions["frame_id"].duplicated()].iloc[0]
        raise ValueError(
            f"predictions hold frame {twice!r} more than once: pass the test rows, or the hold-out of one run"
        )

    frames = predictions.sort_values("frame_id").sample(frac=1, random_state=seed)
    frames = frames.groupby("label").head(n_per_class).reset_index(drop=True)
    probabilities = frames[[PREFIX + name for name in classes]].to_numpy()  # (n, classes)
    if "predicted" not in frames:
        frames["predicted"] = np.array(classes)[probabilities.argmax(axis=1)]
    frames["target"] = frames["predicted"]
    column = [classes.index(name) for name in frames["target"]]
    frames["score"] = probabilities[np.arange(len(frames)), column]
    frames["outcome"] = np.where(frames["predicted"] == frames["label"], "correct", "wrong")

    frames = frames.sort_values(
        ["label", "outcome", "score", "frame_id"], ascending=[True, True, False, True]
    )
    rank = frames.groupby(["label", "outcome"]).cumcount()  # 0 is the highest score
    middle = frames.groupby(["label", "outcome"])["score"].transform("size") // 2
    frames["shown"] = (rank == 0) | ((rank == middle) & (frames["outcome"] == "correct"))
    return frames[COLUMNS].reset_index(drop=True)
