"""Which pairs of frames are worth a closer look: neighbours by descriptor, by perceptual hash, by embedding.

Comparing each of 370,000 frames with each other would be 7e10 comparisons; faiss finds the nearest ones.
Each search gives a table with a row an unordered pair: the frame `moving` (a row number), brought into
`orientation` and cut to `window`, resembles the whole frame `fixed` at a `distance`. Pairs of one subject are
left out, because they may not be split in any case. A frame brings in a limited number of others, so the
tables grow with the number of frames and not with its square.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from usfmae.corpus.audit.descriptors import (
    ORIENTATIONS,
    WINDOWS,
    normalised,
    principal_directions,
    unit,
    variant,
)
from usfmae.progress import progress
from usfmae.record import cores

#: Neighbours asked for each variant; frames of other subjects kept for each frame, all variants together.
NEIGHBOURS, KEPT = 12, 4
#: Numbers of a descriptor that are searched by. The rest, finer structure, decides among what was found.
SEARCHED = 48
#: Smallest cosine of two descriptors. Of 2,400 planted copies of real frames 99.9 % reach it.
COSINE = 0.48
#: Up to so many frames the search is exhaustive.
EXHAUSTIVE = 20_000
#: Frames looked up at once.
BATCH = 4096


def by_descriptor(thumbnails: np.ndarray, subjects: np.ndarray) -> pd.DataFrame:
    """Frames whose descriptors agree in one of 8 orientations through one of 6 windows.

    `thumbnails`: uint8 (N, 32, 32), read in batches. `subjects`: (N,).
    """
    directions = principal_directions(thumbnails)
    variants = list(product(range(len(ORIENTATIONS)), range(len(WINDOWS))))
    matrices = [variant(*which) @ directions for which in variants]  # each (1024, 80)
    batches = [slice(start, start + BATCH) for start in range(0, len(thumbnails), BATCH)]
    whole = np.concatenate([unit(_flat(thumbnails[batch]) @ matrices[0]) for batch in batches])  # (N, 80)
    index = _index(unit(whole[:, :SEARCHED]))

    def neighbours(batch: slice) -> pd.DataFrame:
        pictures = _flat(thumbnails[batch])  # (B, 1024)
        scores, rows = [], []
        for matrix in matrices:
            query = unit(pictures @ matrix)  # (B, 80)
            found = index.search(unit(query[:, :SEARCHED]), min(NEIGHBOURS, len(whole)))[1]  # (B, k)
            scores.append(np.einsum("bd,bkd->bk", query, whole[found]).astype(np.float32))
            rows.append(found.astype(np.int32))
        best, place, fixed = _best(np.stack(scores, 1), np.stack(rows, 1), batch.start, subjects)
        which = np.array(variants)[place]  # (pairs, 2)
        return _table(*best, fixed, which[:, 0], which[:, 1])

    import faiss

    # A thread a core, in which faiss takes no more: much of the work beside its search has one thread alone.
    with ThreadPoolExecutor(cores(), initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool:
        found = pool.map(neighbours, batches)
        parts = list(progress(found, total=len(batches), description="looking for copies", unit="batch"))
    return unordered(pd.concat(parts, ignore_index=True))


def by_hash(hashes: np.ndarray, oriented_hashes: np.ndarray, subjects: np.ndarray, bits: int) -> pd.DataFrame:
    """Frames whose perceptual hashes differ in at most `bits` bits in one of 8 orientations.

    `hashes`: uint8 (N, 8), 64 bits a frame; `oriented_hashes`: uint8 (8, N, 8).
    """
    import faiss

    index: Any = faiss.IndexBinaryFlat(64)
    if len(hashes) > EXHAUSTIVE:
        cells = int(2 * len(hashes) ** 0.5)
        quantizer = faiss.IndexBinaryFlat(64)
        index = faiss.IndexBinaryIVF(quantizer, 64, cells)
        index.nprobe = cells // 100 + 1
        index.train(hashes[:: len(hashes) // (50 * cells) + 1])
    index.add(hashes)
    parts = []
    for orientation, turned in enumerate(oriented_hashes):
        distances, rows = index.search(turned, min(KEPT, len(hashes)))  # (N, k)
        moving, place = np.nonzero((distances <= bits) & (rows >= 0))
        fixed = rows[moving, place]
        parts.append(_table(distances[moving, place], moving, fixed, orientation, 0))
    table = pd.concat(parts, ignore_index=True)
    return unordered(table[subjects[table["moving"]] != subjects[table["fixed"]]])


def alike(table: pd.DataFrame, thumbnails: np.ndarray) -> pd.DataFrame:
    """The rows of `by_hash` whose frames' descriptors agree as well, with that as their distance.

    Sixty-four bits say little where all frames share a sector: of 370,000 frames each has others within a few
    bits, and aligning them all would take an hour.
    """
    directions = principal_directions(thumbnails)
    whole = variant(0, 0) @ directions  # (1024, 80)
    kept = []
    for orientation, rows in table.groupby("orientation"):
        turned = variant(int(str(orientation)), 0) @ directions
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            moving = unit(_flat(thumbnails[part["moving"].to_numpy()]) @ turned)  # (B, 80)
            fixed = unit(_flat(thumbnails[part["fixed"].to_numpy()]) @ whole)
            cosine = np.einsum("bd,bd->b", moving, fixed)
            kept.append(part.assign(distance=1 - cosine)[cosine >= COSINE])
    return pd.concat(kept, ignore_index=True) if kept else table


def by_embedding(embeddings: np.ndarray, subjects: np.ndarray, neighbours: int = 20) -> pd.DataFrame:
    """The nearest frames by cosine of an encoder's embeddings, float (N, D); upright and whole."""
    vectors = unit(np.array(embeddings, dtype=np.float32))
    scores, rows = _index(vectors).search(vectors, min(neighbours + 1, len(vectors)))
    moving, place = np.nonzero(rows >= 0)
    fixed = rows[moving, place]
    table = _table(-scores[moving, place], moving, fixed, 0, 0)
    return unordered(table[subjects[moving] != subjects[fixed]])


def unordered(table: pd.DataFrame) -> pd.DataFrame:
    """Each pair once, in the variant with the smallest `distance`."""
    table = table.sort_values("distance", kind="stable")
    ends = np.sort(table[["moving", "fixed"]].to_numpy(dtype=np.int64), axis=1)
    return table[~pd.DataFrame(ends).duplicated().to_numpy()].reset_index(drop=True)


def _flat(thumbnails: np.ndarray) -> np.ndarray:
    return normalised(thumbnails).reshape(len(thumbnails), -1)


def _table(distance: Any, moving: Any, fixed: Any, orientation: Any, window: Any) -> pd.DataFrame:
    columns = {"moving": moving, "fixed": fixed, "orientation": orientation, "window": window}
    return pd.DataFrame({**columns, "distance": np.asarray(distance, dtype=np.float32)})


def _index(vectors: np.ndarray) -> Any:
    """Searches by inner product; beyond `EXHAUSTIVE` vectors in the nearest cells only, on 4-bit codes."""
    import faiss

    count, length = vectors.shape
    if count <= EXHAUSTIVE or length % 2:
        index: Any = faiss.IndexFlatIP(length)
    else:
        cells = int(count**0.5 / 2)  # few and large ones: opening a cell costs as much as 800 codes in it
        index = faiss.index_factory(length, f"IVF{cells},PQ{length // 2}x4fs", faiss.METRIC_INNER_PRODUCT)
        index.nprobe = cells // 16
        index.train(vectors[:: count // (50 * cells) + 1])
    index.add(vectors)
    return index


def _best(
    scores: np.ndarray, rows: np.ndarray, start: int, subjects: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """((distance, moving), variant, fixed) of the frames kept for each query; input (B, V, k)."""
    batch, _, neighbours = scores.shape
    scores, rows = scores.reshape(batch, -1), rows.reshape(batch, -1)  # (B, V * k)
    own = subjects[start : start + batch, None]
    query, place = np.nonzero((scores >= COSINE) & (rows >= 0) & (subjects[rows] != own))
    table = pd.DataFrame({"query": query, "place": place, "row": rows[query, place]})
    table["score"] = scores[query, place]
    table = table.sort_values(["query", "score"], ascending=[True, False], kind="stable")
    table = table.drop_duplicates(["query", "row"])
    table = table[table.groupby("query").cumcount() < KEPT]
    query, place = table["query"].to_numpy(), table["place"].to_numpy()
    return (1 - table["score"].to_numpy(), query + start), place // neighbours, table["row"].to_numpy()
