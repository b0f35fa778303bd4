"""What of a decoded frame is image: clean it, find the insonified area, measure overlays."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from usfmae.corpus.curation.annotations import COLOURED, above, colours, corrected_mask, published_mask
from usfmae.corpus.curation.resampling import halved
from usfmae.corpus.readers import grey

#: Grey value above which a pixel counts as insonified; scanners write black as 0 to about 8.
BLACK = 8
#: A crop smaller than this share of the frame is not believed: the whole frame is kept.
SMALLEST_CROP = 0.2

Box = tuple[int, int, int, int]
"""top, left, bottom, right in pixels; bottom and right are exclusive."""


def clean(frame: np.ndarray, method: str) -> tuple[np.ndarray, float]:
    """Frame without burnt-in annotations, and the share (0 to 1) of its pixels that changed.

    `frame` is uint8 `(H, W)` or RGB `(H, W, 3)`; what is returned has the same shape. `method`: `none`;
    `published`, USF-MAE's mask filled by Navier-Stokes inpainting; `corrected`, our mask filled by Telea's
    method, which is faster. Both look 3 pixels around. What the masks are: `annotations`, beside this.
    """
    if method == "none":
        return frame, 0.0
    if method == "published":
        mask, inpainting = published_mask(frame), cv2.INPAINT_NS
    elif method == "corrected":
        mask, inpainting = corrected_mask(frame), cv2.INPAINT_TELEA
    else:
        raise ValueError(f"cleaning {method!r} is unknown: none, published or corrected")
    if not mask.any():
        return frame, 0.0
    cleaned = cv2.inpaint(frame, mask, 3, inpainting)
    change = cv2.absdiff(cleaned, frame)
    changed = cv2.countNonZero(change if frame.ndim == 2 else colours(change)[0])
    return cleaned, changed / mask.size


def insonified_box(frame: np.ndarray) -> Box:
    """Bounding box of the largest bright region of a frame `(H, W)` or `(H, W, 3)`.

    Text, colour bars and logos beside the image are small regions of their own and fall away. Works on
    a grid of 4 x 4 pixels, closed over two cells, so that dark cysts and shadows do not cut the region.
    """
    image = grey(frame)
    height, width = image.shape
    # 16 where bright, so that the mean over 4 x 4 is the number of bright pixels.
    bright = cv2.threshold(image, BLACK, 16, cv2.THRESH_BINARY)[1]
    if height % 4 or width % 4:
        bright = cv2.copyMakeBorder(bright, 0, -height % 4, 0, -width % 4, cv2.BORDER_CONSTANT, value=0)
    cells = above(halved(bright, bright.shape[0] // 4, bright.shape[1] // 4), 4)
    cells = cv2.copyMakeBorder(cells, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(cells, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))[2:-2, 2:-2]
    left, top, columns, rows = (4 * side for side in _largest_region(closed))
    box = (top, left, min(top + rows, height), min(left + columns, width))
    area = (box[2] - box[0]) * (box[3] - box[1])
    return box if area >= SMALLEST_CROP * height * width else (0, 0, height, width)


def _largest_region(cells: np.ndarray) -> Sequence[int]:
    """Left, top, width and height of the largest 4-connected region that is not 0; all 0 where there is none.

    `cells` is overwritten.
    """
    total = cv2.countNonZero(cells)
    x, height = cells.shape[1] // 2, cells.shape[0]
    for y in (height // 2, 3 * height // 4, height // 4):
        if cells[y, x] == 255:
            area, *_, box = cv2.floodFill(cells, None, (x, y), 1)
            if 2 * area > total:  # the usual case, without labels for all the others
                return box
    # Without OpenCV's statistics of the regions, which take three times as long as the regions.
    _, regions = cv2.connectedComponents(cells, connectivity=4)
    areas = np.bincount(regions.ravel(), minlength=2)
    return cv2.boundingRect((regions == 1 + int(np.argmax(areas[1:]))).view(np.uint8))


def overlay_fraction(frame: np.ndarray, image: np.ndarray | None = None) -> float:
    """Share of pixels (0 to 1) that look burnt in: thin white strokes (text, calipers) or colour.

    `image` is the frame in grey, for who has it already. Speckle is blurred by the point-spread function,
    strokes are not: they are near the largest value and much brighter than their surroundings (white top-hat,
    5 x 5). Colour is measured on every fourth row.
    """
    image = grey(frame) if image is None else image
    burnt_in = above(image, 229)
    if cv2.countNonZero(burnt_in):  # most frames hold no such white, or little
        left, top, columns, rows = cv2.boundingRect(burnt_in)
        # the top-hat of a pixel depends on four to each side
        near = (slice(max(0, top - 4), top + rows + 4), slice(max(0, left - 4), left + columns + 4))
        top_hat = cv2.morphologyEx(
            image[near], cv2.MORPH_TOPHAT, np.ones((5, 5), np.uint8), borderType=cv2.BORDER_REFLECT
        )
        burnt_in[near] &= above(top_hat, 120)
    share = cv2.countNonZero(burnt_in) / burnt_in.size
    if frame.ndim == 2:
        return share
    # channels are split much faster where they lie without gaps
    coloured = above(colours(np.ascontiguousarray(frame[::4]))[1], COLOURED)
    if not cv2.countNonZero(coloured):
        return share
    return share + cv2.countNonZero(coloured & ~burnt_in[::4]) / coloured.size
