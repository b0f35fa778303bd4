"""What trained models can do without the lesion: they judge frames from which it, or all tissue, is taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from usfmae.corpus.curated import read_corpus, read_rows
from usfmae.corpus.curation.annotations import corrected_mask
from usfmae.evaluation.estimates import estimates, probability_columns, with_decisions
from usfmae.evaluation.metrics import predict
from usfmae.evaluation.predictions import files_as_subjects, read_predictions, with_unknown_patients
from usfmae.evaluation.summaries import summarise_frames
from usfmae.models.checkpoints import load_weights
from usfmae.models.classifiers import build_classifier
from usfmae.progress import progress
from usfmae.settings.models import Encoder, Model
from usfmae.settings.tasks import Task
from usfmae.training.batches import normalise, to_float

COLUMNS = ["model", "shown", "metric", "value", "lower", "upper", "n_frames", "n_subjects", "note"]

_MARGIN = 0.1  # of the lesion's height and width, on each side: its edge and halo go with it
_BORDER = 0.1  # of the frame's height and width, on each side
_BATCH = 64


def without_lesion(frames: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Frames whose lesion's bounding box, a little enlarged, is one grey: the mean of all that stays.

    `frames` uint8 `(N, H, W)` or `(N, H, W, 3)`, `masks` `(N, H, W)`, 0 where there is no lesion. A box and
    not the mask itself, because an outline alone can tell the class (Bissoto et al. 2019, arXiv 1904.08818,
    take both away, and train on what is left); its size and place still tell something.
    A frame without a mask stays as it is.
    """
    return _kept(frames, ~_boxes(masks))


def border_and_text(frames: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Frames of which only a border and burnt-in strokes stay, both outside the lesion's box.

    The border is a tenth on each side; the rest is one grey, the mean of what stays. Shapes as in
    `without_lesion`. Strokes are found as the curation finds them; a corpus with `cleaning` has few left.
    """
    height, width = masks.shape[1:]
    border = np.ones((height, width), dtype=bool)
    top, left = (max(1, round(_BORDER * side)) for side in (height, width))
    border[top:-top, left:-left] = False
    strokes = np.stack([corrected_mask(np.ascontiguousarray(frame)) > 0 for frame in frames])  # (N, H, W)
    return _kept(frames, (border | strokes) & ~_boxes(masks))


#: What is shown to the models, beside the whole frame.
CHANGES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "without the lesion": without_lesion,
    "border and text only": border_and_text,
}


def shortcuts(
    name: str,
    task: Task,
    model: Model,
    encoder: Encoder | None,
    *,
    corpus: Path,
    runs: list[Path],
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """All metrics of the model `name` on whole and changed frames: rows with `COLUMNS`.

    `runs` are the folders of the folds of one seed. Each fold's model judges the frames of its test part that
    have a mask; its threshold stays. A class of which no frame has a mask leaves one row, and `note` says so.
    """
    classes, columns = list(task.classes), probability_columns(list(task.classes))
    curated, _ = read_corpus([corpus / dataset for dataset in task.datasets])
    curated = curated[curated["has_mask"]].set_index("frame_id")[["dataset", "row"]]
    decided = with_decisions(
        read_predictions([run / "predictions.parquet" for run in runs]), classes, task.positive
    )
    decided = decided[decided["role"] == "test"].join(curated, on="frame_id", how="inner")
    absent = [label for label in classes if label not in set(decided["label"])]
    if absent:
        note = f"no test frame of class {', '.join(absent)} has a mask"
        return pd.DataFrame([{"model": name, "note": note}], columns=COLUMNS)
    changed: dict[str, list[pd.DataFrame]] = {shown: [] for shown in CHANGES}
    for run in progress(runs, description=f"{name} without the lesion", unit="fold"):
        rows = decided[decided["fold"] == int(run.name.removeprefix("fold-"))]
        if rows.empty:  # no frame of this fold has a mask
            continue
        network = _network(run / "model.safetensors", model, encoder, len(classes), corpus / task.datasets[0])
        frames, masks = (read_rows(corpus, rows, file) for file in ("frames.npy", "masks.npy"))
        for shown, change in CHANGES.items():
            probabilities = _probabilities(network, change(frames, masks))
            predicted = predict(probabilities, classes, task.positive, rows["threshold"].to_numpy())
            told = dict(zip(columns, probabilities.T, strict=True))
            changed[shown].append(rows.assign(predicted=predicted, **told))
    tables = []
    for shown, judged in {"whole frame": [decided], **changed}.items():
        (estimate,) = estimates(pd.concat(judged), classes, task.positive)
        table, _ = summarise_frames(estimate, resamples, seed)
        tables.append(table.assign(shown=shown, note=""))
    found = pd.concat(tables, ignore_index=True)[COLUMNS]
    return with_unknown_patients(found) if files_as_subjects(decided) else found


def _boxes(masks: np.ndarray) -> np.ndarray:
    """bool `(N, H, W)`: the bounding box of each mask with its margin."""
    boxes = np.zeros(masks.shape, dtype=bool)
    for box, mask in zip(boxes, masks, strict=True):
        spans = []
        for axis in (1, 0):
            found = np.flatnonzero(mask.any(axis=axis))
            if len(found):
                margin = max(1, round(_MARGIN * (found[-1] + 1 - found[0])))
                spans.append(slice(max(0, found[0] - margin), found[-1] + 1 + margin))
        if spans:
            box[tuple(spans)] = True
    return boxes


def _kept(frames: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Frames with each pixel outside `keep (N, H, W)` at the mean of those inside; 0 where none is."""
    changed = frames.copy()
    for frame, stays in zip(changed, keep, strict=True):
        frame[~stays] = np.round(frame[stays].mean(axis=0)) if stays.any() else 0
    return changed


def _network(
    weights: Path, model: Model, encoder: Encoder | None, classes: int, dataset: Path
) -> torch.nn.Module:
    """The trained classifier of one fold; frames are as large as those of `dataset`."""
    shape = np.load(dataset / "frames.npy", mmap_mode="r").shape
    network = build_classifier(
        model.model_copy(update={"weights": "scratch", "pretrain": None, "checkpoint": None}),
        encoder,
        classes=classes,
        size=shape[1],
        channels=3 if len(shape) == 4 else 1,
    )
    network.load_state_dict(load_weights(weights))
    return network.eval().to("cuda" if torch.cuda.is_available() else "cpu")


@torch.inference_mode()
def _probabilities(network: torch.nn.Module, frames: np.ndarray) -> np.ndarray:
    """float64 `(n, classes)` for uint8 frames `(n, H, W)` or `(n, H, W, 3)`."""
    stacked = torch.from_numpy(frames)
    stacked = stacked[:, None] if frames.ndim == 3 else stacked.permute(0, 3, 1, 2)  # (n, C, H, W)
    device = next(network.parameters()).device
    parts = [
        network(normalise(to_float(batch.to(device)))).float().softmax(dim=1)
        for batch in stacked.split(_BATCH)
    ]
    return torch.cat(parts).double().cpu().numpy()
