"""ROAD (Rong et al. 2022, arXiv 2202.00449): pixels are taken away so that their outline tells nothing.

A removed pixel becomes the weighted mean of its eight neighbours, removed ones among them, plus noise: a
linear system. The library grad-cam builds it as a sparse matrix for each image and share; here the systems of
all images are solved at once by conjugate gradients, on the device, with the same solution.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from usfmae.explain.perturbation import Predict, probability, ranks

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
NOISE = 0.01  # standard deviation, in normalised units, as in grad-cam
_WEIGHTS = ((1 / 12, 1 / 6, 1 / 12), (1 / 6, 0.0, 1 / 6), (1 / 12, 1 / 6, 1 / 12))


def road(
    predict: Predict, images: Tensor, maps: Tensor, targets: Tensor, *, seed: int, noise: float = NOISE
) -> np.ndarray:
    """Half of what the target's probability loses more when the highest pixels go than when the lowest go,
    (N,), −0.5 to 0.5, mean over `SHARES` of the pixels: grad-cam's `ROADCombined`, high is good.

    Images (N, C, H, W) normalised, maps (N, H, W), targets (N,). Shares are counted in pixels, not cut at a
    percentile, because a map may be 0 over most of the image.
    """
    rank = ranks(maps).to(images.device)  # (N, 1, H, W)
    pixels = rank[0].numel()
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(images.shape, generator=generator).to(images) * noise
    differences = []
    for share in SHARES:
        count = round(share * pixels)
        kept = [
            probability(predict, torch.where(gone, imputed(images, gone) + drawn, images), targets)
            for gone in (rank >= pixels - count, rank < count)  # the lowest first, the highest first
        ]
        differences.append((kept[0] - kept[1]) / 2)
    return np.mean(differences, axis=0)


@torch.inference_mode()
def imputed(images: Tensor, gone: Tensor, tolerance: float = 1e-5, most_steps: int = 5000) -> Tensor:
    """Images (N, C, H, W) whose removed pixels are the weighted mean of their neighbours.

    `gone` (N, 1, H, W), bool: at least one pixel of each image stays. Weights are 1/6 beside and 1/12 across
    a corner; at the border, of the neighbours that exist. Solved until the residual is below `tolerance` of
    the right side; raises ValueError where it does not get there.
    """
    n, c, h, w = images.shape
    kernel = torch.tensor(_WEIGHTS, dtype=images.dtype, device=images.device)[None, None]

    def neighbours(x: Tensor) -> Tensor:  # (n * c, 1, h, w): their weighted sum
        return conv2d(x, kernel, padding=1)

    total = neighbours(images.new_ones(1, 1, h, w))  # 1 inside, less at the border
    hole = gone.expand(n, c, h, w).reshape(n * c, 1, h, w).to(images.dtype)
    known = images.reshape(n * c, 1, h, w) * (1 - hole)
    x = torch.zeros_like(known)
    residual = neighbours(known) * hole
    direction, size = residual, (residual**2).sum(dim=(1, 2, 3), keepdim=True)
    goal = tolerance**2 * size
    for _ in range(most_steps):
        if not (size > goal).any():
            return torch.where(gone, x.view_as(images), images)
        applied = (total * direction - neighbours(direction)) * hole
        step = size / (direction * applied).sum(dim=(1, 2, 3), keepdim=True)
        step = step.nan_to_num(nan=0.0, posinf=0.0).where(size > goal, 0.0)  # who is there stays there
        x = x + step * direction
        residual = residual - step * applied
        before, size = size, (residual**2).sum(dim=(1, 2, 3), keepdim=True)
        direction = residual + (size / before).nan_to_num(nan=0.0) * direction
    raise ValueError(f"the imputation of ROAD did not settle in {most_steps} steps: are the images finite?")
