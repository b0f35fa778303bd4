"""Trains a classifier on labelled frames, or on cached tokens, and keeps its best epoch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from timm.data import Mixup
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from usfmae.settings.recipes import FinetuneRecipe
from usfmae.settings.tasks import Task
from usfmae.settings.training import Augmentation
from usfmae.training.augment import augment
from usfmae.training.batches import FrameStore, epoch_order, normalise, to_float, weighted_order
from usfmae.training.loop import Work, autocast
from usfmae.training.processes import TrainingError
from usfmae.training.selection import class_weights, merit, validation_figures


class Inputs(Protocol):
    """What a network is trained on."""

    def rows(self, frame_ids: pd.Series) -> np.ndarray:
        """Positions `(n,)` of frames."""

    def for_training(self, rows: np.ndarray, device: torch.device) -> Tensor:
        """The inputs at these positions, changed at random where that is the recipe's."""

    def as_they_are(self, rows: np.ndarray, device: torch.device) -> Tensor:
        """The inputs at these positions."""


class Frames:
    """Curated frames: float32 `(n, C, H, W)`, normalised."""

    def __init__(self, store: FrameStore, augmentation: Augmentation) -> None:
        self.store, self.augmentation = store, augmentation

    def rows(self, frame_ids: pd.Series) -> np.ndarray:
        return self.store.rows(frame_ids)

    def for_training(self, rows: np.ndarray, device: torch.device) -> Tensor:
        return normalise(augment(self.store.gather(rows).to(device), self.augmentation))

    def as_they_are(self, rows: np.ndarray, device: torch.device) -> Tensor:
        return normalise(to_float(self.store.gather(rows).to(device)))


class Trainer:
    """The loss of a step and the validation of an epoch; remembers the best epoch's weights."""

    def __init__(
        self,
        model: nn.Module,
        inputs: Inputs,
        table: pd.DataFrame,
        task: Task,
        recipe: FinetuneRecipe,
        seed: int,
        device: torch.device,
    ) -> None:
        """`table` has `frame_id, role, label, target`, the number of the label. Raises TrainingError where it
        has no training or no validation frame."""
        assert recipe.training is not None
        self.model, self.inputs, self.task, self.recipe = model, inputs, task, recipe
        self.training, self.seed, self.device = recipe.training, seed, device
        train = table[table["role"] == "train"]
        self.validation = table[table["role"] == "validation"]
        if train.empty or self.validation.empty:
            raise TrainingError(
                f"{len(train)} training and {len(self.validation)} validation frames: need both"
            )
        self.rows, self.targets = inputs.rows(train["frame_id"]), train["target"].to_numpy(dtype=np.int64)
        self.batch = min(self.training.batch_size, len(self.rows))
        self.mixes = bool(recipe.mixup or recipe.cutmix)
        if self.mixes:
            self.batch -= self.batch % 2
        at_once = self.training.micro_batch_size or self.batch
        divisors = (n for n in range(1, self.batch + 1) if self.batch % n == 0)
        self.parts = next(n for n in divisors if self.batch // n <= at_once)
        self.whole: tuple[Tensor, Tensor] | None = None
        self.class_weights = None
        if recipe.class_weights:
            weights = class_weights(self.targets, len(task.classes))
            self.class_weights = torch.tensor(weights, dtype=torch.float32, device=device)
        self.ema = ModelEmaV3(model, decay=recipe.ema, use_warmup=True) if recipe.ema else None
        self.best, self.best_epoch, self.best_state = -np.inf, 0, copy.deepcopy(model.state_dict())

    @property
    def predicting(self) -> nn.Module:
        """The network that validates, predicts and is kept: the running mean of the weights, if any."""
        return self.ema.module if self.ema else self.model

    def work(self) -> Work:
        steps = max(1, len(self.rows) // self.batch)
        return Work(
            self.model,
            steps,
            self.batch,
            self.loss,
            self.after_epoch,
            parts=self.parts,
            split=self.split,
            after_step=self.after_step,
            enough=self.enough,
            kept=self,
        )

    def split(self, parts: int) -> None:
        self.parts, self.whole = parts, None

    def loss(self, model: nn.Module, epoch: int, step: int, part: int) -> Tensor:
        """Mean loss of one part. What is random in the inputs is drawn for the whole batch, at its first
        part, so that a frame is changed and mixed as it is without parts."""
        if part == 0:
            self.whole = self._batch(epoch, step)
        assert self.whole is not None
        size = self.batch // self.parts
        inputs, targets = (of_all[part * size : (part + 1) * size] for of_all in self.whole)
        with autocast(self.training, self.device):
            logits = model(inputs)
        loss = F.cross_entropy(
            logits.float(), targets, weight=self.class_weights, label_smoothing=self.recipe.label_smoothing
        )
        if self.parts > 1 and self.class_weights is not None and targets.ndim == 1:
            # PyTorch's mean is over the weights of the classes at hand: of a part, then, not of the batch.
            weights = self.class_weights[self.whole[1]]
            loss = loss * self.parts * self.class_weights[targets].sum() / weights.sum()
        return loss

    def _batch(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """A step's inputs and targets, changed and mixed."""
        chosen = self._order(epoch)[step * self.batch : (step + 1) * self.batch]
        targets = torch.from_numpy(self.targets[chosen]).to(self.device)
        with autocast(self.training, self.device):
            inputs = self.inputs.for_training(self.rows[chosen], self.device)
            if self.mixes:
                inputs, targets = mix(inputs, targets, self.recipe, len(self.task.classes))
        return inputs, targets

    def after_step(self, steps: int) -> None:
        if self.ema:
            self.ema.update(self.model, steps)

    def after_epoch(self, epoch: int, pause: Callable[[], None]) -> dict[str, float]:
        figures = validation_figures(self.predict(self.validation, pause), self.validation, self.task)
        found = merit(figures, self.recipe.selection)
        if found > self.best:
            self.best, self.best_epoch = found, epoch
            self.best_state = copy.deepcopy(self.predicting.state_dict())
        return figures

    def enough(self, epoch: int) -> bool:
        """Whether no epoch since the best was better for as long as the recipe waits; `epoch` comes next."""
        patience = self.recipe.early_stopping
        return patience is not None and epoch - 1 - self.best_epoch >= patience

    def state_dict(self) -> dict[str, Any]:
        """What an interrupted run needs beside the weights that are trained."""
        ema = {"ema": self.ema.state_dict()} if self.ema else {}
        return {"best": self.best, "best_epoch": self.best_epoch, "best_state": self.best_state, **ema}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch, self.best_state = (
            state[key] for key in ("best", "best_epoch", "best_state")
        )
        if self.ema:
            self.ema.load_state_dict(state["ema"])

    @torch.inference_mode()
    def predict(self, table: pd.DataFrame, pause: Callable[[], None] = lambda: None) -> np.ndarray:
        """Probabilities `(n, classes)` of frames without augmentation; `pause` is called after each batch."""
        network = self.predicting.eval()
        rows = self.inputs.rows(table["frame_id"])
        parts = []
        for start in range(0, len(rows), 128):
            inputs = self.inputs.as_they_are(rows[start : start + 128], self.device)
            with autocast(self.training, self.device):
                logits = network(inputs)
            parts.append(logits.float().softmax(dim=1).cpu().numpy())
            pause()
        return np.concatenate(parts).astype(np.float64)

    def predict_best(self, table: pd.DataFrame) -> np.ndarray:
        """`predict` by the best epoch's weights, which the network then has."""
        self.predicting.load_state_dict(self.best_state)
        return self.predict(table)

    def _order(self, epoch: int) -> np.ndarray:
        """`(n,)`: the epoch's training frames; depends on (seed, epoch) alone."""
        if self.recipe.sampling == "balanced":  # no frame comes again before each of its class has come
            return weighted_order(self.targets, 0, self.seed, epoch)
        return epoch_order(len(self.rows), self.seed, epoch)


def mix(frames: Tensor, targets: Tensor, recipe: FinetuneRecipe, classes: int) -> tuple[Tensor, Tensor]:
    """Frames `(n, C, H, W)`, which may change in place, and targets `(n, classes)` that sum to 1.

    `targets` `(n,)` are class numbers and n is even. One share is drawn for the batch; frame i is mixed with
    frame n - 1 - i. What timm draws comes from NumPy's global generator: it is seeded from torch's, which the
    loop seeds in each step.
    """
    np.random.seed(int(torch.randint(2**31, ())))  # noqa: NPY002
    mixup = Mixup(recipe.mixup, recipe.cutmix, label_smoothing=0.0, num_classes=classes)
    mixed: tuple[Tensor, Tensor] = mixup(frames, targets)
    return mixed
