"""Does a map show what the model looks at? Measures of maps against masks, the model and a randomised model.

A map is good to look at whether or not it is true, so each measure stands beside the same measure of a
Gaussian blob in the image's middle, where most ultrasound findings lie anyway.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

Predict = Callable[[Tensor], Tensor]
"""Normalised images (B, C, H, W) -> class probabilities (B, classes)."""

NOTES = {
    "pointing game": "share of frames whose highest point lies in the mask; 1 is best; frames with a mask",
    "energy inside the mask": "share of the map's sum that lies in the mask; 1 is best; frames with a mask",
    "IoU at 0.5": "overlap of the mask with the map at 0.5 or more; 1 is best; frames with a mask",
    "deletion AUC": "probability while the highest pixels are removed first; low is good",
    "insertion AUC": "probability while the highest pixels are sharpened first; high is good",
    "average drop": "relative loss of probability when only the map's part is kept; low is good",
    "rank correlation with a randomised model": "1: the map needs nothing that was learned; near 0 is good",
}


def pointing_game(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Whether the highest pixel of each map (N, H, W) lies in its mask (N, H, W): (N,), 0 or 1.

    Without a tolerance in pixels (Zhang et al. 2018 use 15). Of several highest pixels the share inside
    counts. An empty map points nowhere and scores 0.
    """
    peaks = (maps == maps.max(axis=(1, 2), keepdims=True)) & (maps > 0)
    return _ratio((peaks & (masks > 0)).sum(axis=(1, 2)), peaks.sum(axis=(1, 2)))


def energy_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of each map's sum inside its mask, (N,), 0 to 1: the energy-based pointing game of Score-CAM."""
    return _ratio((maps * (masks > 0)).sum(axis=(1, 2)), maps.sum(axis=(1, 2)))


def intersection_over_union(maps: np.ndarray, masks: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Overlap of each mask with the pixels of its map that reach the threshold: (N,), 0 to 1."""
    regions, inside = maps >= threshold, masks > 0
    return _ratio((regions & inside).sum(axis=(1, 2)), (regions | inside).sum(axis=(1, 2)))


def centred_gaussian(height: int, width: int) -> np.ndarray:
    """A map (H, W), 0 to 1, that knows nothing: a Gaussian, its standard deviation a quarter of each side."""
    y, x = (np.linspace(-2, 2, size) for size in (height, width))  # in standard deviations
    return np.exp(-0.5 * (y[:, None] ** 2 + x**2)).astype(np.float32)


def deletion_auc(
    predict: Predict,
    images: Tensor,
    maps: Tensor,
    targets: Tensor,
    *,
    steps: int = 20,
    baseline: Tensor | float = 0.0,
) -> np.ndarray:
    """Area under the target's probability (N,), 0 to 1, while pixels give way to `baseline`, highest first.

    Petsiuk et al. 2018 (RISE, arXiv 1806.07421). Images (N, C, H, W), maps (N, H, W), targets (N,);
    `baseline` as in `score_cam`. Low: the pixels of the map carried the score.
    """
    removed = torch.as_tensor(baseline, dtype=images.dtype, device=images.device).expand_as(images)
    return _replacement_auc(predict, images, removed, maps, targets, steps)


def insertion_auc(
    predict: Predict, images: Tensor, maps: Tensor, targets: Tensor, *, steps: int = 20
) -> np.ndarray:
    """As `deletion_auc`, from a blurred image to the sharp one: high if the map's pixels bring the score.

    The blur's standard deviation is a twentieth of the longer side: 11 of 224 pixels.
    """
    sigma = max(images.shape[-2:]) / 20
    blurred = gaussian_blur(images, kernel_size=2 * round(2 * sigma) + 1, sigma=sigma)
    return _replacement_auc(predict, blurred, images, maps, targets, steps)


def average_drop(
    predict: Predict, images: Tensor, maps: Tensor, targets: Tensor, *, baseline: Tensor | float = 0.0
) -> np.ndarray:
    """Relative loss of the target's probability (N,), 0 to 1, when the map masks the image.

    max(0, p - p_masked) / p (Chattopadhay et al. 2018, arXiv 1710.11063). Shapes as in `deletion_auc`.
    """
    base = torch.as_tensor(baseline, dtype=images.dtype, device=images.device)
    before = _probability(predict, images, targets)
    after = _probability(predict, torch.lerp(base, images, maps[:, None].to(images)), targets)
    return _ratio(np.maximum(before - after, 0.0), before)


def rank_correlation(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman's correlation over the pixels of two maps (N, H, W): (N,); NaN where one is constant."""
    a, b = (rankdata(m.reshape(len(m), -1), axis=1) for m in (maps, others))  # (N, H * W)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    return _ratio((a * b).sum(axis=1), np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1)), empty=np.nan)


def randomised(model: nn.Module, seed: int) -> nn.Module:
    """A copy whose every weight tensor is shuffled in itself: nothing is left of what was learned.

    The full model randomisation test of Adebayo et al. 2018 (arXiv 1810.03292); shuffling instead of a
    new initialisation keeps each tensor's distribution and needs no rule for each architecture.
    """
    copied = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in copied.parameters():
            order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
            weight.copy_(weight.flatten()[order].view_as(weight))
    return copied


def faithfulness_table(
    predict: Predict,
    images: Tensor,
    maps: np.ndarray,
    masks: np.ndarray,
    targets: Tensor,
    subjects: np.ndarray,
    *,
    randomised_maps: np.ndarray,
    seed: int,
    baseline: Tensor | float = 0.0,
) -> pd.DataFrame:
    """All measures as `measure, value, lower, upper, n_frames, baseline, note`, a row each.

    `images` (N, C, H, W) normalised, `maps` (N, H, W) from 0 to 1, `masks` (N, H, W) of 0 and 1 (all 0:
    no mask), `targets` (N,), `subjects` (N,). `randomised_maps` (N, H, W) are the maps of `randomised`.
    `value` is the mean over frames, `lower` and `upper` its 95 % interval over subjects, the column
    `baseline` the same mean for `centred_gaussian` (for the rank correlation: of its map with ours).
    """
    blob = np.broadcast_to(centred_gaussian(*maps.shape[1:]), maps.shape)
    outlined = masks.any(axis=(1, 2))  # (N,)

    def measure(candidates: np.ndarray) -> dict[str, np.ndarray]:
        located, inside = candidates[outlined], masks[outlined]
        tensor = torch.from_numpy(np.ascontiguousarray(candidates))
        return {
            "pointing game": pointing_game(located, inside),
            "energy inside the mask": energy_inside(located, inside),
            "IoU at 0.5": intersection_over_union(located, inside),
            "deletion AUC": deletion_auc(predict, images, tensor, targets, baseline=baseline),
            "insertion AUC": insertion_auc(predict, images, tensor, targets),
            "average drop": average_drop(predict, images, tensor, targets, baseline=baseline),
        }

    correlation = "rank correlation with a randomised model"
    ours = measure(maps) | {correlation: rank_correlation(maps, randomised_maps)}
    reference = measure(blob) | {correlation: rank_correlation(maps, blob)}

    rows = []
    for name, values in ours.items():
        owners = subjects[outlined] if len(values) < len(subjects) else subjects
        known = np.isfinite(values)
        rows.append(
            {
                "measure": name,
                "value": values[known].mean() if known.any() else np.nan,
                **dict(
                    zip(("lower", "upper"), subject_interval(values[known], owners[known], seed), strict=True)
                ),
                "n_frames": int(known.sum()),
                "baseline": np.nanmean(reference[name]) if np.isfinite(reference[name]).any() else np.nan,
                "note": f"{NOTES[name]}; {len(np.unique(owners[known]))} subjects",
            }
        )
    return pd.DataFrame(rows)


def subject_interval(
    values: np.ndarray, subjects: np.ndarray, seed: int, resamples: int = 2000
) -> tuple[float, float]:
    """95 % percentile interval of the mean of frame values (n,), resampling subjects with all their frames.

    NaN, NaN with fewer than two subjects: nothing says how subjects differ.
    """
    names, owner = np.unique(subjects, return_inverse=True)
    if len(names) < 2:
        return np.nan, np.nan
    sums, counts = np.bincount(owner, weights=values), np.bincount(owner)  # (subjects,)
    drawn = np.random.default_rng(seed).integers(len(names), size=(resamples, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)  # (resamples,)
    lower, upper = np.quantile(means, [0.025, 0.975])
    return float(lower), float(upper)


def _replacement_auc(
    predict: Predict, start: Tensor, end: Tensor, maps: Tensor, targets: Tensor, steps: int
) -> np.ndarray:
    """Area under the target's probability (N,) while pixels of `start` (N, C, H, W) become those of `end`."""
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1).view(len(maps), 1, *maps.shape[1:]).to(start.device)  # (N, 1, H, W)
    pixels = order.shape[1]
    curve = [
        _probability(predict, torch.where(rank < pixels * step / steps, end, start), targets)
        for step in range(steps + 1)
    ]
    return np.trapezoid(np.stack(curve), dx=1 / steps, axis=0)


@torch.inference_mode()
def _probability(predict: Predict, images: Tensor, targets: Tensor, batch_size: int = 64) -> np.ndarray:
    """The target's probability (N,) for images (N, C, H, W)."""
    probabilities = torch.cat([predict(batch) for batch in images.split(batch_size)])  # (N, classes)
    return probabilities.gather(1, targets[:, None].to(probabilities.device))[:, 0].double().cpu().numpy()


def _ratio(part: np.ndarray, whole: np.ndarray, empty: float = 0.0) -> np.ndarray:
    """part / whole, (N,), and `empty` where the whole is 0."""
    return np.divide(part, whole, out=np.full(len(whole), empty), where=whole > 0)
