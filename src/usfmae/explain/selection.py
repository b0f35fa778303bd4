"""Which frames are explained, and which of them are drawn: by rule, so that nobody picks the pretty ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

PREFIX = "probability_"
COLUMNS = ["frame_id", "subject", "label", "predicted", "target", "score", "probability_of_label"]
COLUMNS += ["threshold", "outcome", "cell", "has_mask", "shown"]


def select(
    predictions: pd.DataFrame, n_per_class: int, seed: int, positive: str | None = None
) -> pd.DataFrame:
    """The frames to explain, as `selection.parquet` of docs/contracts.md.

    `predictions` has one row a frame: `frame_id, subject, label, has_mask`, a `probability_<class>` for
    each class and, where a threshold decides, `predicted` and `threshold`; without them the most probable
    class is predicted. `positive` names the positive of two classes, and is not read with more.

    Explained are `n_per_class` frames of each label (all, if there are fewer), drawn with `seed` whatever
    their outcome, so that means over them are fair. `target` is the predicted class, `score` its probability.
    `cell` is that of the confusion matrix: with `positive` true and false positive and negative, else the
    outcome. Shown of each label: the correct frame with the highest score, the correct one with the median
    score, and the wrong one with the highest score, as far as they exist; of two classes these are two true
    and one false of either sign. Ties go by `frame_id`; the order of the rows does not matter.

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
    for name, of in (("score", "target"), ("probability_of_label", "label")):
        column = [classes.index(each) for each in frames[of]]
        frames[name] = probabilities[np.arange(len(frames)), column]
    frames["outcome"] = np.where(frames["predicted"] == frames["label"], "correct", "wrong")
    frames["cell"] = frames["outcome"]
    if positive is not None and len(classes) == 2:
        truth = np.where(frames["outcome"] == "correct", "true", "false")
        sign = np.where(frames["predicted"] == positive, "positive", "negative")
        frames["cell"] = [f"{a} {b}" for a, b in zip(truth, sign, strict=True)]
    if "threshold" not in frames:
        frames["threshold"] = np.nan

    frames = frames.sort_values(
        ["label", "outcome", "score", "frame_id"], ascending=[True, True, False, True]
    )
    rank = frames.groupby(["label", "outcome"]).cumcount()  # 0 is the highest score
    middle = frames.groupby(["label", "outcome"])["score"].transform("size") // 2
    frames["shown"] = (rank == 0) | ((rank == middle) & (frames["outcome"] == "correct"))
    return frames[COLUMNS].reset_index(drop=True)
