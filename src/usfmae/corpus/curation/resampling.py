"""Makes images smaller without aliasing, and brings frames and masks to the corpus's size."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

#: What was halved is smooth enough to shrink by this factor without a further mean.
SMOOTH = 1.25


def halved(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 image `(H, W)` or `(H, W, C)`, halved while it is at least twice `height` and twice `width`.

    Each axis counts for itself. Each pixel is the mean of two or four, which OpenCV does ten times as fast as
    any other reduction; of an odd number, the last row or column is left out:
    in all, less than a pixel of the size asked for.
    """
    while True:
        rows, columns = image.shape[:2]
        down, across = 1 + (rows >= 2 * height), 1 + (columns >= 2 * width)
        if down == across == 1:
            return image
        size = (columns // across, rows // down)
        even = image[: size[1] * down, : size[0] * across]
        # of one axis alone, both give the mean of two, and the linear one is three times as fast
        how = cv2.INTER_AREA if down == across else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(even, size, interpolation=how))


def to_size(
    frame: np.ndarray, size: int, *, resize: str, interpolation: str = "bilinear", is_mask: bool = False
) -> np.ndarray:
    """uint8 `(size, size)` or `(size, size, 3)`.

    `letterbox` keeps the aspect ratio and pads with black, centred; `squash` stretches. Frames are
    resampled with an anti-aliased `bilinear` filter or by the `nearest` pixel, masks (0 and 1) always by the
    nearest.
    """
    height, width = frame.shape[:2]
    scale = size / max(height, width)
    new = (
        (size, size) if resize == "squash" else (max(1, round(height * scale)), max(1, round(width * scale)))
    )
    if is_mask or interpolation == "nearest":  # Pillow's: the published recipe takes the very same pixels
        small = np.asarray(Image.fromarray(frame).resize((new[1], new[0]), Image.Resampling.NEAREST))
    else:
        small = _bilinear(frame, *new)
    if new == (size, size):
        return small
    out = np.zeros((size, size, *frame.shape[2:]), dtype=np.uint8)
    top, left = (size - new[0]) // 2, (size - new[1]) // 2
    out[top : top + new[0], left : left + new[1]] = small
    return out


def _bilinear(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """`(height, width)` or `(height, width, C)`: halved, and the rest interpolated.

    An axis that still shrinks by much goes to twice its new length first, and each two pixels are averaged.
    As sharp as Pillow's anti-aliased filter within a tenth, and three to eight times as fast.
    """
    image = halved(frame, height, width)
    lengths = zip(frame.shape[:2], image.shape[:2], (height, width), strict=True)
    down, across = (2 if now > SMOOTH * new or new < now == before else 1 for before, now, new in lengths)
    image = cv2.resize(image, (across * width, down * height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
