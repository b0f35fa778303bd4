"""What pretraining and fine-tuning share: random changes of frames, and the loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from usfmae.settings.base import NO_EFFECT, Strict
from usfmae.settings.models import Positive

Share = Annotated[float, Field(ge=0, le=1)]
Angle = Annotated[float, Field(ge=-180, le=180)]


class Augmentation(Strict):
    """Random changes of a training frame, drawn anew for each epoch. Crop, rotation, flip and scale are
    one affine resampling."""

    crop_area: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.6, 1.0)
    """Smallest and largest share of the frame's area that a random crop keeps."""
    crop_ratio: tuple[float, float] = (0.8, 1.25)
    """Smallest and largest width over height of the crop; drawn on a logarithmic scale."""
    crop_overflow: Literal["clamp", "whole"] = "clamp"
    """What becomes of a crop that is larger than the frame. `clamp`: its sides are cut to the frame's.
    `whole`: it is drawn again, ten times at most, and then the whole frame is taken (torchvision's rule)."""
    rotation_degrees: tuple[Angle, Angle] = (-10.0, 10.0)
    """Smallest and largest rotation, against the clock."""
    rotate_about: Literal["crop", "frame"] = "crop"
    """Turn the crop about its own centre, or the frame about its centre before it is cropped."""
    horizontal_flip: Share = 0.5
    vertical_flip: Share = 0.0
    """0 in ultrasound: the probe is at the top."""
    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.1
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _in_order(self) -> Augmentation:
        for name in ("crop_area", "crop_ratio", "rotation_degrees"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: the first number, {low}, must not be above the second, {high}")
        return self


class Training(Strict):
    """The loop, the same for pretraining and fine-tuning."""

    epochs: Positive
    batch_size: Positive
    """Frames in a step, over all processes: more GPUs make a step faster and change nothing else."""
    micro_batch_size: Positive | None = None
    """Frames that one process takes through the network at once; the gradients of a step are added up. By
    default its whole share of the batch."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Peak learning rate, after warm-up."""
    learning_rate_for: Positive | None = None
    """The batch size that the learning rate is scaled by, times this / 256 (Goyal et al., arXiv 1706.02677).
    By default the rate is taken as it is."""
    minimum_learning_rate: Annotated[float, Field(ge=0)] = 1e-6
    """At the end of the cosine."""
    warmup: Share = 0.1
    """Share of all steps in which the learning rate rises linearly from 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    decay_all: bool = False
    """Weight decay on biases, norms and tokens too."""
    betas: tuple[float, float] = (0.9, 0.999)
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor on the learning rate from each layer to the one below; 1 switches it off."""
    clip: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest global norm of the gradient."""
    precision: Literal["float32", "bfloat16"] = "float32"
    attention: Literal["fused", "plain"] = "fused"
    """PyTorch's scaled dot-product attention, or the matrices written out."""
    compile: bool = False
    """torch.compile: a minute to start with, then faster on a GPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    stop_after_skipped: Positive = 10
    """A step whose loss or gradient is not finite is skipped and counted; so many in a row stop the run."""
    on_out_of_memory: Annotated[Literal["halve", "stop"], NO_EFFECT] = "halve"
    """Where a batch does not fit into the GPU's memory. `halve`: it goes through the network in halves,
    quarters, …, whose gradients are added up, the same step to rounding; with batch norm, dropout or several
    processes, where it would be another, training stops. `stop`: it stops at once."""
    checkpoint_minutes: Annotated[float, Field(ge=0), NO_EFFECT] = 10.0
    """At most this much work is lost when a job is killed."""

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after warm-up."""
        scaled_by = 1.0 if self.learning_rate_for is None else self.learning_rate_for / 256
        return self.learning_rate * scaled_by
