"""Whether two frames show the same picture: alignment first, then the correlation of their fine detail.

Two frames of one scanner share their outline and their brightness over depth, whatever they show; speckle and
fine structure they share only where they are the same picture. Fine structure agrees only after alignment to
less than a pixel. What is cheap comes first: the thumbnails, after three steps of alignment and after eight;
then the frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from usfmae.corpus.audit.alignment import aligned, at_side, start
from usfmae.corpus.audit.descriptors import normalised, oriented
from usfmae.corpus.curation.cleaning import BLACK
from usfmae.corpus.curation.fingerprints import THUMBNAIL
from usfmae.progress import progress
from usfmae.record import cores

#: Side at which frames are compared, in pixels; smaller frames are compared at their own.
SIDE = 128
#: Least correlation of two thumbnails after the first steps of their alignment. Of planted copies of real
#: frames all reach it; of other candidates half, among simulated frames a fifth.
GLANCE = 0.7
#: Least correlation of two aligned thumbnails for which the frames are read. Of planted copies of real
#: frames, all changes at once, 98 % reach it; of other candidates 15 %.
OUTLINE = 0.8
#: Most by which a copy may be stretched along any axis, beyond any crop that the audit promises to find.
STRETCH = 1.6
#: Least share of the smaller insonified area that both frames must show.
SHARED = 0.5
#: Prepared frames kept in memory, 200 kB each.
MEMORY = 1024
#: Candidates handed to a thread at once.
CHUNK = 256


class Match(NamedTuple):
    """How well two frames agree."""

    distance: float
    """1 - correlation of the aligned thumbnails."""
    correlation: float
    """Of fine detail, -1 to 1; 0 where the thumbnails do not agree or too little is shared."""
    scale: float
    """Size of the moving picture in the fixed one; 1: the same."""


NO_MATCH = Match(2.0, 0.0, 1.0)


@dataclass(frozen=True)
class Picture:
    """A frame prepared for comparison; arrays are float32 (S, S)."""

    outline: np.ndarray
    detail: np.ndarray
    inside: np.ndarray

    def oriented(self, orientation: int) -> Picture:
        parts = (self.outline, self.detail, self.inside)
        return Picture(*(np.ascontiguousarray(oriented(part, orientation)) for part in parts))


def least_correlation(correlation: float, side: int) -> float:
    """What frames of `side` pixels must reach: `correlation` from 128 px on, half-way to 1 from 64 px down,
    and between them in proportion; a coarse frame lacks the speckle that tells two frames apart."""
    share = np.clip(side / SIDE, 0.5, 1)
    return float(correlation + (1 - correlation) * (1 - share))


def prepare(frame: np.ndarray) -> Picture:
    """Of a square grey frame, uint8 (S, S)."""
    frame, finest = frame.astype(np.float32), len(frame) / SIDE
    inside = (cv2.erode(frame, np.ones((5, 5), np.uint8)) > BLACK).astype(np.float32)
    local = _mean(frame, inside, 2 * finest)
    detail = cv2.GaussianBlur((frame - local) * inside, (0, 0), 0.8 * finest)
    detail /= (
        np.sqrt(_mean(detail * detail, inside, 7 * finest)) + 1
    )  # as strong everywhere, whatever the gain
    wide = frame.shape[0] * 6 / THUMBNAIL
    outline = frame - cv2.blur(frame, (int(wide) * 2 + 1,) * 2)
    variance = cv2.blur(outline * outline, (int(wide) * 2 + 1,) * 2)
    spread = np.sqrt(np.maximum(variance, 0))  # running sums end a little below 0 where all is black
    return Picture(np.clip(outline / (spread + 8), -1.5, 1.5), np.clip(detail, -2, 2) * inside, inside)


def verify(
    candidates: pd.DataFrame, thumbnails: np.ndarray, read: Callable[[int], np.ndarray]
) -> pd.DataFrame:
    """`candidates` with the columns of `Match`. `read` gives a frame's crop as uint8 (S, S), by row number;
    only the frames of pairs whose thumbnails agree are read."""

    @lru_cache(MEMORY)
    def prepared(row: int) -> Picture:
        return prepare(read(row))

    def pictures(moving: int, fixed: int) -> tuple[Picture, Picture]:
        return prepared(moving), prepared(fixed)

    def matches(chunk: pd.DataFrame) -> list[Match]:
        rows = chunk[["moving", "fixed", "orientation", "window"]].to_numpy()
        moving, fixed = (normalised(thumbnails[rows[:, side]]) for side in (0, 1))  # (chunk, 32, 32)
        return [
            compare(moving[i], fixed[i], orientation, window, partial(pictures, a, b))
            for i, (a, b, orientation, window) in enumerate(rows)
        ]

    candidates = candidates.sort_values(["fixed", "moving"], ignore_index=True)  # frames are read in order
    chunks = [candidates[start : start + CHUNK] for start in range(0, len(candidates), CHUNK)]
    cv2.setNumThreads(1)
    with ThreadPoolExecutor(cores()) as pool:
        done: Iterator[list[Match]] = pool.map(matches, chunks)
        found = [
            match
            for part in progress(done, total=len(chunks), description="comparing frames", unit="batch")
            for match in part
        ]
    columns = pd.DataFrame(found, columns=list(Match._fields), index=candidates.index, dtype=float)
    return candidates[["moving", "fixed", "orientation", "window"]].join(columns)


def compare(
    moving: np.ndarray,
    fixed: np.ndarray,
    orientation: int,
    window: int,
    pictures: Callable[[], tuple[Picture, Picture]],
) -> Match:
    """Compares two normalised thumbnails (32, 32) and, where they agree, what `pictures` gives of both."""
    turned = np.ascontiguousarray(oriented(moving, orientation))
    outline, motion = aligned(fixed, turned, start(window), iterations=3, blur=3)
    if outline >= GLANCE:
        outline, motion = aligned(fixed, turned, motion, iterations=5, blur=3)
    if outline < OUTLINE or _stretched(motion):
        return NO_MATCH._replace(distance=1 - outline)
    moving_picture, fixed_picture = pictures()
    moving_picture = moving_picture.oriented(orientation)
    side = len(fixed_picture.detail)
    motion = at_side(motion, side)
    motion = aligned(fixed_picture.outline, moving_picture.outline, motion, iterations=8, blur=5)[1]
    detail, inside = (
        cv2.warpAffine(part, motion, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        for part in (moving_picture.detail, moving_picture.inside)
    )
    shared = (inside > 0.99) & (fixed_picture.inside > 0)
    least = min(float((inside > 0.99).sum()), float(fixed_picture.inside.sum()))
    if shared.sum() < max(SHARED * least, 64):
        return NO_MATCH._replace(distance=1 - outline)
    a, b = detail[shared], fixed_picture.detail[shared]
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    scale = float(np.sqrt(abs(np.linalg.det(motion[:, :2]))))
    return Match(1 - outline, float((a * b).sum()) / norm if norm else 0.0, 1 / scale)


def _stretched(motion: np.ndarray) -> bool:
    """Whether a motion stretches or shrinks some direction too much for a copy."""
    largest, smallest = np.linalg.svd(motion[:, :2], compute_uv=False)
    return bool(largest > STRETCH or smallest < 1 / STRETCH)


def _mean(values: np.ndarray, inside: np.ndarray, sigma: float) -> np.ndarray:
    """The local mean of the values inside (Gaussian, `sigma` in pixels)."""
    weight = np.maximum(cv2.GaussianBlur(inside, (0, 0), sigma), 1e-3)
    return np.asarray(cv2.GaussianBlur(values * inside, (0, 0), sigma) / weight)
