"""Explains one trained fold of one model: chosen frames, Score-CAM maps, and how far they can be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from usfmae.evaluation.estimates import with_decisions
from usfmae.evaluation.predictions import read_predictions
from usfmae.explain.faithfulness import faithfulness_table, randomised
from usfmae.explain.scorecam import score_cam, target_layer
from usfmae.explain.selection import select
from usfmae.models.channels import MEAN, STD
from usfmae.models.checkpoints import load_weights
from usfmae.models.classifiers import build_classifier
from usfmae.record import Run, atomic, write_table
from usfmae.settings.models import Encoder, Model
from usfmae.settings.recipes import ExplainRecipe
from usfmae.settings.tasks import Task
from usfmae.training.batches import FrameStore, normalise, to_float


def explain(
    task: Task,
    model: Model,
    recipe: ExplainRecipe,
    *,
    wildcards: dict[str, Any],
    encoder: Encoder | None,
    corpus: Path,
    run: Path,
    seed: int,
    simulated: bool,
    out: Path,
) -> None:
    """Writes the maps, their frames and masks, the selection, `faithfulness.csv` and `run.json` into `out`.

    `run` is the folder of the fine-tuned fold. Explained are hold-out frames where the task has a
    hold-out, else the fold's test frames: never frames the model was trained or selected on.
    """
    record = Run("explain", out, wildcards=wildcards, parameters={"recipe": recipe.effective()})
    store = FrameStore([corpus / dataset for dataset in task.datasets])
    chosen = select(_explainable(run, task, store), recipe.frames_per_class, seed)
    rows = store.rows(chosen["frame_id"])
    frames = normalise(to_float(store.gather(rows)))  # (n, C, H, W)
    masks = _masks(corpus, store, rows)  # (n, H, W)
    targets = torch.tensor([list(task.classes).index(name) for name in chosen["target"]])

    classifier = build_classifier(
        model.model_copy(update={"weights": "scratch", "pretrain": None}),
        encoder,
        classes=len(task.classes),
        size=store.size,
        channels=store.channels,
    )
    classifier.load_state_dict(load_weights(run / "model.safetensors"))
    baseline = _baseline(recipe, store.channels)

    def maps_of(network: torch.nn.Module) -> np.ndarray:
        layer, tokens = target_layer(network, model.explain_layer)
        return score_cam(
            network.eval(),
            frames,
            targets,
            layer=layer,
            tokens=tokens,
            batch_size=recipe.batch_size,
            precision=recipe.precision,
            score=recipe.score,
            baseline=baseline,
        )

    @torch.inference_mode()
    def predict(images: torch.Tensor) -> torch.Tensor:
        return classifier.eval()(images).softmax(dim=1)

    maps = maps_of(classifier)
    faithfulness = faithfulness_table(
        predict,
        frames,
        maps,
        masks,
        targets,
        chosen["subject"].to_numpy(dtype=str),
        randomised_maps=maps_of(randomised(classifier, seed)),
        seed=seed,
        baseline=baseline,
    )
    _save(out / "maps.npy", maps)
    pictures = store.gather(rows)
    _save(
        out / "inputs.npy", (pictures[:, 0] if store.channels == 1 else pictures.permute(0, 2, 3, 1)).numpy()
    )
    _save(out / "masks.npy", masks)
    write_table(out / "selection.parquet", chosen)
    write_table(out / "faithfulness.csv", faithfulness)
    measured = faithfulness.dropna(subset="value")
    record.finish(
        metrics=dict(zip(measured["measure"].str.replace(" ", "_"), measured["value"], strict=True)),
        counts={"frames": len(chosen), "subjects": chosen["subject"].nunique()},
        inputs=[run / "model.safetensors", run / "predictions.parquet"],
        outputs=[out / name for name in ("maps.npy", "selection.parquet", "faithfulness.csv")],
        simulated=simulated,
    )


def _explainable(run: Path, task: Task, store: FrameStore) -> pd.DataFrame:
    """The run's hold-out rows, or its test rows, with `has_mask` and `predicted` by the threshold."""
    classes = list(task.classes)
    predictions = with_decisions(read_predictions([run / "predictions.parquet"]), classes, task.positive)
    predictions["predicted"] = np.array(classes, dtype=object)[predictions["predicted"]]
    role = "holdout" if (predictions["role"] == "holdout").any() else "test"
    predictions = predictions[predictions["role"] == role].reset_index(drop=True)
    has_mask = store.table["has_mask"].to_numpy()[store.rows(predictions["frame_id"])]
    return predictions.assign(has_mask=has_mask)


def _masks(corpus: Path, store: FrameStore, rows: np.ndarray) -> np.ndarray:
    """uint8 `(n, H, W)` of the frames at `rows`."""
    where = store.table.iloc[rows]
    arrays = {name: np.load(corpus / name / "masks.npy", mmap_mode="r") for name in where["dataset"].unique()}
    return np.stack([arrays[name][row] for name, row in zip(where["dataset"], where["row"], strict=True)])


def _baseline(recipe: ExplainRecipe, channels: int) -> torch.Tensor | float:
    """What a mask leaves, in normalised units: 0 is the mean, −mean / std is black."""
    if recipe.baseline == "mean":
        return 0.0
    return -(torch.tensor(MEAN[channels]) / torch.tensor(STD[channels])).view(-1, 1, 1)


def _save(path: Path, array: np.ndarray) -> None:
    with atomic(path) as temporary:
        np.save(temporary, array)
