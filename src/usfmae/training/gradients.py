"""The gradients of one step, in as many parts as the device's memory needs.

A batch that does not fit is taken through the network again in halves, whose gradients are added up: the
step is the same to rounding. Where it would not be the same (batch norm, dropout), training stops instead.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from usfmae.settings.training import Training
from usfmae.training.batches import step_seed
from usfmae.training.processes import Processes, TrainingError
from usfmae.training.work import Work


def gradients(
    model: nn.Module, work: Work, training: Training, at: Processes, *, seed: int, epoch: int, step: int
) -> float:
    """Leaves the gradients of a step in the model's parameters, and gives the step's loss.

    `model` is `work.model` as it is trained, compiled or in parallel. Where memory runs out, the step is
    begun anew in smaller parts, in which all later ones are taken too. Raises TrainingError where that is not
    possible or not asked for.
    """
    while True:
        torch.manual_seed(step_seed(seed, epoch, step))
        work.model.zero_grad(set_to_none=True)
        try:
            return sum(_backward(model, work, epoch, step))
        except torch.OutOfMemoryError as error:
            said = str(error).partition("\n")[0]
        # Out here the error is gone, and with it what it held of the step's memory.
        _take_smaller_parts(work, training, at, said)
        if at.device.type == "cuda":
            torch.cuda.empty_cache()


def _backward(model: nn.Module, work: Work, epoch: int, step: int) -> Iterator[float]:
    """Adds up the gradients of a step; gives what each part adds to its loss. The processes exchange their
    gradients once, at the last part."""
    for part in range(work.parts):
        last = part == work.parts - 1
        alone = isinstance(model, DistributedDataParallel) and not last
        with model.no_sync() if alone else nullcontext():  # type: ignore[operator]
            loss = work.loss(model, epoch, step, part) / work.parts
            loss.backward()
        yield float(loss.detach())


def _take_smaller_parts(work: Work, training: Training, at: Processes, said: str) -> None:
    """At least twice as many parts, of equal size. Raises TrainingError where the step cannot be split."""
    share = work.batch // at.count
    at_once = share // work.parts
    reason = _why_not(work, training, at, at_once)
    if reason:
        raise TrainingError(
            f"out of memory with {at_once} frames in the network at once ({said}); {reason}. Choose a "
            "smaller training.batch_size, training.precision: bfloat16, or a GPU with more memory"
        )
    assert work.split is not None
    work.parts = next(n for n in range(2 * work.parts, share + 1) if share % n == 0)
    work.split(work.parts)
    print(
        f"out of memory with {at_once} frames in the network at once: a batch now goes through in "
        f"{work.parts} parts, whose gradients are added up; to begin so, set training.micro_batch_size: "
        f"{share // work.parts}",
        file=sys.stderr,
    )


def _why_not(work: Work, training: Training, at: Processes, at_once: int) -> str:
    """Why a step cannot be taken in smaller parts; empty where it can."""
    if training.on_out_of_memory == "stop":
        return "the recipe says on_out_of_memory: stop"
    if at_once == 1:
        return "a single frame does not fit"
    if at.count > 1:
        return f"the {at.count} processes of this training would have to halve together, which they cannot"
    if work.split is None:
        return "this training knows no parts of a batch"
    if found := _mixes_frames(work.model):
        return f"with {found} halves of a batch would not give what the batch gives"
    return ""


def _mixes_frames(model: nn.Module) -> str:
    """The first kind of layer whose training depends on what else is in the network at once."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            return "batch norm"
        if isinstance(module, nn.Dropout) and module.p > 0:
            return "dropout"
        if getattr(module, "drop_prob", None):  # timm's DropPath, which draws by position in the batch
            return "stochastic depth"
    return ""
