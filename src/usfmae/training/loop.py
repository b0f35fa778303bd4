"""The training loop of pretraining and fine-tuning. Everything random in a step follows from
(seed, epoch, step), so an interrupted run continues as if nothing had happened."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import nn

from usfmae.progress import progress
from usfmae.settings.training import Training
from usfmae.training.checkpointing import Checkpoints, Progress, StopFlag, leave
from usfmae.training.gradients import gradients
from usfmae.training.processes import Processes, TrainingError
from usfmae.training.work import Work


class Stopped(Exception):
    """TERM has come to one of the processes; all of them leave the validation together."""


def fit(
    work: Work,
    training: Training,
    *,
    seed: int,
    description: str,
    at: Processes,
    checkpoints: Path | None = None,
    tell: Callable[[dict[str, Any]], None] = lambda _row: None,
) -> pd.DataFrame:
    """Trains `work.model` in place and returns the history, a row an epoch.

    With a `checkpoints` folder the state is saved there at most every `training.checkpoint_minutes` and
    at each TERM signal, and training continues from the newest one. `tell` gets each row of the history,
    those from before a resume first. Raises TrainingError where too many steps in a row are not finite, and
    SystemExit(75) after a TERM signal.
    """
    optimiser = _optimiser(work.model, training)
    schedule = _schedule(optimiser, training, work.steps)
    states = Checkpoints(checkpoints, work.model, optimiser, work.kept)
    done = states.restore()
    for row in done.history:
        tell(row)
    compiled: Any = torch.compile(work.model) if training.compile else work.model
    model = at.parallel(compiled)
    parameters = [p for p in work.model.parameters() if p.requires_grad]
    saved = began = time.monotonic()
    limit = training.clip or math.inf

    def save() -> None:
        nonlocal saved
        if at.first:
            states.save(done)
        saved = time.monotonic()

    with StopFlag() as stop:

        def pause() -> None:
            if at.total(bool(stop))[0]:
                raise Stopped

        epochs = range(done.epoch, training.epochs)
        for epoch in progress(epochs, description=description, unit="epoch") if at.first else epochs:
            if work.enough(epoch):
                break
            started, first_step = time.monotonic(), done.step
            work.model.train()
            work.waited()
            for step in range(done.step, work.steps):
                schedule.step_update(epoch * work.steps + step + 1)
                loss = gradients(model, work, training, at, seed=seed, epoch=epoch, step=step)
                norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
                loss, stopping = at.total(loss / at.count, bool(stop))
                if math.isfinite(loss) and math.isfinite(norm):  # both are the same in all processes
                    optimiser.step()
                    work.after_step(epoch * work.steps + step + 1)
                    done.losses, done.norms, done.in_a_row = done.losses + loss, done.norms + norm, 0
                else:
                    done.skipped, done.in_a_row = done.skipped + 1, done.in_a_row + 1
                done.step = step + 1
                if done.in_a_row >= training.stop_after_skipped:
                    raise TrainingError(
                        f"{description}: {done.in_a_row} steps in a row were not finite (loss {loss}, norm "
                        f"of the gradient {norm}; epoch {epoch}, step {step}). Lower "
                        "training.learning_rate, or set training.precision: float32. "
                        f"The last good state is in {checkpoints}"
                    )
                due = time.monotonic() - saved > 60 * training.checkpoint_minutes
                if stopping or (due and not done.in_a_row):
                    save()
                if stopping:
                    leave(description, done)
            seconds = time.monotonic() - started
            speed = (work.steps - first_step) * work.batch / seconds
            taken = work.steps - done.skipped
            row = {
                "epoch": epoch,
                "step": (epoch + 1) * work.steps,
                "learning_rate": max(group["lr"] for group in optimiser.param_groups),
                "train_loss": done.losses / taken if taken else math.nan,
                "gradient_norm": done.norms / taken if taken else math.nan,
                "skipped_steps": done.skipped,
                "images_per_second": speed,
                "waiting_share": work.waited() / seconds,
                "utilisation": speed * work.operations / (work.rate * at.count) if work.rate else math.nan,
                "memory_gb": memory_gb(at.device),
            }
            try:
                pause()
                row |= work.after_epoch(epoch, pause)
            except Stopped:
                save()
                leave(description, done)
            tell(row)
            done = Progress(epoch=epoch + 1, in_a_row=done.in_a_row, history=[*done.history, row])
            # What comes after the last epoch, another candidate of a search for one, may be interrupted too.
            last = epoch + 1 == training.epochs and time.monotonic() - began > 60
            due = time.monotonic() - saved > 60 * training.checkpoint_minutes or last
            if due and not done.in_a_row:
                save()
    return pd.DataFrame(done.history)


def autocast(training: Training, device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 matrix products where the recipe says so."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=training.precision == "bfloat16")


def memory_gb(device: torch.device) -> float:
    """Most memory held so far: the GPU's, or that of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _optimiser(model: nn.Module, training: Training) -> torch.optim.Optimizer:
    return create_optimizer_v2(
        model,
        opt="adamw",
        lr=training.peak_learning_rate,
        weight_decay=training.weight_decay,
        filter_bias_and_bn=not training.decay_all,
        layer_decay=training.layer_decay if training.layer_decay < 1 else None,
        betas=training.betas,
        fused=True,  # DenseNet-169 has 500 tensors: one call for all is a seventh faster, on a CPU too
    )


def _schedule(optimiser: torch.optim.Optimizer, training: Training, steps: int) -> CosineLRScheduler:
    """Linear warm-up from 0, then half a cosine down to the minimum; a pure function of the step."""
    total = training.epochs * steps
    warmup = int(training.warmup * total)
    return CosineLRScheduler(
        optimiser,
        t_initial=max(1, total - warmup),
        lr_min=training.minimum_learning_rate,
        warmup_t=warmup,
        warmup_prefix=True,
        t_in_epochs=False,
    )
