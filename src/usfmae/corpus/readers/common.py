"""What all readers share: a frame, the options, the rule of sampling, and the way to 8 bits."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from usfmae.settings.datasets import Sampling, Volume


class Unreadable(ValueError):
    """A file could not be decoded; the message says why."""


@dataclass(frozen=True)
class Frame:
    """One frame of a source."""

    index: int
    """Position in the source, from 0."""
    in_source: int
    """Frames that the source holds, sampled or not."""
    pixels: np.ndarray
    """uint8 `(H, W)` grey or `(H, W, 3)` RGB."""
    subject: str | None = None
    """Where the source itself says it, a frame at a time."""


@dataclass(frozen=True)
class ReadOptions:
    """What a dataset's entry in config/ says about reading its files."""

    sampling: Sampling = field(default_factory=Sampling)
    volume: Volume = field(default_factory=Volume)
    array: str | None = None
    array_subject: str | None = None


def sampled(count: int, sampling: Sampling) -> list[int]:
    """Indices of the frames that are used, of `count`: spread evenly, first and last included.

    Two neighbours are at least `every` apart, and there are `at_most` of them; of one, it is the first.
    """
    number = min((count - 1) // sampling.every + 1, sampling.at_most or count)
    if number <= 1:
        return [0][:number]
    gaps = number - 1
    return [(2 * i * (count - 1) + gaps) // (2 * gaps) for i in range(number)]  # rounded, without floats


def grey(frame: np.ndarray) -> np.ndarray:
    """uint8 `(H, W)` from grey or RGB, by the luma weights of ITU-R BT.601."""
    if frame.ndim == 2:
        return frame
    import cv2

    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))


def grey_if_equal(frame: np.ndarray) -> np.ndarray:
    """One channel `(H, W)` of RGB `(H, W, 3)` where the three are the same, as in most B-mode images
    saved in colour; grey stays as it is."""
    if frame.ndim == 2:
        return frame
    import cv2

    for part in (frame[::16], frame):  # colour shows in a few rows already, and the rest need not be read
        red, green, blue = cv2.split(np.ascontiguousarray(part))
        if not (np.array_equal(red, green) and np.array_equal(red, blue)):
            return frame
    return np.asarray(red)


def eight_bit(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint8 of the same shape: `low` and below become 0, `high` and above 255; not-a-number becomes 0."""
    if not high > low:
        return np.zeros(values.shape, dtype=np.uint8)
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255.0 / (high - low))
    return np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0).clip(0, 255).round().astype(np.uint8)


def value_range(values: np.ndarray) -> tuple[float, float]:
    """Smallest and largest finite value; (inf, −inf) where there is none."""
    if np.issubdtype(values.dtype, np.floating):
        values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else (np.inf, -np.inf)
