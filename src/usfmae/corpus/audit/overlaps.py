"""Which datasets share frames, and whether what the registry expects was found."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

OVERLAP_COLUMNS = {
    "dataset_a": "str",
    "dataset_b": "str",
    "exact_pairs": "int64",
    "near_pairs": "int64",
    "across_subjects": "int64",
    "frames_of_a": "int64",
    "frames_of_b": "int64",
    "expected": "str",
    "verdict": "str",
}


def overlaps(
    table: pd.DataFrame, pairs: pd.DataFrame, expected: Mapping[str, Mapping[str, str]]
) -> pd.DataFrame:
    """A row a pair of datasets that share frames or are expected to; a dataset with itself counts as a pair.

    `frames_of_a`: frames of `dataset_a` with a copy in `dataset_b`, and the reverse. `expected`: dataset →
    other dataset → the registry's words. `verdict`: `confirmed`, `not found`, `not checkable` (one side has
    no frame in this corpus), or `not expected`.
    """
    of_frame = table.set_index("frame_id")["dataset"]
    ends = pairs.assign(a=pairs["frame_a"].map(of_frame), b=pairs["frame_b"].map(of_frame))
    swapped = ends["a"] > ends["b"]
    other_way = {"a": "b", "b": "a", "frame_a": "frame_b", "frame_b": "frame_a"}
    ends = pd.concat([ends[~swapped], ends[swapped].rename(columns=other_way)], ignore_index=True)
    words = {
        (min(one, other), max(one, other)): text
        for one, said in expected.items()
        for other, text in said.items()
    }
    found = {(str(a), str(b)): part for (a, b), part in ends.groupby(["a", "b"])}
    present = set(table["dataset"])
    rows = []
    for a, b in sorted(found.keys() | words.keys()):
        part = found.get((a, b), ends.iloc[:0])
        if (a, b) in found:
            verdict = "confirmed" if (a, b) in words else "not expected"
        else:
            verdict = "not found" if {a, b} <= present else "not checkable"
        first, second = set(part["frame_a"]), set(part["frame_b"])
        if a == b:
            first = second = first | second
        exact, across = int((part["kind"] == "exact").sum()), int(part["across_subjects"].sum())
        counts = (exact, len(part) - exact, across, len(first), len(second))
        rows.append((a, b, *counts, words.get((a, b), ""), verdict))
    return pd.DataFrame(rows, columns=list(OVERLAP_COLUMNS)).astype(OVERLAP_COLUMNS)
