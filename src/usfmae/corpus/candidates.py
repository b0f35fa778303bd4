"""Which pairs of frames are worth a closer look: neighbours among descriptors of thumbnails.

Comparing 370,000 frames pair by pair would be 7e10 comparisons. Each frame is therefore described by 64
numbers, and faiss finds the nearest ones. A copy may be mirrored, turned or cropped, so every frame is looked
up in 8 orientations and through 6 windows. Turning, cropping and describing are linear, so each of these 48
variants is one matrix.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from usfmae.progress import progress

#: Side of a thumbnail in pixels.
SIDE = 32
#: (transpose, turn upside down, mirror), applied in this order: all symmetries of the square.
ORIENTATIONS = tuple(product((False, True), repeat=3))
#: ((top, bottom), (left, right)) as shares of the frame: whole, four corners, middle. A crop of up to 10 % at
#: each border lies near one of them, seen from the one frame or from the other.
WINDOWS = (
    ((0.0, 1.0), (0.0, 1.0)),
    *product(((0.0, 0.9), (0.1, 1.0)), repeat=2),
    ((0.1, 0.9), (0.1, 0.9)),
)
#: Length of a descriptor.
LENGTH = 64
#: Frames that the descriptor is fitted on, each in all orientations.
SAMPLE = 4000
#: Neighbours asked for each variant, and frames of other subjects kept for each frame, all variants together.
NEIGHBOURS, KEPT = 16, 6
#: Smallest cosine of two descriptors. Of 3,000 planted copies of real frames 99 % reach 0.62.
COSINE = 0.55
#: Up to so many frames the search is exhaustive.
EXHAUSTIVE = 20_000
#: Frames looked up at once: 8,192 x 48 variants x 16 neighbours are 50 MB.
BATCH = 8192

COLUMNS = ["moving", "fixed", "orientation", "window", "score"]


def candidates(thumbnails: np.ndarray, subjects: np.ndarray) -> pd.DataFrame:
    """`moving, fixed` (rows), `orientation`, `window` (numbers), `score`: a row an unordered pair.

    The frame `moving`, brought into `orientation` and cut to `window`, resembles the whole frame `fixed`;
    `score` is the cosine of their descriptors. Pairs of one subject are left out, and each frame brings in at
    most 6 others, so the list grows with the number of frames only. `thumbnails` is uint8 (N, 32, 32) and is
    read in batches; `subjects` is (N,).
    """
    count = len(thumbnails)
    if count < 2:
        return pd.DataFrame(columns=COLUMNS)
    subject = np.unique(subjects, return_inverse=True)[1]
    project = _fitted(thumbnails)
    variants = [
        (orientation, window, _variant(orientation, window) @ project)
        for orientation, window in product(range(len(ORIENTATIONS)), range(len(WINDOWS)))
    ]
    starts = range(0, count, BATCH)
    whole = np.concatenate([_unit(flat(thumbnails[start : start + BATCH]) @ project) for start in starts])
    index = _index(whole)
    number = min(NEIGHBOURS, count)
    parts = []
    for start in progress(starts, description="looking for copies", unit="batch"):
        pictures = flat(thumbnails[start : start + BATCH])  # (B, 1024)
        found = []
        for _, _, matrix in variants:
            query = _unit(pictures @ matrix)  # (B, 64)
            rows = index.search(query, number)[1]  # (B, k); the scores of a compressed index are not exact
            found.append((np.einsum("bd,bkd->bk", query, whole[rows]), rows))
        scores = np.stack([score for score, _ in found], axis=1)  # (B, V, k)
        rows = np.stack([row for _, row in found], axis=1)
        own = subject[start : start + len(pictures), None, None]
        scores[(subject[rows] == own) | (rows < 0)] = -1
        parts.append(_best(start, scores, rows, variants))
    return _one_a_pair(pd.concat(parts, ignore_index=True))


def nearest_embeddings(embeddings: np.ndarray, subjects: np.ndarray, neighbours: int = 20) -> pd.DataFrame:
    """Candidates as in `candidates`: the nearest frames of other subjects by cosine of an encoder's
    embeddings, float (N, D). Upright and whole, because an embedding does not say how a copy was made."""
    unit = _unit(np.array(embeddings, dtype=np.float32))
    index = _index(unit)
    scores, rows = index.search(unit, min(neighbours + 1, len(unit)))
    moving = np.repeat(np.arange(len(unit)), rows.shape[1])
    table = pd.DataFrame({"moving": moving, "fixed": rows.ravel(), "orientation": 0, "window": 0})
    table = table.assign(score=scores.ravel())
    subjects = np.asarray(subjects)
    return _one_a_pair(table[(table["fixed"] >= 0) & (subjects[table["moving"]] != subjects[table["fixed"]])])


def normalised(pictures: np.ndarray) -> np.ndarray:
    """float32 (N, S, S): what differs from the local mean, over the local spread, within -1.5 to 1.5.

    Gain, gamma and shading fall away, and text or calipers weigh no more than tissue.
    """
    side = pictures.shape[-1]
    blur = _gaussian(side, 6 * side / SIDE)
    pictures = pictures.astype(np.float32) / 255
    difference = pictures - blur @ pictures @ blur.T
    spread = np.sqrt(np.maximum(blur @ (difference * difference) @ blur.T, 0))
    return np.clip(difference / (spread + 0.03), -1.5, 1.5)


def flat(thumbnails: np.ndarray) -> np.ndarray:
    """`normalised` as float32 (N, 1024)."""
    return normalised(np.asarray(thumbnails)).reshape(len(thumbnails), -1)


def oriented(pictures: np.ndarray, orientation: int) -> np.ndarray:
    """Pictures (..., S, S) in one of the 8 orientations."""
    transpose, upside_down, mirror = ORIENTATIONS[orientation]
    if transpose:
        pictures = pictures.swapaxes(-1, -2)
    return pictures[..., :: -1 if upside_down else 1, :: -1 if mirror else 1]


def _fitted(thumbnails: np.ndarray) -> np.ndarray:
    """(1024, 64): the principal directions of a sample, each brought to unit variance, so that what all frames
    of one scanner share does not decide who is near whom."""
    rows = np.random.default_rng(0).permutation(len(thumbnails))[:SAMPLE]
    pictures = normalised(thumbnails[np.sort(rows)])
    turned = [oriented(pictures, o).reshape(len(pictures), -1) for o in range(len(ORIENTATIONS))]
    moments = sum(part.T @ part for part in turned) / sum(map(len, turned))  # (1024, 1024)
    values, directions = np.linalg.eigh(moments)
    values, directions = values[::-1][:LENGTH], directions[:, ::-1][:, :LENGTH]
    return (directions / np.sqrt(np.maximum(values, values[0] * 1e-4))).astype(np.float32)


def _variant(orientation: int, window: int) -> np.ndarray:
    """(1024, 1024): `flat picture @ matrix` is the flat picture, oriented and cut to a window."""
    rows, columns = (_resampling(*part) for part in WINDOWS[window])
    single_pixels = np.eye(SIDE * SIDE, dtype=np.float32).reshape(-1, SIDE, SIDE)
    return (rows @ oriented(single_pixels, orientation) @ columns.T).reshape(SIDE * SIDE, -1)


def _resampling(low: float, high: float) -> np.ndarray:
    """(32, 32): a line's part from `low` to `high` (shares of its length), stretched to the whole line."""
    centres = (low + (high - low) * (np.arange(SIDE) + 0.5) / SIDE) * SIDE
    weights = np.clip(1 - np.abs(np.arange(SIDE) + 0.5 - centres[:, None]), 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _gaussian(side: int, sigma: float) -> np.ndarray:
    places = np.arange(side)
    weights = np.exp(-((places[:, None] - places) ** 2) / (2 * sigma**2))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def _index(vectors: np.ndarray):  # type: ignore[no-untyped-def]  # faiss has no type hints
    """Searches by inner product; from 20,000 vectors on, in the nearest cells only and on 4-bit codes."""
    import faiss

    count, length = vectors.shape
    if count <= EXHAUSTIVE:
        index = faiss.IndexFlatIP(length)
    else:
        cells = int(2 * count**0.5)
        index = faiss.index_factory(length, f"IVF{cells},PQ{length // 2}x4fs", faiss.METRIC_INNER_PRODUCT)
        index.nprobe = cells // 24
        index.train(vectors[np.random.default_rng(0).permutation(count)[: 50 * cells]])
    index.add(vectors)
    return index


def _best(start: int, scores: np.ndarray, rows: np.ndarray, variants: list) -> pd.DataFrame:
    """The best frames of each query; scores and rows are (B, V, k)."""
    batch, _, neighbours = scores.shape
    scores, rows = scores.reshape(batch, -1), rows.reshape(batch, -1)
    top = np.argpartition(-scores, min(8 * KEPT, scores.shape[1] - 1), axis=1)[:, : 8 * KEPT]
    query = np.repeat(np.arange(batch), top.shape[1])
    place = top.ravel()
    table = pd.DataFrame(
        {
            "moving": query + start,
            "fixed": rows[query, place],
            "orientation": np.array([variant[0] for variant in variants])[place // neighbours],
            "window": np.array([variant[1] for variant in variants])[place // neighbours],
            "score": scores[query, place],
        }
    )
    table = table[table["score"] >= COSINE].sort_values("score", ascending=False, kind="stable")
    table = table.drop_duplicates(["moving", "fixed"])
    return table[table.groupby("moving").cumcount() < KEPT]


def _one_a_pair(table: pd.DataFrame) -> pd.DataFrame:
    """Each unordered pair once, in its best variant."""
    table = table.sort_values("score", ascending=False, kind="stable")
    low, high = table[["moving", "fixed"]].min(axis=1), table[["moving", "fixed"]].max(axis=1)
    first = ~pd.DataFrame({"low": low, "high": high}).duplicated()
    return table[first].reset_index(drop=True)
