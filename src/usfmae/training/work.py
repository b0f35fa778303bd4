"""What the training loop needs to know of a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from usfmae.training.checkpointing import Kept


@dataclass
class Work:
    """What the loop needs to know of a task: the loss of a step, and what to measure after an epoch."""

    model: nn.Module
    steps: int
    """Steps in an epoch."""
    batch: int
    """Frames in a step, over all processes."""
    loss: Callable[[nn.Module, int, int, int], Tensor]
    """(model, epoch, step, part) → mean loss of one part of this process's share of the batch; what it draws
    comes from torch's global generator, which is seeded before each step."""
    after_epoch: Callable[[int, Callable[[], None]], dict[str, float]]
    """(epoch, pause) → validation figures, which join the history. It calls `pause` after each batch, so that
    TERM is heard there too."""
    parts: int = 1
    """Parts of equal size that a process's share is taken through the network in."""
    split: Callable[[int], None] | None = None
    """(parts) → None: from the next loss on in so many parts; None: the batch is never split."""
    waited: Callable[[], float] = lambda: 0.0
    """Seconds since it was last asked that the device waited for frames."""
    after_step: Callable[[int], None] = lambda _steps: None
    """(steps since the start) → None, after each step that was not skipped."""
    enough: Callable[[int], bool] = lambda _epoch: False
    """(epoch that comes next) → whether to stop before it."""
    kept: Kept | None = None
    """What belongs to the state of the run beside the model: it is saved and restored with it."""
    operations: float = 0.0
    """Floating-point operations of a trained frame, forward and backward; 0: not counted."""
    rate: float = 0.0
    """Floating-point operations a second that the device reaches at best, measured; 0: not measured."""
