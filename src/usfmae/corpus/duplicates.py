"""The audit of a corpus: which frames are the same picture, and what may therefore never be split."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter, minimum_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from usfmae.corpus.cleaning import BLACK
from usfmae.settings.study import Duplicates

#: Rows compared with all others at once: 1,024 x 370,000 differences of 64 bits take 3 GB at most.
BLOCK = 1024
#: Pixels by which two curated frames of one picture may be shifted, because their crops differ.
SHIFT = 8
PAIR_COLUMNS = ["frame_a", "frame_b", "kind", "hamming", "correlation", "across_subjects", "labels_differ"]


def find_pairs(table: pd.DataFrame, frames: list[np.ndarray], settings: Duplicates) -> pd.DataFrame:
    """A row a pair of frames that show the same picture; see docs/contracts.md.

    Exact: the decoded pixels are equal. Near: perceptual hashes within `settings.hamming` bits, the
    second frame also mirrored, and the frames' fine detail correlates at least `settings.correlation`.
    """
    hashes = _hashes(table["phash"])
    mirrored = _hashes(table["phash_mirrored"])
    first, second, bits, flipped = _near(hashes, mirrored, settings.hamming)
    digests = table["pixel_sha256"].to_numpy(dtype=str)
    subjects = table["subject"].to_numpy(dtype=str)
    labels = table["label"].to_numpy(dtype=object, na_value=None)
    positions = _positions(table)
    rows = []
    for a, b, distance, flip in zip(first, second, bits, flipped, strict=True):
        exact = bool(digests[a] == digests[b])
        picture = _picture(frames, positions[b])
        similar = similarity(_picture(frames, positions[a]), picture[:, ::-1] if flip else picture)
        if exact or similar >= settings.correlation:
            both = labels[a] is not None and labels[b] is not None
            rows.append(
                {
                    "frame_a": table["frame_id"].iat[a],
                    "frame_b": table["frame_id"].iat[b],
                    "kind": "exact" if exact else "near",
                    "hamming": int(distance),
                    "correlation": similar,
                    "across_subjects": bool(subjects[a] != subjects[b]),
                    "labels_differ": bool(both and labels[a] != labels[b]),
                }
            )
    pairs = pd.DataFrame(rows, columns=PAIR_COLUMNS)
    types = {"hamming": "int64", "correlation": "float64", "across_subjects": "bool", "labels_differ": "bool"}
    return pairs.astype(types).sort_values(["frame_a", "frame_b"], ignore_index=True)


def groups(table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """`frame_id, dataset, subject, group`: subjects joined by duplicates are one group, which bears the
    name of its first subject."""
    names, subject = np.unique(table["subject"].to_numpy(dtype=str), return_inverse=True)
    of_frame = dict(zip(table["frame_id"], subject, strict=True))
    a = pairs["frame_a"].map(of_frame).to_numpy(dtype=np.int64)
    b = pairs["frame_b"].map(of_frame).to_numpy(dtype=np.int64)
    ties = coo_array((np.ones(len(a)), (a, b)), shape=(len(names), len(names)))
    _, component = connected_components(ties, directed=False)
    leader = pd.Series(names).groupby(component).transform("min").to_numpy()
    return table[["frame_id", "dataset", "subject"]].assign(group=leader[subject])


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of the fine detail of two frames `(H, W)`, −1 to 1, at the best shift of a few pixels.

    Two frames of one scanner share their outline and their brightness over depth, whatever they show;
    speckle and fine structure they share only if they are the same picture. 0 where a frame has none.
    """
    first, second = _detail(a), _detail(b)
    norm = float(np.sqrt((first * first).sum() * (second * second).sum()))
    if norm == 0:
        return 0.0
    padded = [2 * side for side in first.shape]  # no wrap-around
    spectrum = np.fft.rfft2(first, padded) * np.conj(np.fft.rfft2(second, padded))
    shifts = np.fft.irfft2(spectrum, padded)  # negative shifts stand at the end
    near = np.r_[-SHIFT : SHIFT + 1]
    return float(shifts[np.ix_(near, near)].max()) / norm


def _detail(frame: np.ndarray) -> np.ndarray:
    """What differs from the local mean (Gaussian, 2 pixels), inside the insonified area; 0 outside."""
    frame = frame.astype(np.float64)
    inside = minimum_filter(frame, 5) > BLACK
    if not inside.any():
        return np.zeros_like(frame)
    weight = np.maximum(gaussian_filter(inside.astype(np.float64), 2), 1e-6)
    detail = frame - gaussian_filter(frame * inside, 2) / weight
    return np.where(inside, detail - detail[inside].mean(), 0.0)


def _hashes(column: pd.Series) -> np.ndarray:
    return np.array([int(text, 16) for text in column], dtype=np.uint64)


def _near(
    hashes: np.ndarray, mirrored: np.ndarray, limit: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(a, b, bits, flipped) of all pairs a < b within `limit` bits, the better of both orientations."""
    parts = []
    for start in range(0, len(hashes), BLOCK):
        block = hashes[start : start + BLOCK, None]
        straight = np.bitwise_count(block ^ hashes[None, start:])  # (block, rest)
        turned = np.bitwise_count(block ^ mirrored[None, start:])
        bits = np.minimum(straight, turned)
        a, b = np.nonzero(bits <= limit)
        later = b > a
        a, b = a[later], b[later]
        parts.append((a + start, b + start, bits[a, b], turned[a, b] < straight[a, b]))
    if not parts:
        return (np.empty(0, np.int64),) * 4
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))  # type: ignore[return-value]


def _positions(table: pd.DataFrame) -> list[tuple[int, int]]:
    """(which dataset, row in it) of each frame, datasets counted in the order they appear."""
    order = {name: index for index, name in enumerate(dict.fromkeys(table["dataset"]))}
    return [(order[name], int(row)) for name, row in zip(table["dataset"], table["row"], strict=True)]


def _picture(frames: list[np.ndarray], position: tuple[int, int]) -> np.ndarray:
    frame = frames[position[0]][position[1]]
    return frame.mean(axis=-1) if frame.ndim == 3 else frame
