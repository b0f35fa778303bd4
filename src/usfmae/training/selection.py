"""What is measured on the validation frames of a fold, and which epoch or candidate is kept by it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from usfmae.evaluation.metrics import compute
from usfmae.settings.tasks import Task

Floats = NDArray[np.float64]


def validation_figures(probabilities: Floats, validation: pd.DataFrame, task: Task) -> dict[str, float]:
    """`validation_loss`, the mean log loss, and `validation_score`, the task's primary metric.

    `probabilities` `(n, classes)` of the rows of `validation`, which has `label` and `target` (its number).
    """
    targets = validation["target"].to_numpy(dtype=np.int64)
    loss = float(-np.log(np.clip(probabilities[np.arange(len(targets)), targets], 1e-12, 1)).mean())
    labels = validation["label"].to_numpy()
    found = compute(labels, probabilities, list(task.classes), positive=task.positive)
    return {"validation_loss": loss, "validation_score": found[task.metric]}


def merit(figures: dict[str, float], selection: Literal["loss", "score"]) -> float:
    """What is kept has the most of it; of two alike, the first."""
    return figures["validation_score"] if selection == "score" else -figures["validation_loss"]


def class_weights(targets: NDArray[np.int64], classes: int) -> Floats:
    """`(classes,)`: n / (classes * frames of the class), for class numbers `(n,)`."""
    counts = np.bincount(targets, minlength=classes)
    weights: Floats = len(targets) / (classes * np.maximum(counts, 1))
    return weights
