"""The training loop of pretraining and fine-tuning. Everything random in a step follows from
(seed, epoch, step), so an interrupted run continues as if nothing had happened."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn

from usfmae.progress import progress
from usfmae.record import atomic
from usfmae.settings.recipes import Training
from usfmae.training.batches import step_seed

#: Exit code of a run that was asked to stop, has checkpointed, and should be started again (EX_TEMPFAIL).
STOPPED = 75


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to change."""


@dataclass
class Work:
    """What the loop needs to know of a task: the loss of one step, and what to measure after an epoch."""

    model: nn.Module
    steps: int
    """Steps in an epoch."""
    batch: int
    """Frames in a step."""
    step_loss: Callable[[int, int], Tensor]
    """(epoch, step) → loss; everything it draws comes from torch's global generator."""
    after_epoch: Callable[[int], dict[str, float]]
    """epoch → validation figures, which join the history."""


def fit(
    work: Work, training: Training, *, seed: int, description: str, checkpoints: Path | None = None
) -> pd.DataFrame:
    """Trains `work.model` in place and returns the history, a row an epoch.

    With a `checkpoints` folder the state is saved there at most every `training.checkpoint_minutes` and
    at each TERM signal, and training continues from the newest one. Raises TrainingError at a loss that
    is not finite, and SystemExit(75) after a TERM signal.
    """
    optimiser = create_optimizer_v2(
        work.model,
        opt="adamw",
        lr=training.learning_rate,
        weight_decay=training.weight_decay,
        layer_decay=training.layer_decay if training.layer_decay < 1 else None,
        betas=training.betas,
        fused=True,  # DenseNet-169 has 500 tensors: one call for all is a seventh faster, on a CPU too
    )
    schedule = _schedule(optimiser, training, work.steps)
    state = _Checkpoint(checkpoints, work.model, optimiser)
    history, epoch, first_step, running = state.restore()
    saved = time.monotonic()
    parameters = [p for p in work.model.parameters() if p.requires_grad]
    todo = range(epoch, training.epochs)
    with _StopFlag() as stop:
        for epoch in progress(todo, description=description, unit="epoch"):
            started, done = time.monotonic(), 0
            work.model.train()
            for step in range(first_step, work.steps):
                count = epoch * work.steps + step
                torch.manual_seed(step_seed(seed, epoch, step))
                schedule.step_update(count + 1)
                loss = work.step_loss(epoch, step)
                value = float(loss.detach())
                if not math.isfinite(value):
                    raise TrainingError(
                        f"{description}: the loss became {value} in epoch {epoch}, step {step}. Lower "
                        "training.learning_rate, or set training.precision: float32"
                    )
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                if training.clip is not None:
                    torch.nn.utils.clip_grad_norm_(parameters, training.clip)
                optimiser.step()
                running += value
                done += 1
                if stop or time.monotonic() - saved > 60 * training.checkpoint_minutes:
                    state.save(history, epoch, step + 1, running)
                    saved = time.monotonic()
                    stop.leave_if_set(description, epoch, step)
            seconds = time.monotonic() - started
            history.append(
                {
                    "epoch": epoch,
                    "step": (epoch + 1) * work.steps,
                    "learning_rate": max(group["lr"] for group in optimiser.param_groups),
                    "train_loss": running / work.steps,
                    **work.after_epoch(epoch),
                    "images_per_second": done * work.batch / seconds if done else 0.0,
                }
            )
            first_step, running = 0, 0.0
            if stop or time.monotonic() - saved > 60 * training.checkpoint_minutes:
                state.save(history, epoch + 1, 0, 0.0)
                saved = time.monotonic()
                stop.leave_if_set(description, epoch, work.steps)
    return pd.DataFrame(history)


def device_of(training: Training) -> torch.device:
    """The device that the recipe asks for. Raises TrainingError where there is none."""
    available = torch.cuda.is_available()
    if training.device == "cuda" and not available:
        raise TrainingError("the recipe says training.device: cuda, but torch sees no GPU here")
    return torch.device("cuda" if training.device != "cpu" and available else "cpu")


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def autocast(training: Training, device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 matrix products where the recipe says so."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=training.precision == "bfloat16")


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


class _StopFlag:
    """True once TERM has come inside its `with`; other threads than the main one cannot listen for it.

    The handler only sets the flag: saving inside a handler fails at random.
    """

    def __init__(self) -> None:
        self._set = False
        self._listens = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> _StopFlag:
        if self._listens:
            self._previous = signal.signal(signal.SIGTERM, self._on_term)
        return self

    def __exit__(self, *_: object) -> None:
        if self._listens:
            signal.signal(signal.SIGTERM, self._previous)

    def _on_term(self, _number: int, _frame: FrameType | None) -> None:
        self._set = True

    def __bool__(self) -> bool:
        return self._set

    def leave_if_set(self, description: str, epoch: int, step: int) -> None:
        if self._set:
            print(f"{description}: stopped by TERM after epoch {epoch}, step {step}", file=sys.stderr)
            raise SystemExit(STOPPED)


class _Checkpoint:
    """The newest two states of a run in a folder, each written whole; does nothing without a folder."""

    def __init__(self, folder: Path | None, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self.folder, self.model, self.optimiser = folder, model, optimiser

    def save(self, history: list[dict[str, float]], epoch: int, step: int, running: float) -> None:
        if self.folder is None:
            return
        state = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "history": history,
            "epoch": epoch,
            "step": step,
            "running": running,
        }
        with atomic(self.folder / f"{epoch:06d}-{step:08d}.pt") as temporary:
            torch.save(state, temporary)
        for old in self._newest_first()[2:]:
            old.unlink()

    def restore(self) -> tuple[list[dict[str, float]], int, int, float]:
        """(history, epoch, step, running loss) to go on from. A file cut short falls back to the one
        before it."""
        for path in self._newest_first():
            try:
                state = torch.load(path, weights_only=True, map_location="cpu")
            except Exception as error:  # torch raises many kinds for a file cut short
                print(
                    f"{path}: not a whole checkpoint ({type(error).__name__}), trying an older one",
                    file=sys.stderr,
                )
                continue
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            return state["history"], state["epoch"], state["step"], state["running"]
        return [], 0, 0, 0.0

    def _newest_first(self) -> list[Path]:
        if self.folder is None or not self.folder.is_dir():
            return []
        return sorted(self.folder.glob("[0-9]*.pt"), reverse=True)
