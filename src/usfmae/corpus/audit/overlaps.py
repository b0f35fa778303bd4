"""Which datasets share frames, counted; what the registry expects is held against it in the report."""

from __future__ import annotations

import pandas as pd

OVERLAP_COLUMNS = {
    "dataset_a": "str",
    "dataset_b": "str",
    "exact_pairs": "int64",
    "near_pairs": "int64",
    "across_subjects": "int64",
    "across_splits": "int64",
    "frames_of_a": "int64",
    "frames_of_b": "int64",
}


def overlaps(table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """A row a pair of datasets that share frames, `dataset_a` first in the alphabet; a dataset with itself
    counts as a pair.

    `frames_of_a`: frames of `dataset_a` with a copy in `dataset_b`, and the reverse. `across_splits`: pairs
    in different parts of one dataset's official split.
    """
    split = table.set_index("frame_id")["official_split"]
    of_frame = table.set_index("frame_id")["dataset"]
    ends = pairs.assign(a=pairs["frame_a"].map(of_frame), b=pairs["frame_b"].map(of_frame))
    swapped = ends["a"] > ends["b"]
    other_way = {"a": "b", "b": "a", "frame_a": "frame_b", "frame_b": "frame_a"}
    ends = pd.concat([ends[~swapped], ends[swapped].rename(columns=other_way)], ignore_index=True)
    rows = []
    for (a, b), part in ends.groupby(["a", "b"]):
        first, second = set(part["frame_a"]), set(part["frame_b"])
        if a == b:
            first = second = first | second
        exact, across = int((part["kind"] == "exact").sum()), int(part["across_subjects"].sum())
        one, other = part["frame_a"].map(split), part["frame_b"].map(split)
        told = one.notna() & other.notna()
        cut = int((one[told] != other[told]).sum()) if a == b else 0
        rows.append((a, b, exact, len(part) - exact, across, cut, len(first), len(second)))
    return pd.DataFrame(rows, columns=list(OVERLAP_COLUMNS)).astype(OVERLAP_COLUMNS)
