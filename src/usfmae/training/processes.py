"""The processes of one training: alone, or several started by `torchrun`, each with its device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from usfmae.settings.training import Training

#: How long a process waits for the others before it gives up, in minutes.
PATIENCE = 30


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why and what to change."""


@dataclass(frozen=True)
class Processes:
    """This process among those of the training."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """The part of a batch that falls to this process. Raises TrainingError where it cannot be equal."""
        if batch % self.count:
            raise TrainingError(
                f"training.batch_size {batch} cannot be shared equally by {self.count} processes: choose "
                "a multiple"
            )
        size = batch // self.count
        return slice(self.rank * size, (self.rank + 1) * size)

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model as it is trained: with several processes, its gradients are their mean."""
        if self.count == 1:
            return model
        return DistributedDataParallel(
            model,
            device_ids=[self.device.index] if self.device.type == "cuda" else None,
            broadcast_buffers=False,  # the positions are the same everywhere
            gradient_as_bucket_view=True,
        )

    def total(self, *values: float) -> list[float]:
        """The sum of each value over all processes, the same number everywhere."""
        if self.count == 1:
            return list(values)
        together = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(together)
        return [float(value) for value in together.tolist()]


@contextmanager
def processes(training: Training, gpus: int = 0) -> Iterator[Processes]:
    """The processes that `torchrun` started, or this one alone.

    `gpus` is the number that the job asked its scheduler for on this node; 0: it asked for none. Raises
    TrainingError where the recipe's device is not there, or another number of GPUs is visible.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    if training.device != "cpu":
        check_gpus(gpus)
    available = torch.cuda.is_available()
    if training.device == "cuda" and not available:
        raise TrainingError("the recipe says training.device: cuda, but torch sees no GPU here")
    on_gpu = training.device != "cpu" and available
    device = torch.device("cuda", local) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    if count == 1:
        yield Processes(device)
        return
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(minutes=PATIENCE))
    try:
        yield Processes(device, rank, count)
    finally:
        dist.destroy_process_group()


def check_gpus(asked: int) -> None:
    """Raises TrainingError where CUDA_VISIBLE_DEVICES, or torch, does not show the GPUs asked for."""
    if not asked:
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    shown = len([name for name in (visible or "").split(",") if name.strip()])
    if visible is not None and shown != asked:
        raise TrainingError(
            f"the job asked for {asked} GPUs, but CUDA_VISIBLE_DEVICES={visible!r} holds {shown}"
        )
    seen = torch.cuda.device_count()
    if seen != asked:
        raise TrainingError(
            f"the job asked for {asked} GPUs, but torch sees {seen}; training.device: cpu needs none"
        )


def device_name(device: torch.device) -> str:
    """As its maker calls it, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
