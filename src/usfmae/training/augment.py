"""Random changes of a whole batch on its device: crop, rotation and flip are ONE affine resampling."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from usfmae.settings.recipes import Augmentation
from usfmae.training.batches import to_float


def augment(frames: Tensor, settings: Augmentation) -> Tensor:
    """float32 `(n, C, H, W)` in 0 to 1, from uint8 frames of the same shape.

    Draws from torch's global generator, so a step that seeds it repeats itself exactly. Outside the
    frame is black, as outside the insonified area.
    """
    n = len(frames)
    images = to_float(frames)
    theta = random_affine(n, settings).to(images.device)  # (n, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if settings.contrast or settings.brightness:
        gain = 1 + settings.contrast * _symmetric(n).to(images.device)
        shift = settings.brightness * _symmetric(n).to(images.device)
        inside = images.amax(dim=1, keepdim=True) > 0  # padding stays black
        images = torch.where(inside, images * gain.view(n, 1, 1, 1) + shift.view(n, 1, 1, 1), images)
    return images.clamp(0, 1)


def random_affine(n: int, settings: Augmentation) -> Tensor:
    """`(n, 2, 3)` matrices from output to input coordinates (both −1 to 1), for `affine_grid`.

    A crop of a random share of the area and ratio, inside the frame; rotated about its own centre;
    flipped.
    """
    low, high = settings.crop_area
    area = low + (high - low) * torch.rand(n)
    log_low, log_high = (math.log(value) for value in settings.crop_ratio)
    ratio = torch.exp(log_low + (log_high - log_low) * torch.rand(n))
    width = (area * ratio).sqrt().clamp(max=1.0)
    height = (area / ratio).sqrt().clamp(max=1.0)
    x = (1 - width) * _symmetric(n)
    y = (1 - height) * _symmetric(n)
    angle = math.radians(settings.rotation_degrees) * _symmetric(n)
    flip_x = 1 - 2 * (torch.rand(n) < settings.horizontal_flip).float()
    flip_y = 1 - 2 * (torch.rand(n) < settings.vertical_flip).float()
    cos, sin = angle.cos(), angle.sin()
    first = torch.stack([cos * width * flip_x, -sin * height * flip_y, x], dim=1)
    second = torch.stack([sin * width * flip_x, cos * height * flip_y, y], dim=1)
    return torch.stack([first, second], dim=1)


def _symmetric(n: int) -> Tensor:
    """`(n,)` uniform in −1 to 1."""
    return 2 * torch.rand(n) - 1
