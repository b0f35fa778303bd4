"""Random changes of a whole batch on its device: crop, rotation and flip are ONE affine resampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from usfmae.settings.training import Augmentation
from usfmae.training.batches import to_float

#: How often torchvision's RandomResizedCrop draws before it takes the whole frame.
ATTEMPTS = 10
#: Frames that are changed at once on a CPU.
CACHED = 8


@dataclass(frozen=True)
class Changes:
    """What is done to each frame of a batch; drawn on the CPU, so that every device does the same."""

    affine: Tensor
    """`(n, 2, 3)` from output to input coordinates (both −1 to 1), for `affine_grid`."""
    gain: Tensor
    """`(n,)` factor on the brightness."""
    shift: Tensor
    """`(n,)` added to the brightness, which lies in 0 to 1."""

    def __getitem__(self, part: slice | Tensor) -> Changes:
        """The changes of some of the frames."""
        return Changes(self.affine[part], self.gain[part], self.shift[part])


def draw(n: int, settings: Augmentation) -> Changes:
    """Changes of `n` frames from torch's global generator: a step that seeds it repeats itself exactly."""
    affine = random_affine(n, settings)
    gain = 1 + settings.contrast * _symmetric(n)
    return Changes(affine, gain, settings.brightness * _symmetric(n))


def change(frames: Tensor, changes: Changes) -> Tensor:
    """float32 `(n, C, H, W)` in 0 to 1, from uint8 frames of the same shape.

    Outside the frame is black, as outside the insonified area.
    """
    if frames.device.type == "cpu" and len(frames) > CACHED:  # what a few frames need stays in the cache
        parts = [slice(start, start + CACHED) for start in range(0, len(frames), CACHED)]
        return torch.cat([change(frames[part], changes[part]) for part in parts])
    images = to_float(frames)
    affine, gain, shift = (
        part.to(images.device, non_blocking=True) for part in (changes.affine, changes.gain, changes.shift)
    )
    grid = sampling_grid(affine, *images.shape[2:])
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    inside = (images > 0).any(dim=1, keepdim=True)  # padding stays black
    return (images * gain.view(-1, 1, 1, 1) + inside * shift.view(-1, 1, 1, 1)).clamp_(0, 1)


def sampling_grid(affine: Tensor, height: int, width: int) -> Tensor:
    """`(n, height, width, 2)`: where each pixel is read, as `affine_grid` has it but for rounding. That one
    multiplies by 3 x 2 matrices, which on a CPU takes longer than the resampling itself."""
    grid = affine.new_empty(len(affine), height, width, 2)
    x, y = (_centres(n, affine.device) for n in (width, height))
    for axis in (0, 1):
        across = affine[:, axis, 0, None] * x  # (n, width)
        down = affine[:, axis, 1, None] * y + affine[:, axis, 2, None]  # (n, height)
        torch.add(across[:, None, :], down[:, :, None], out=grid[..., axis])
    return grid


def _centres(n: int, device: torch.device) -> Tensor:
    """`(n,)`: the middles of n pixels between −1 and 1."""
    return (2 * torch.arange(n, device=device) + 1) / n - 1


def augment(frames: Tensor, settings: Augmentation) -> Tensor:
    """`change` of uint8 frames by newly drawn changes."""
    return change(frames, draw(len(frames), settings))


def random_affine(n: int, settings: Augmentation) -> Tensor:
    """`(n, 2, 3)` matrices from output to input coordinates (both −1 to 1), for `affine_grid`.

    A crop of a random share of the area and ratio, inside the frame, rotated and flipped as the settings say.
    """
    width, height = _crop_sides(n, settings)
    x = (1 - width) * _symmetric(n)
    y = (1 - height) * _symmetric(n)
    low, high = (math.radians(degrees) for degrees in settings.rotation_degrees)
    angle = low + (high - low) * torch.rand(n)
    flip_x = 1 - 2 * (torch.rand(n) < settings.horizontal_flip).float()
    flip_y = 1 - 2 * (torch.rand(n) < settings.vertical_flip).float()
    cos, sin = angle.cos(), angle.sin()
    if settings.rotate_about == "frame":
        x, y = cos * x - sin * y, sin * x + cos * y
    first = torch.stack([cos * width * flip_x, -sin * height * flip_y, x], dim=1)
    second = torch.stack([sin * width * flip_x, cos * height * flip_y, y], dim=1)
    return torch.stack([first, second], dim=1)


def _crop_sides(n: int, settings: Augmentation) -> tuple[Tensor, Tensor]:
    """Width and height of `n` crops as shares of the frame's side, each `(n,)` and at most 1."""
    attempts = ATTEMPTS if settings.crop_overflow == "whole" else 1
    low, high = settings.crop_area
    area = low + (high - low) * torch.rand(n, attempts)
    log_low, log_high = (math.log(value) for value in settings.crop_ratio)
    ratio = torch.exp(log_low + (log_high - log_low) * torch.rand(n, attempts))
    width, height = (area * ratio).sqrt(), (area / ratio).sqrt()  # (n, attempts)
    if settings.crop_overflow == "clamp":
        return width[:, 0].clamp(max=1), height[:, 0].clamp(max=1)
    fits = (width <= 1) & (height <= 1)
    first = fits.int().argmax(dim=1, keepdim=True)  # 0 where none fits
    none = ~fits.any(dim=1)
    sides = (side.gather(1, first)[:, 0].masked_fill(none, 1) for side in (width, height))
    return next(sides), next(sides)


def _symmetric(n: int) -> Tensor:
    """`(n,)` uniform in −1 to 1."""
    return 2 * torch.rand(n) - 1
