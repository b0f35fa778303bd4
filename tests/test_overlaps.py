"""Datasets that share frames: counted from both sides."""

from __future__ import annotations

import numpy as np
import pandas as pd

from usfmae.corpus.audit.candidates import by_embedding
from usfmae.corpus.audit.duplicates import PAIR_COLUMNS, find_pairs
from usfmae.corpus.audit.overlaps import overlaps
from usfmae.settings.study import Duplicates


def pairs(*rows: tuple[str, str, str]) -> pd.DataFrame:
    """(frame, frame, kind) of pairs across subjects."""
    table = pd.DataFrame(rows, columns=["frame_a", "frame_b", "kind"])
    return table.assign(across_subjects=True)


TABLE = pd.DataFrame(
    {
        "frame_id": ["heads/1", "heads/2", "heads/3", "brains/1", "brains/2", "hearts/1"],
        "dataset": ["heads", "heads", "heads", "brains", "brains", "hearts"],
        "official_split": ["train", "test", None, "train", "test", None],
    }
)


def test_what_two_datasets_share_is_counted_from_both_sides_whichever_comes_first() -> None:
    found = pairs(
        ("heads/1", "brains/1", "exact"), ("brains/1", "heads/2", "near"), ("heads/3", "brains/2", "near")
    )
    row = overlaps(TABLE, found).set_index(["dataset_a", "dataset_b"]).loc[("brains", "heads")]
    assert (row["exact_pairs"], row["near_pairs"], row["across_subjects"]) == (1, 2, 3)
    assert (row["frames_of_a"], row["frames_of_b"]) == (2, 3)


def test_copies_in_two_parts_of_an_official_split_are_counted_apart() -> None:
    found = pairs(
        ("heads/1", "heads/2", "near"), ("heads/2", "heads/3", "near"), ("brains/1", "heads/2", "near")
    )
    table = overlaps(TABLE, found).set_index(["dataset_a", "dataset_b"])["across_splits"]
    assert table.to_dict() == {("heads", "heads"): 1, ("brains", "heads"): 0}


def test_a_dataset_that_holds_a_picture_twice_is_a_pair_with_itself() -> None:
    found = pairs(("heads/1", "heads/2", "near"))
    table = overlaps(TABLE, found).set_index(["dataset_a", "dataset_b"])
    assert list(table.index) == [("heads", "heads")]
    assert tuple(table.loc[("heads", "heads"), ["frames_of_a", "frames_of_b"]]) == (2, 2)


def test_an_encoders_embeddings_name_the_nearest_frames_of_other_subjects() -> None:
    embeddings = np.array([[1, 0], [0.9, 0.1], [1, 0.01], [-1, 0.2]], dtype=np.float32)
    found = by_embedding(embeddings, np.array([0, 0, 1, 2]), neighbours=2)
    near = {frozenset(pair) for pair in found[["moving", "fixed"]].to_numpy().tolist()}
    assert {frozenset({0, 2}), frozenset({1, 2})} <= near
    assert frozenset({0, 1}) not in near  # one subject
    assert not (found["moving"] == found["fixed"]).any()


def test_many_equal_frames_are_listed_once_each_and_not_pair_by_pair() -> None:
    count = 40
    table = pd.DataFrame({"frame_id": [f"clip/{i:02}" for i in range(count)], "dataset": "clip"})
    table = table.assign(row=range(count), subject="clip/1", label=None, pixel_hash="same", crop="0,0,64,64")
    frames, thumbnails = np.full((count, 64, 64), 90, np.uint8), np.full((count, 32, 32), 90, np.uint8)
    found = find_pairs(table, [frames], thumbnails, Duplicates())
    assert len(found) == count - 1
    assert (found["kind"] == "exact").all() and not found["across_subjects"].any()
    assert {name: str(kind) for name, kind in found.dtypes.items()} == PAIR_COLUMNS
