"""Brings one picture onto another by an affine motion, to less than a pixel.

By ECC (Evangelidis and Psarakis, IEEE TPAMI 30(10), 2008), in OpenCV. A motion is float32 (2, 3) and leads
from pixels of the fixed picture to pixels of the moving one.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from usfmae.corpus.audit.descriptors import WINDOWS
from usfmae.corpus.curation.fingerprints import THUMBNAIL


def aligned(
    fixed: np.ndarray, moving: np.ndarray, motion: np.ndarray, *, iterations: int, blur: int
) -> tuple[float, np.ndarray]:
    """(correlation, affine motion (2, 3) from pixels of `fixed` to pixels of `moving`)."""
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, iterations, 1e-3)
    try:
        found = cv2.findTransformECC(  # OpenCV's type hints know no mask that is None
            fixed,
            moving,
            motion.copy(),
            cv2.MOTION_AFFINE,
            criteria,
            None,
            blur,  # type: ignore[call-overload]
        )
    except cv2.error:  # no overlap, or nothing to align by
        return -1.0, motion
    return float(found[0]), np.asarray(found[1])


@cache
def start(window: int) -> np.ndarray:
    """The motion from pixels of a thumbnail to those of the window in the other."""
    (top, bottom), (left, right) = WINDOWS[window]
    linear = np.diag([right - left, bottom - top])
    return _in_pixels(linear, np.array([left, top]), THUMBNAIL)


def at_side(motion: np.ndarray, side: int) -> np.ndarray:
    """A motion between thumbnails as one between pictures of another side."""
    half = np.array([0.5, 0.5])
    shift = (motion[:, 2] + half - motion[:, :2] @ half) / THUMBNAIL
    return _in_pixels(motion[:, :2], shift, side)


def _in_pixels(linear: np.ndarray, shift: np.ndarray, side: int) -> np.ndarray:
    """float32 (2, 3) of a motion in shares of the frame: a pixel's centre lies half a pixel inside."""
    half = np.array([0.5, 0.5])
    return np.column_stack([linear, side * shift + linear @ half - half]).astype(np.float32)
