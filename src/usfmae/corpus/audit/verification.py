"""Whether two frames show the same picture: alignment first, then the correlation of their fine detail.

Two frames of one scanner share their outline and their brightness over depth, whatever they show; speckle and
fine structure they share only where they are the same picture. Fine structure agrees only after alignment to
less than a pixel. What is cheap comes first: the thumbnails, after three steps of alignment and after eight;
then the frames, read in the order in which they lie.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
import pandas as pd

from usfmae.corpus.audit.alignment import aligned, at_side, start
from usfmae.corpus.audit.crops import SIDE, Crops
from usfmae.corpus.audit.descriptors import normalised, oriented
from usfmae.corpus.curation.cleaning import BLACK
from usfmae.corpus.curation.fingerprints import THUMBNAIL
from usfmae.progress import progress
from usfmae.record import cores

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

T = TypeVar("T")


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


def verify(candidates: pd.DataFrame, thumbnails: np.ndarray, crops: Crops) -> pd.DataFrame:
    """`candidates` with the columns of `Match`. Only the crops of pairs whose thumbnails agree are read."""
    candidates = candidates.sort_values(["fixed", "moving"], ignore_index=True)  # near in one, near in both
    pairs = candidates[["moving", "fixed", "orientation", "window"]]
    rows = pairs.to_numpy()

    def outlines(chunk: slice) -> list[tuple[float, np.ndarray | None]]:
        moving, fixed = (normalised(thumbnails[rows[chunk, end]]) for end in (0, 1))  # (chunk, 32, 32)
        return [
            outline_match(*each) for each in zip(moving, fixed, rows[chunk, 2], rows[chunk, 3], strict=True)
        ]

    cv2.setNumThreads(1)
    with ThreadPoolExecutor(cores()) as pool:
        found = _in_chunks(pool, outlines, len(rows), "comparing outlines")
        matches = [NO_MATCH._replace(distance=1 - correlation) for correlation, _ in found]
        motions = {pair: motion for pair, (_, motion) in enumerate(found) if motion is not None}
        agreeing = np.array(list(motions), dtype=int)
        needed = np.unique(rows[agreeing, :2])
        with crops.gathered(needed) as pictures:

            @lru_cache(MEMORY)
            def prepared(row: int) -> Picture:
                return prepare(pictures[np.searchsorted(needed, row)])

            def details(chunk: slice) -> list[tuple[float, float]]:
                return [
                    detail_match(
                        prepared(rows[pair, 0]), prepared(rows[pair, 1]), rows[pair, 2], motions[pair]
                    )
                    for pair in agreeing[chunk]
                ]

            compared = _in_chunks(pool, details, len(agreeing), "comparing frames")
    for pair, (correlation, scale) in zip(agreeing, compared, strict=True):
        matches[pair] = matches[pair]._replace(correlation=correlation, scale=scale)
    columns = pd.DataFrame(matches, columns=list(Match._fields), index=candidates.index, dtype=float)
    return pairs.join(columns)


def _in_chunks(
    pool: ThreadPoolExecutor, work: Callable[[slice], list[T]], count: int, description: str
) -> list[T]:
    """What `work` gives for items 0 to `count` - 1, a chunk a thread, under a progress bar."""
    chunks = [slice(begin, begin + CHUNK) for begin in range(0, count, CHUNK)]
    done = progress(pool.map(work, chunks), total=len(chunks), description=description, unit="batch")
    return [item for part in done for item in part]


def outline_match(
    moving: np.ndarray, fixed: np.ndarray, orientation: int, window: int
) -> tuple[float, np.ndarray | None]:
    """Correlation of two normalised thumbnails (32, 32) once they are aligned, and the motion (2, 3) from
    `fixed` to `moving`: None where they do not agree."""
    turned = np.ascontiguousarray(oriented(moving, orientation))
    outline, motion = aligned(fixed, turned, start(window), iterations=3, blur=3)
    if outline >= GLANCE:
        outline, motion = aligned(fixed, turned, motion, iterations=5, blur=3)
    return outline, None if outline < OUTLINE or _stretched(motion) else motion


def detail_match(
    moving: Picture, fixed: Picture, orientation: int, motion: np.ndarray
) -> tuple[float, float]:
    """Correlation and scale, as in `Match`, of two pictures whose thumbnails agree after `motion`."""
    moving = moving.oriented(orientation)
    side = len(fixed.detail)
    motion = at_side(motion, side)
    motion = aligned(fixed.outline, moving.outline, motion, iterations=8, blur=5)[1]
    detail, inside = (
        cv2.warpAffine(part, motion, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        for part in (moving.detail, moving.inside)
    )
    shared = (inside > 0.99) & (fixed.inside > 0)
    least = min(float((inside > 0.99).sum()), float(fixed.inside.sum()))
    if shared.sum() < max(SHARED * least, 64):
        return NO_MATCH.correlation, NO_MATCH.scale
    a, b = detail[shared], fixed.detail[shared]
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    scale = float(np.sqrt(abs(np.linalg.det(motion[:, :2]))))
    return float((a * b).sum()) / norm if norm else 0.0, 1 / scale


def _stretched(motion: np.ndarray) -> bool:
    """Whether a motion stretches or shrinks some direction too much for a copy."""
    largest, smallest = np.linalg.svd(motion[:, :2], compute_uv=False)
    return bool(largest > STRETCH or smallest < 1 / STRETCH)


def _mean(values: np.ndarray, inside: np.ndarray, sigma: float) -> np.ndarray:
    """The local mean of the values inside (Gaussian, `sigma` in pixels)."""
    weight = np.maximum(cv2.GaussianBlur(inside, (0, 0), sigma), 1e-3)
    return np.asarray(cv2.GaussianBlur(values * inside, (0, 0), sigma) / weight)
