"""Where a map lies: measures of maps against the masks that experts drew, and a map that knows nothing.

All take maps (N, H, W), 0 to 1, and masks (N, H, W), 0 where there is no finding, and give (N,), 0 to 1.
"""

from __future__ import annotations

import numpy as np


def pointing_game(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Whether the highest pixel of each map lies in its mask: 0 or 1.

    Without a tolerance in pixels (Zhang et al. 2018 use 15). Of several highest pixels the share inside
    counts. An empty map points nowhere and scores 0.
    """
    peaks = (maps == maps.max(axis=(1, 2), keepdims=True)) & (maps > 0)
    return ratio((peaks & (masks > 0)).sum(axis=(1, 2)), peaks.sum(axis=(1, 2)))


def energy_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of each map's sum inside its mask: the energy-based pointing game of Score-CAM."""
    return ratio((maps * (masks > 0)).sum(axis=(1, 2)), maps.sum(axis=(1, 2)))


def intersection_over_union(maps: np.ndarray, masks: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Overlap of each mask with the pixels of its map that reach the threshold."""
    regions, inside = maps >= threshold, masks > 0
    return ratio((regions & inside).sum(axis=(1, 2)), (regions | inside).sum(axis=(1, 2)))


def centred_gaussian(height: int, width: int) -> np.ndarray:
    """A map (H, W), 0 to 1, that knows nothing: a Gaussian, its standard deviation a quarter of each side."""
    y, x = (np.linspace(-2, 2, size) for size in (height, width))  # in standard deviations
    return np.exp(-0.5 * (y[:, None] ** 2 + x**2)).astype(np.float32)


def ratio(part: np.ndarray, whole: np.ndarray, empty: float = 0.0) -> np.ndarray:
    """part / whole, (N,), and `empty` where the whole is 0."""
    return np.divide(part, whole, out=np.full(len(whole), empty), where=whole > 0)
