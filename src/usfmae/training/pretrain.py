"""Pretrains a masked autoencoder on a corpus."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from usfmae.corpus.curated import digest
from usfmae.finished import bring_back, keep
from usfmae.models.checkpoints import load_mae, save_weights
from usfmae.models.mae import MaskedAutoencoder, build_encoder, use_attention
from usfmae.record import Run, write_table
from usfmae.settings.models import Encoder
from usfmae.settings.pretraining import PretrainRecipe
from usfmae.tracking_live import live
from usfmae.training import diagnostics
from usfmae.training.augment import change, draw
from usfmae.training.batches import (
    Feeder,
    FrameStore,
    Place,
    normalise,
    step_seed,
    to_float,
    weighted_order,
    with_channels,
)
from usfmae.training.frames import free_frames, grid_fold, held_back_frames, random_validation
from usfmae.training.loop import Work, autocast, fit
from usfmae.training.processes import Processes, TrainingError, device_name, processes
from usfmae.training.reconstructions import SHOWN, Reconstructions
from usfmae.training.storage import open_frames

#: Validation frames whose embeddings are looked at for a collapse.
WATCHED = 256


@dataclass(frozen=True)
class Job:
    """One pretraining: which recipe on which frames, and where its products go."""

    name: str
    recipe: PretrainRecipe
    encoder: Encoder
    corpus: Path
    """Folder of the curated corpus."""
    datasets: list[str]
    evaluation_datasets: list[str]
    """Those of the datasets that are tested on."""
    simulated: bool
    out: Path
    checkpoints: Path
    """Side path of the unfinished run."""
    folds: Path | None = None
    """Table of the task in `recipe.leave_out`."""
    initial_weights: Path | None = None
    """File of the checkpoint in `recipe.initial_weights`."""
    grid_fold: int | None = None
    """The fold of the recipe's grid that validates; only history and record are kept then."""
    wildcards: dict[str, str] | None = None
    gpus: int = 0
    """GPUs on this node that the job asked its scheduler for."""


def pretrain(job: Job) -> None:
    """Writes `encoder.safetensors`, `mae.safetensors`, `history.parquet`, `reconstructions.npz` and
    `run.json` into `job.out`; of a fold of the grid, the history and the record alone.

    Frames of `evaluation_datasets`, and frames in one group with any of them, are left out unless the
    recipe includes them; so are those that `folds` holds back. An interrupted run continues from
    `checkpoints`, where at the end second names of the outputs alone stay (`finished`). Raises TrainingError
    where too few frames are left, or the fold to leave out is not there, and SystemExit(75) after a TERM
    signal.
    """
    recipe = job.recipe
    parameters = recipe.effective() | {"encoder": job.encoder.effective(), "encoder_name": recipe.encoder}
    run = Run("pretrain", job.out, wildcards=job.wildcards or {"recipe": job.name}, parameters=parameters)
    folders = [job.corpus / dataset for dataset in job.datasets]
    train, validation, excluded = _frames(job)
    if len(train) < recipe.training.batch_size:
        raise TrainingError(
            f"pretraining {job.name}: {len(train)} training and {len(validation)} validation frames are "
            f"left, a batch needs {recipe.training.batch_size}; {excluded} frames are left out because they "
            "belong to evaluation sets"
        )
    groups = job.corpus / "groups.parquet"
    given = [path for path in (job.folds, job.initial_weights) if path is not None]
    inputs = [groups, *given, *(folder / "frames.npy" for folder in folders)]
    checkpoints = job.checkpoints / _identity(parameters, [train, validation], inputs)
    if bring_back(checkpoints, job.out, first=os.environ.get("RANK", "0") == "0"):
        return
    with (
        processes(recipe.training, job.gpus) as at,
        open_frames(folders, recipe.storage, at.device) as store,
        live(run, at.first) as tell,
    ):
        trainer = _Pretraining(job, store, at, train, validation, checkpoints)
        history = fit(
            trainer.work(),
            recipe.training,
            seed=recipe.seed,
            description=f"pretraining {job.name}",
            at=at,
            checkpoints=checkpoints,
            tell=tell,
        )
        if not at.first:
            return
        outputs = [job.out / "history.parquet"]
        write_table(outputs[0], history)
        if job.grid_fold is None:
            outputs += [job.out / "encoder.safetensors", job.out / "mae.safetensors"]
            save_weights(outputs[1], trainer.model.encoder.state_dict())
            save_weights(outputs[2], trainer.model.state_dict())
            trainer.reconstructions.save(job.out / "reconstructions.npz")
    counts = {"train": len(train), "validation": len(validation), "left_out": excluded}
    run.finish(
        metrics=history.iloc[-1][["train_loss", "validation_loss"]].to_dict(),
        counts=counts | {"processes": at.count},
        inputs=inputs,
        outputs=outputs,
        simulated=job.simulated,
        device=device_name(at.device),
    )
    keep(checkpoints, [*outputs, *job.out.glob("reconstructions.npz"), job.out / "run.json"])


def _frames(job: Job) -> tuple[pd.Series, pd.Series, int]:
    """(training frame ids, validation frame ids, number of frames left out)."""
    recipe, groups = job.recipe, pd.read_parquet(job.corpus / "groups.parquet")
    left_out = job.evaluation_datasets if recipe.evaluation_frames == "exclude" else []
    held_back = held_back_frames(recipe, job.folds)
    free = free_frames(groups, left_out, held_back, recipe.leave_out_datasets)
    excluded = len(groups) - len(free)
    if job.grid_fold is not None and recipe.grid is not None:
        return *grid_fold(free, recipe.grid, job.grid_fold, recipe.seed), excluded
    return *random_validation(free, recipe.validation_fraction, recipe.seed), excluded


def _identity(parameters: dict[str, Any], frames: list[pd.Series], inputs: list[Path]) -> str:
    """Names the checkpoints of this recipe on these frames, so that no changed run continues an old one."""
    chosen = [hashlib.sha256("\n".join(part).encode()).hexdigest() for part in frames]
    content = json.dumps([parameters, chosen, [digest(path) for path in inputs]], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


class _Pretraining:
    """The model, the loss of a step and what is measured after an epoch."""

    def __init__(
        self, job: Job, store: FrameStore, at: Processes, train: pd.Series, validation: pd.Series, side: Path
    ) -> None:
        self.job, self.recipe, self.store, self.at = job, job.recipe, store, at
        self.train, self.validation = store.rows(train), store.rows(validation)
        self.datasets = store.dataset_of(self.train)
        self.ordered = (-1, np.empty(0, dtype=np.int64))
        training = self.recipe.training
        self.batch, self.steps = training.batch_size, len(self.train) // training.batch_size
        self.share = at.share(self.batch)
        size = self.share.stop - self.share.start
        self.part_size = min(training.micro_batch_size or size, size)
        if size % self.part_size:
            raise TrainingError(
                f"training.micro_batch_size {self.part_size} does not divide {size}, a process's batch"
            )
        self.channels = self.recipe.channels or store.channels
        self.model = build_autoencoder(self.recipe, job.encoder, store.size, self.channels)
        if job.initial_weights is not None:
            load_mae(self.model, job.initial_weights)
        self.model.to(at.device)
        use_attention(self.model, training.attention)
        self.feeder = Feeder(self._gather, self._following, at.device)
        shown = self.validation if len(self.validation) else self.train
        self.watched = shown[np.linspace(0, len(shown) - 1, min(WATCHED, len(shown))).astype(int)]
        fixed = shown[np.linspace(0, len(shown) - 1, min(SHOWN, len(shown))).astype(int)]
        noise = self._fixed_noise(len(fixed), 0).to(at.device)
        self.reconstructions = Reconstructions(self._ready(fixed), noise, side / "panels", training.epochs)

    def work(self) -> Work:
        model, precision = self.model, self.recipe.training.precision
        return Work(
            model=model,
            steps=self.steps,
            batch=self.batch,
            loss=self.loss,
            after_epoch=self.after_epoch,
            parts=(self.share.stop - self.share.start) // self.part_size,
            split=self.split,
            waited=self.feeder.waited,
            operations=diagnostics.operations(model),
            rate=diagnostics.matmul_rate(self.at.device, precision),
        )

    def split(self, parts: int) -> None:
        self.part_size = (self.share.stop - self.share.start) // parts
        self.feeder.forget()

    def loss(self, model: nn.Module, epoch: int, step: int, part: int) -> Tensor:
        """Mean loss of one part. What is random is drawn for the whole batch and then cut, so that neither
        the number of processes nor that of parts changes what happens to a frame."""
        torch.manual_seed(step_seed(self.recipe.seed, epoch, step))
        here = self._part(part)
        changes = draw(self.batch, self.recipe.augmentation)[here]
        noise = torch.rand(self.batch, self.model.encoder.patch_embed.num_patches)[here]  # (part, L)
        images = change(self.feeder((epoch, step, part)), changes)
        frames = normalise(with_channels(images, self.channels))
        with autocast(self.recipe.training, self.at.device):
            loss: Tensor = model(frames, noise.to(self.at.device, non_blocking=True))[0]
        return loss

    def after_epoch(self, epoch: int, pause: Callable[[], None]) -> dict[str, float]:
        """Validation loss, and whether the embeddings of different frames still differ."""
        self.model.eval()
        figures = {"validation_loss": self._validation_loss(pause)}
        batches = (self.watched[start : start + 32] for start in range(0, len(self.watched), 32))
        embeddings = torch.cat([diagnostics.embed(self.model, self._ready(rows)) for rows in batches])
        rank, wide = diagnostics.effective_rank(embeddings), diagnostics.spread(embeddings)
        if self.at.first:
            self.reconstructions.show(self.model, epoch)
            if warning := diagnostics.collapse_warning(rank, wide):
                print(f"pretraining {self.job.name}, epoch {epoch}: {warning}", file=sys.stderr)
        return figures | {"embedding_rank": rank, "embedding_spread": wide}

    @torch.inference_mode()
    def _validation_loss(self, pause: Callable[[], None]) -> float:
        """Mean masked loss over frames without augmentation, with the same masks at every epoch."""
        total, size = 0.0, self.batch
        for number, start in enumerate(range(0, len(self.validation), size)):
            rows = self.validation[start : start + size]
            noise = self._fixed_noise(len(rows), number)
            mine = np.array_split(np.arange(len(rows)), self.at.count)[self.at.rank]
            for part in (mine[i : i + self.part_size] for i in range(0, len(mine), self.part_size)):
                with autocast(self.recipe.training, self.at.device):
                    loss = self.model(self._ready(rows[part]), noise[part].to(self.at.device))[0]
                total += float(loss) * len(part)
            pause()
        return self.at.total(total)[0] / len(self.validation) if len(self.validation) else math.nan

    def _part(self, part: int) -> slice:
        start = self.share.start + part * self.part_size
        return slice(start, start + self.part_size)

    def _gather(self, place: Place) -> Tensor:
        epoch, step, part = place
        rows = self._order(epoch)[step * self.batch : (step + 1) * self.batch][self._part(part)]
        return self.store.gather(self.train[rows])

    def _order(self, epoch: int) -> np.ndarray:
        """`(n,)`: the epoch's training frames, drawn once an epoch."""
        if self.ordered[0] != epoch:
            temperature, seed = self.recipe.dataset_temperature, self.recipe.seed
            self.ordered = epoch, weighted_order(self.datasets, temperature, seed, epoch)
        return self.ordered[1]

    def _following(self, place: Place) -> Place | None:
        epoch, step, part = place
        parts = (self.share.stop - self.share.start) // self.part_size
        number = (epoch * self.steps + step) * parts + part + 1
        step, part = divmod(number, parts)
        epoch, step = divmod(step, self.steps)
        return (epoch, step, part) if epoch < self.recipe.training.epochs else None

    def _ready(self, rows: np.ndarray) -> Tensor:
        """Whole frames as the model takes them."""
        images = to_float(self.store.gather(rows).to(self.at.device))
        return normalise(with_channels(images, self.channels))

    def _fixed_noise(self, n: int, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(step_seed(self.recipe.seed, 0, number))
        return torch.rand(n, self.model.encoder.patch_embed.num_patches, generator=generator)


def build_autoencoder(
    recipe: PretrainRecipe, encoder: Encoder, size: int, channels: int
) -> MaskedAutoencoder:
    """The recipe's masked autoencoder with random weights, which follow from its seed."""
    torch.manual_seed(recipe.seed)
    epsilon = recipe.layer_norm_epsilon
    return MaskedAutoencoder(
        build_encoder(size=size, channels=channels, layer_norm_epsilon=epsilon, **encoder.model_dump()),
        decoder_width=recipe.decoder_width,
        decoder_depth=recipe.decoder_depth,
        decoder_heads=recipe.decoder_heads,
        mask_ratio=recipe.mask_ratio,
        normalise_patches=recipe.normalise_patches,
        layer_norm_epsilon=epsilon,
    )
