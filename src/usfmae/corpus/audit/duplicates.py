"""The pairs of frames that show the same picture: candidates, then evidence."""

from __future__ import annotations

import numpy as np
import pandas as pd

from usfmae.corpus.audit.candidates import alike, by_descriptor, by_embedding, by_hash, unordered
from usfmae.corpus.audit.crops import Crops
from usfmae.corpus.audit.descriptors import oriented_hashes
from usfmae.corpus.audit.verification import least_correlation, verify
from usfmae.settings.study import Duplicates

PAIR_COLUMNS = {
    "frame_a": "str",
    "frame_b": "str",
    "kind": "str",
    "hamming": "int64",
    "correlation": "float64",
    "distance": "float64",
    "orientation": "int64",
    "scale": "float64",
    "across_subjects": "bool",
    "labels_differ": "bool",
}
#: Up to so many frames with equal pixels every pair is listed; beyond, each with the first.
ALL_PAIRS = 5


def find_pairs(
    table: pd.DataFrame,
    frames: list[np.ndarray],
    thumbnails: np.ndarray,
    settings: Duplicates,
    *,
    letterboxed: bool = True,
    embeddings: np.ndarray | None = None,
) -> pd.DataFrame:
    """A row a pair of frames that show the same picture; see docs/contracts.md.

    Exact: the decoded pixels are equal. Near: frames of two subjects whose descriptors, perceptual hashes or
    `embeddings` are neighbours in any of 8 orientations, and whose fine detail correlates at least
    `settings.correlation` once they are aligned. Frames of one subject are never split, so a near copy among
    them is not looked for; below 128 px more than `settings.correlation` is asked for.

    `table` and `frames` are those of `read_corpus`, of one corpus or of several put together; `thumbnails`
    is uint8 (N, 32, 32), `embeddings` float (N, D), a row a row of the table. `letterboxed`: the crops lie in
    their frames between black bars, in their own aspect ratio.
    """
    exact = _equal(table["pixel_hash"])
    subjects = np.unique(table["subject"].to_numpy(dtype=str), return_inverse=True)[1]
    hashes = oriented_hashes(thumbnails)
    found = [exact]
    if len(table) > 1:
        near = [
            alike(by_hash(hashes[0], hashes, subjects, settings.hamming), thumbnails),
            by_descriptor(thumbnails, subjects),
        ]
        if embeddings is not None:
            near.append(by_embedding(embeddings, subjects))
        searched = unordered(pd.concat(near, ignore_index=True))
        compared = verify(searched, thumbnails, Crops(table, frames, letterboxed=letterboxed))
        least = least_correlation(settings.correlation, min(array.shape[1] for array in frames))
        found.append(compared[compared["correlation"] >= least])
    pairs = unordered(pd.concat(found, ignore_index=True))
    return _described(pairs, table, subjects, hashes)


def _equal(digests: pd.Series) -> pd.DataFrame:
    """Pairs of rows with equal digests, as exact evidence."""
    pairs: list[tuple[int, int]] = []
    rows = np.arange(len(digests))
    for _, same in pd.Series(rows).groupby(digests.to_numpy(dtype=str)):
        if len(same) > 1:
            ends = same.tolist()
            firsts = ends[:-1] if len(ends) <= ALL_PAIRS else ends[:1]
            pairs += [(a, b) for at, a in enumerate(firsts) for b in ends[at + 1 :]]
    table = pd.DataFrame(pairs, columns=["fixed", "moving"], dtype=np.int64)
    return table.assign(orientation=0, window=0, distance=-1.0, correlation=1.0, scale=1.0)


def _described(
    pairs: pd.DataFrame, table: pd.DataFrame, subjects: np.ndarray, hashes: np.ndarray
) -> pd.DataFrame:
    """The table of the contract; `hashes` are those of `oriented_hashes`."""
    fixed, moving = pairs["fixed"].to_numpy(dtype=int), pairs["moving"].to_numpy(dtype=int)
    a, b = np.minimum(fixed, moving), np.maximum(fixed, moving)
    turned = hashes[pairs["orientation"].to_numpy(dtype=int), moving]
    labels, digests = table["label"].to_numpy(dtype=object, na_value=None), table["pixel_hash"].to_numpy()
    names = table["frame_id"].to_numpy()
    known = pd.notna(labels[a]) & pd.notna(labels[b])
    return (
        pd.DataFrame(
            {
                "frame_a": names[a],
                "frame_b": names[b],
                "kind": np.where(digests[a] == digests[b], "exact", "near"),
                "hamming": np.bitwise_count(turned ^ hashes[0, fixed]).sum(axis=1),
                "correlation": pairs["correlation"].to_numpy(),
                "distance": np.maximum(pairs["distance"].to_numpy(), 0),
                "orientation": pairs["orientation"].to_numpy(),
                "scale": pairs["scale"].to_numpy(),
                "across_subjects": subjects[a] != subjects[b],
                "labels_differ": known & (labels[a] != labels[b]),
            }
        )
        .astype(PAIR_COLUMNS)
        .sort_values(["frame_a", "frame_b"], ignore_index=True)
    )
