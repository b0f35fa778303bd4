"""What the model says when the pixels that a map marks are taken away, or given back.

All take normalised images (N, C, H, W), maps (N, H, W) from 0 to 1 and targets (N,), class indices.
Pixels go by their rank in the map. Equal ones, such as the zeros that most maps are full of, go in the order
of the centred Gaussian that every map is set against: by rows, a finding near the top would look well found.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from usfmae.explain.localisation import centred_gaussian, ratio

Predict = Callable[[Tensor], Tensor]
"""Normalised images (B, C, H, W) -> class probabilities (B, classes)."""

STEPS = 20


def deletion_curve(
    predict: Predict,
    images: Tensor,
    maps: Tensor,
    targets: Tensor,
    *,
    steps: int = STEPS,
    baseline: Tensor | float = 0.0,
) -> np.ndarray:
    """The target's probability (N, steps + 1) while pixels give way to `baseline`, highest first.

    Petsiuk et al. 2018 (RISE, arXiv 1806.07421). `baseline` as in `score_cam`. Falls early: the pixels of
    the map carried the score.
    """
    removed = torch.as_tensor(baseline, dtype=images.dtype, device=images.device).expand_as(images)
    return _replacement_curve(predict, images, removed, maps, targets, steps)


def insertion_curve(
    predict: Predict, images: Tensor, maps: Tensor, targets: Tensor, *, steps: int = STEPS
) -> np.ndarray:
    """As `deletion_curve`, from a blurred image to the sharp one: rises early if the map's pixels bring the
    score. The blur's standard deviation is a twentieth of the longer side: 11 of 224 pixels."""
    sigma = max(images.shape[-2:]) / 20
    blurred = gaussian_blur(images, kernel_size=2 * round(2 * sigma) + 1, sigma=sigma)
    return _replacement_curve(predict, blurred, images, maps, targets, steps)


def area(curve: np.ndarray) -> np.ndarray:
    """Area (N,) under curves (N, steps + 1) over the share of pixels, 0 to 1."""
    return np.trapezoid(curve, dx=1 / (curve.shape[1] - 1), axis=1)


def kept_by_map(
    predict: Predict, images: Tensor, maps: Tensor, targets: Tensor, *, baseline: Tensor | float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """The target's probability (N,) for the image, and for the image masked by its map."""
    base = torch.as_tensor(baseline, dtype=images.dtype, device=images.device)
    masked = torch.lerp(base, images, maps[:, None].to(images))
    return probability(predict, images, targets), probability(predict, masked, targets)


def confidence_drop(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Relative loss (N,), 0 to 1: max(0, before - after) / before (Chattopadhay et al. 2018, arXiv
    1710.11063). `before` and `after` come from `kept_by_map`."""
    return ratio(np.maximum(before - after, 0.0), before)


def confidence_increase(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Whether the map's part alone scores higher than the whole image, (N,), 0 or 1; same source."""
    return (after > before).astype(np.float64)


def ranks(maps: Tensor) -> Tensor:
    """Rank (N, 1, H, W) of each pixel of maps (N, H, W): 0 is the highest."""
    blob = torch.from_numpy(centred_gaussian(*maps.shape[1:])).to(maps.device)
    ties = blob.flatten().argsort(descending=True, stable=True)  # (H * W,)
    order = ties[maps.flatten(1)[:, ties].argsort(dim=1, descending=True, stable=True)]
    return order.argsort(dim=1).view(len(maps), 1, *maps.shape[1:])


@torch.inference_mode()
def probability(predict: Predict, images: Tensor, targets: Tensor, batch_size: int = 64) -> np.ndarray:
    """The target's probability (N,) for images (N, C, H, W)."""
    probabilities = torch.cat([predict(batch) for batch in images.split(batch_size)])  # (N, classes)
    return probabilities.gather(1, targets[:, None].to(probabilities.device))[:, 0].double().cpu().numpy()


def _replacement_curve(
    predict: Predict, start: Tensor, end: Tensor, maps: Tensor, targets: Tensor, steps: int
) -> np.ndarray:
    """The target's probability (N, steps + 1) while pixels of `start` (N, C, H, W) become those of `end`."""
    rank = ranks(maps).to(start.device)  # (N, 1, H, W)
    pixels = rank[0].numel()
    curve = [
        probability(predict, torch.where(rank < pixels * step / steps, end, start), targets)
        for step in range(steps + 1)
    ]
    return np.stack(curve, axis=1)
