"""A predictor of one fine-tuned fold: its weights, and what its validation and training frames say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from usfmae.corpus.readers import ReadOptions
from usfmae.deployment.distance import FeatureDistance
from usfmae.deployment.predictor import BATCH, ModelError, Predictor, forward, trained_network
from usfmae.evaluation.calibration import fit_temperature
from usfmae.evaluation.estimates import probability_columns, with_decisions
from usfmae.evaluation.predictions import read_predictions
from usfmae.evaluation.splits import subsample_subjects
from usfmae.progress import progress
from usfmae.settings import Settings
from usfmae.settings.datasets import Dataset
from usfmae.training.batches import FrameStore

#: Largest difference of a validation frame's probability from the run's own that is still rounding, by the
#: precision of the run. Another preprocessing or architecture goes beyond.
ROUNDING = {"float32": 0.002, "bfloat16": 0.05}


def predictor_of_run(run: Path, settings: Settings) -> Predictor:
    """The predictor of the run in the folder `run`, which ends in
    `results/finetune/<task>/<model>/<recipe>/fraction-<f>/seed-<s>/fold-<k>`.

    `settings` are those of the study that made it. Threshold and temperature come from the run's validation
    predictions, the feature statistics from its training frames, which must lie in `results/corpus`.
    Raises ModelError where the run is not whole or the settings are not its own.
    """
    run = run.absolute()
    try:
        fold, seed, fraction, recipe_name, model_name, task_name, stage, results = (run, *run.parents)[:8]
    except ValueError:
        raise ModelError(f"{run} is neither an export nor the folder of a fine-tuned fold") from None
    if stage.name != "finetune" or not (run / "model.safetensors").is_file():
        raise ModelError(f"{run} is neither an export nor the folder of a fine-tuned fold")
    if task_name.name not in settings.tasks or model_name.name not in settings.models:
        raise ModelError(
            f"the settings know no task {task_name.name!r} with a model {model_name.name!r}: name those of "
            "the study with --configfile"
        )
    task, model = settings.tasks[task_name.name], settings.models[model_name.name]
    recipe = settings.recipes.finetune.get(recipe_name.name)
    encoder, corpus = settings.encoder_of(model_name.name), settings.corpora[task.corpus]
    curated = [results / "corpus" / task.corpus / dataset for dataset in task.datasets]
    if absent := [folder for folder in curated if not (folder / "frames.npy").is_file()]:
        raise ModelError(
            f"{absent[0]} is not curated: a fold is used beside its corpus, elsewhere use an export"
        )
    store = FrameStore(curated)
    if (store.size, store.channels) != (corpus.size, corpus.channels):
        raise ModelError(
            f"the corpus {task.corpus} has frames of {store.size} px and {store.channels} channels, the "
            f"settings say {corpus.size} and {corpus.channels}: name the study's own with --configfile"
        )
    network = trained_network(run / "model.safetensors", model, encoder, corpus, len(task.classes))

    classes, columns = list(task.classes), probability_columns(list(task.classes))
    decided = with_decisions(read_predictions([run / "predictions.parquet"]), classes, task.positive)
    validation = decided[decided["role"] == "validation"]
    threshold = float(validation["threshold"].iloc[0])
    folds = pd.read_parquet(task_name / "folds.parquet")
    folds = folds[folds["fold"] == _number(fold)]
    train = subsample_subjects(folds, float(fraction.name.partition("-")[2]), _number(seed))
    train = train[train["role"] == "train"]

    def judged(frame_ids: pd.Series, role: str) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities `(n, classes)` and features `(n, D)`."""
        rows = store.rows(frame_ids)
        starts = progress(range(0, len(rows), BATCH), description=f"features of {role} frames", unit="batch")
        parts = [forward(network, store.gather(rows[start : start + BATCH])) for start in starts]
        return np.concatenate([p for p, _ in parts]), np.concatenate([f for _, f in parts])

    recomputed, features = judged(validation["frame_id"], "validation")
    difference = np.abs(recomputed - validation[columns].to_numpy()).max()
    if difference > ROUNDING[recipe.training.precision if recipe and recipe.training else "float32"]:
        raise ModelError(
            f"{run}: the model gives its validation frames other probabilities than the run did (by up to "
            f"{difference:.3f}): the corpus or the settings have changed since"
        )
    codes = {role: pd.Index(classes).get_indexer(t["label"]) for role, t in (("v", validation), ("t", train))}
    return Predictor(
        model=model,
        encoder=encoder,
        corpus=corpus,
        reading=_reading([settings.datasets[name] for name in task.datasets]),
        classes=classes,
        positive=task.positive,
        threshold=threshold if len(classes) == 2 else None,
        temperature=fit_temperature(validation[columns].to_numpy(np.float64), codes["v"]),
        distance=FeatureDistance.fit(judged(train["frame_id"], "training")[1], codes["t"], features),
        network=network,
    )


def _reading(datasets: list[Dataset]) -> ReadOptions:
    """How files of the task's datasets are read. Raises ModelError where they want different ways."""
    ways = [ReadOptions(volume=each.volume, array=each.array) for each in datasets]
    if any(way != ways[0] for way in ways):
        raise ModelError("the task's datasets read volumes or arrays in different ways: a new file has none")
    return ways[0]


def _number(folder: Path) -> int:
    """`fold-3` → 3."""
    return int(folder.name.partition("-")[2])
