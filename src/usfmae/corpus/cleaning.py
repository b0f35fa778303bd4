"""From a decoded frame to a curated one: crop to the insonified area, find overlays, bring to size."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage

from usfmae.corpus.readers import grey

#: Grey value above which a pixel counts as insonified; scanners write black as 0 to about 8.
BLACK = 8
#: A crop smaller than this share of the frame is not believed: the whole frame is kept.
SMALLEST_CROP = 0.2

Box = tuple[int, int, int, int]
"""top, left, bottom, right in pixels; bottom and right are exclusive."""


def insonified_box(frame: np.ndarray) -> Box:
    """Bounding box of the largest bright region of a frame `(H, W)` or `(H, W, 3)`.

    Text, colour bars and logos beside the image are small regions of their own and fall away. Works on
    a grid of 4 x 4 pixels, closed over two cells, so that dark cysts and shadows do not cut the region.
    """
    image = grey(frame)
    height, width = image.shape
    padded = np.pad(image, ((0, -height % 4), (0, -width % 4)))
    cells = padded.reshape(padded.shape[0] // 4, 4, padded.shape[1] // 4, 4)
    bright = (cells > BLACK).mean(axis=(1, 3)) > 0.3  # (H/4, W/4)
    closed = ndimage.binary_closing(np.pad(bright, 2), structure=np.ones((3, 3)), iterations=2)[2:-2, 2:-2]
    regions, count = ndimage.label(closed)
    if count == 0:
        return 0, 0, height, width
    largest = 1 + int(np.argmax(ndimage.sum_labels(closed, regions, np.arange(1, count + 1))))
    rows, columns = ndimage.find_objects(regions)[largest - 1]
    box = (4 * rows.start, 4 * columns.start, min(4 * rows.stop, height), min(4 * columns.stop, width))
    area = (box[2] - box[0]) * (box[3] - box[1])
    return box if area >= SMALLEST_CROP * height * width else (0, 0, height, width)


def overlay_fraction(frame: np.ndarray) -> float:
    """Share of pixels (0 to 1) that look burnt in: thin white strokes (text, calipers) or colour.

    Speckle is blurred by the point-spread function, strokes are not: they are near the largest value
    and much brighter than their surroundings (white top-hat, 5 x 5).
    """
    image = grey(frame).astype(np.int16)
    opened = ndimage.grey_opening(image, size=(5, 5))
    burnt_in = (image >= 230) & (image - opened > 120)
    if frame.ndim == 3:
        channels = frame.astype(np.int16)
        burnt_in |= channels.max(axis=-1) - channels.min(axis=-1) > 60
    return float(burnt_in.mean())


def to_size(frame: np.ndarray, size: int, *, resize: str, is_mask: bool = False) -> np.ndarray:
    """uint8 `(size, size)` or `(size, size, 3)`.

    `letterbox` keeps the aspect ratio and pads with black, centred; `squash` stretches. Frames are
    resampled with an anti-aliased bilinear filter, masks (0 and 1) by nearest neighbour.
    """
    height, width = frame.shape[:2]
    scale = size / max(height, width)
    new = (
        (size, size) if resize == "squash" else (max(1, round(height * scale)), max(1, round(width * scale)))
    )
    method = Image.Resampling.NEAREST if is_mask else Image.Resampling.BILINEAR
    small = np.asarray(Image.fromarray(frame).resize((new[1], new[0]), method))
    if new == (size, size):
        return small
    out = np.zeros((size, size, *frame.shape[2:]), dtype=np.uint8)
    top, left = (size - new[0]) // 2, (size - new[1]) // 2
    out[top : top + new[0], left : left + new[1]] = small
    return out
