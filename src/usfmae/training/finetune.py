"""Fine-tunes one model on one fold of one task."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from usfmae.evaluation.estimates import probability_columns, with_decisions
from usfmae.evaluation.metrics import compute
from usfmae.evaluation.splits import assert_disjoint, subsample_subjects
from usfmae.models.checkpoints import save_weights
from usfmae.models.classifiers import build_classifier
from usfmae.record import Run, write_table
from usfmae.settings.models import Encoder, Model
from usfmae.settings.recipes import FinetuneRecipe
from usfmae.settings.tasks import Task
from usfmae.training.augment import augment
from usfmae.training.batches import FrameStore, epoch_order, normalise, to_float
from usfmae.training.loop import Work, autocast, fit
from usfmae.training.processes import TrainingError, device_name, processes


def finetune(
    task: Task,
    model: Model,
    recipe: FinetuneRecipe,
    *,
    wildcards: dict[str, Any],
    encoder: Encoder | None,
    corpus: Path,
    folds: Path,
    weights: Path | None,
    simulated: bool,
    out: Path,
) -> None:
    """Writes `predictions.parquet`, `history.parquet`, `model.safetensors` and `run.json` into `out`.

    `wildcards` are task, model, recipe, fraction, seed and fold. The epoch kept is the best on the
    validation frames; test and hold-out frames are looked at once, at the end. Raises SplitError where a
    group stands on two sides, TrainingError where a loss is not finite.
    """
    parameters = {"model": model.effective(), "recipe": recipe.effective(), "task": task.effective()}
    run = Run("finetune", out, wildcards=wildcards, parameters=parameters)
    seed, fold = int(wildcards["seed"]), int(wildcards["fold"])
    table = pd.read_parquet(folds)
    table = table[table["fold"] == fold].reset_index(drop=True)
    if getattr(task.split, "leaks", "refused") == "refused":
        assert_disjoint(table)
    table = subsample_subjects(table, float(wildcards["fraction"]), seed)
    table = table.assign(target=table["label"].map({c: i for i, c in enumerate(task.classes)}))
    store = FrameStore([corpus / dataset for dataset in task.datasets])
    with processes(recipe.training) as at:
        device = at.device
    torch.manual_seed(seed)
    classifier = build_classifier(  # type: ignore[call-overload]
        model,
        encoder,
        classes=len(task.classes),
        size=store.size,
        channels=store.channels,
        drop_path=recipe.drop_path,
        weights=weights,
    ).to(device, memory_format=torch.channels_last)  # a fifth faster for DenseNet on a CPU
    if recipe.freeze:
        freeze(classifier)
    trainer = _Trainer(classifier, store, table, task, recipe, seed, device)
    description = f"fine-tuning {model.title}, fold {fold}"
    history = fit(trainer.work(), recipe.training, seed=seed, description=description, at=at)
    classifier.load_state_dict(trainer.best_state)
    scored = table[table["role"] != "train"]
    probabilities = trainer.predict(scored)
    predictions = scored[["frame_id", "subject", "group", "role", "label"]].assign(
        **{f"probability_{name}": probabilities[:, i] for i, name in enumerate(task.classes)}
    )
    write_table(out / "predictions.parquet", predictions)
    write_table(out / "history.parquet", history)
    save_weights(out / "model.safetensors", classifier.state_dict())
    roles = table["role"].value_counts().to_dict()
    subjects = table.groupby("role")["subject"].nunique().add_prefix("subjects_").to_dict()
    run.finish(
        metrics={"best_epoch": trainer.best_epoch, **_final_metrics(predictions, task)},
        counts={**roles, **subjects},
        inputs=[folds, *([weights] if weights else [])],
        outputs=[out / name for name in ("predictions.parquet", "history.parquet", "model.safetensors")],
        simulated=simulated,
        device=device_name(device),
    )


def freeze(classifier: nn.Module) -> None:
    """Lets the classifier's head learn, and the norm of the pooled tokens before it, and nothing else.

    Raises TrainingError where the classifier has no head that timm names.
    """
    heads = [getattr(classifier, name, None) for name in ("fc_norm", "head", "fc", "classifier")]
    classifier.requires_grad_(False)
    for head in filter(None, heads):
        head.requires_grad_(True)
    if not any(parameter.requires_grad for parameter in classifier.parameters()):
        raise TrainingError(f"{type(classifier).__name__}: no head was found to train on frozen weights")


def _final_metrics(predictions: pd.DataFrame, task: Task) -> dict[str, float]:
    """`test_auc`, `holdout_f1_macro`, … at frame level, with the threshold that the statistics use: of two
    classes, the one with the highest Youden index on the validation rows."""
    classes = list(task.classes)
    decided = with_decisions(predictions.assign(model="", seed=0, fold=0), classes, task.positive)
    metrics: dict[str, float] = {}
    for role, rows in decided.groupby("role"):
        probabilities = rows[probability_columns(classes)].to_numpy()
        threshold = float(rows["threshold"].iloc[0])
        found = compute(rows["label"].to_numpy(), probabilities, classes, task.positive, threshold)
        metrics |= {f"{role}_{name}": value for name, value in found.items()}
    return metrics


class _Trainer:
    """The loss of a step and the validation of an epoch; remembers the best epoch's weights."""

    def __init__(
        self,
        model: nn.Module,
        store: FrameStore,
        table: pd.DataFrame,
        task: Task,
        recipe: FinetuneRecipe,
        seed: int,
        device: torch.device,
    ) -> None:
        self.model, self.store, self.task, self.recipe = model, store, task, recipe
        self.seed, self.device = seed, device
        train = table[table["role"] == "train"]
        self.validation = table[table["role"] == "validation"]
        if train.empty or self.validation.empty:
            raise TrainingError(
                f"{len(train)} training and {len(self.validation)} validation frames: need both"
            )
        self.rows, self.targets = store.rows(train["frame_id"]), train["target"].to_numpy(dtype=np.int64)
        self.batch = min(recipe.training.batch_size, len(self.rows))
        self.class_weights = None
        if recipe.class_weights:
            counts = np.bincount(self.targets, minlength=len(task.classes))
            weights = len(self.targets) / (len(counts) * np.maximum(counts, 1))
            self.class_weights = torch.tensor(weights, dtype=torch.float32, device=device)
        self.best, self.best_epoch, self.best_state = -np.inf, 0, copy.deepcopy(model.state_dict())

    def work(self) -> Work:
        steps = max(1, len(self.rows) // self.batch)
        return Work(self.model, steps, self.batch, self.loss, self.after_epoch)

    def loss(self, model: nn.Module, epoch: int, step: int, _part: int) -> torch.Tensor:
        order = epoch_order(len(self.rows), self.seed, epoch)
        chosen = order[step * self.batch : (step + 1) * self.batch]
        frames = self.store.gather(self.rows[chosen]).to(self.device)
        targets = torch.from_numpy(self.targets[chosen]).to(self.device)
        model.train(not self.recipe.freeze)  # what is frozen drops no path and moves no mean
        with autocast(self.recipe.training, self.device):
            logits = model(normalise(augment(frames, self.recipe.augmentation)))
        return F.cross_entropy(
            logits.float(), targets, weight=self.class_weights, label_smoothing=self.recipe.label_smoothing
        )

    def after_epoch(self, epoch: int, _pause: Callable[[], None]) -> dict[str, float]:
        probabilities = self.predict(self.validation)
        targets = self.validation["target"].to_numpy(dtype=np.int64)
        loss = float(-np.log(np.clip(probabilities[np.arange(len(targets)), targets], 1e-12, 1)).mean())
        classes = list(self.task.classes)
        found = compute(
            self.validation["label"].to_numpy(), probabilities, classes, positive=self.task.positive
        )
        score = found[self.task.metric]
        merit = score if self.recipe.selection == "score" else -loss
        if merit > self.best:
            self.best, self.best_epoch = merit, epoch
            self.best_state = copy.deepcopy(self.model.state_dict())
        return {"validation_loss": loss, "validation_score": score}

    @torch.inference_mode()
    def predict(self, table: pd.DataFrame) -> np.ndarray:
        """Probabilities `(n, classes)` of frames without augmentation."""
        self.model.eval()
        rows = self.store.rows(table["frame_id"])
        parts = []
        for start in range(0, len(rows), 128):
            frames = normalise(to_float(self.store.gather(rows[start : start + 128]).to(self.device)))
            with autocast(self.recipe.training, self.device):
                logits = self.model(frames)
            parts.append(logits.float().softmax(dim=1).cpu().numpy())
        return np.concatenate(parts).astype(np.float64)
