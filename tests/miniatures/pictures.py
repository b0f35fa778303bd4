"""Small made-up ultrasound pictures: speckle over structures. A picture's name alone decides what it shows.

So a dataset that reuses another's frame draws it by the other's name. Every upright picture is brighter at
the top (near field) and at the left, by which a test sees a frame that was stored or read the wrong way up.
"""

from __future__ import annotations

import zlib

import cv2
import numpy as np
from PIL import Image, ImageDraw

#: Gain from the first to the last row and column.
DEPTH, SIDE = (1.3, 0.7), (1.3, 0.7)


def generator(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def picture(name: str, height: int | None = None, width: int | None = None) -> np.ndarray:
    """uint8 (H, W), no pixel black; by default 72 to 100 rows and 88 to 124 columns."""
    rng = generator(name)
    rows, columns = int(rng.integers(36, 51)) * 2, int(rng.integers(44, 63)) * 2
    return _speckle(rng, height or rows, width or columns)


def clip(name: str, count: int, height: int = 64, width: int = 80) -> np.ndarray:
    """uint8 (N, H, W): a sweep over tissue, 4 pixels a frame, so that neighbours are alike, not equal."""
    tissue = _tissue(generator(name), height, width + 4 * count)
    windows = [tissue[:, 4 * i : 4 * i + width] for i in range(count)]
    return np.stack([_gain(window) for window in windows])


def resized(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)


def outline(name: str, height: int, width: int, *, filled: bool = True) -> np.ndarray:
    """uint8 (H, W), 0 or 255: an ellipse near the middle, as masks and HC18's outlines have it."""
    rng = generator("mask " + name)
    centre = (width / 2 + rng.uniform(-8, 8), height / 2 + rng.uniform(-6, 6))
    axes = (width * rng.uniform(0.15, 0.3), height * rng.uniform(0.15, 0.3))
    canvas = np.zeros((height, width), np.uint8)
    box = (centre, (2 * axes[0], 2 * axes[1]), float(rng.uniform(0, 180)))
    return np.asarray(cv2.ellipse(canvas, box, 255, -1 if filled else 1))


def doppler(frame: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3): the frame with red flow in one box, as colour Doppler lays it over."""
    height, width = frame.shape
    colour = np.repeat(frame[..., None], 3, axis=-1)
    box = colour[height // 3 : height // 2, width // 3 : width // 2]
    box[...] = np.stack([box[..., 0] // 2 + 120, box[..., 1] // 3, box[..., 2] // 4], axis=-1)
    return colour


def captioned(frame: np.ndarray, text: str) -> np.ndarray:
    """uint8 (H, W, 3): the frame with yellow text burnt in, as in AUL."""
    image = Image.fromarray(frame).convert("RGB")
    ImageDraw.Draw(image).text((4, 2), text, fill=(255, 255, 0))
    return np.asarray(image)


def _speckle(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return _gain(_tissue(rng, height, width))


def _tissue(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """float32 (H, W) around 110: patches of different echogenicity, with speckle."""
    coarse = rng.normal(0, 1, (height // 14 + 2, width // 14 + 2)).astype(np.float32)
    patches = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    waves = [cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 1) for _ in "ri"]
    speckle = np.log(np.hypot(*waves) + 0.05)
    speckle = (speckle - speckle.mean()) / speckle.std()
    return np.asarray(110 + 34 * patches + 20 * speckle, dtype=np.float32)


def _gain(tissue: np.ndarray) -> np.ndarray:
    rows = np.linspace(*DEPTH, tissue.shape[0])[:, None]
    columns = np.linspace(*SIDE, tissue.shape[1])[None]
    return np.clip(tissue * rows * columns, 24, 255).astype(np.uint8)
