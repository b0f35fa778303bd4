"""What a corpus has of each dataset it uses, counted; what was published stands in the registry alone."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

COLUMNS = ["dataset", "status", "reason", "files", "subjects", "frames"]


def availability(datasets: list[str], folder: Path, resources: Path) -> pd.DataFrame:
    """A row a dataset: `available`, or `unavailable` and why, and what its release was found to hold.

    `folder` holds the curated tables, `resources` the downloads. `files` are images, videos or volumes;
    `frames` is what they hold, used or not. Null: not there, or not told by the release.
    """
    rows = []
    for name in datasets:
        fetched = json.loads((resources / name / "fetched.json").read_text(encoding="utf-8"))
        row = {"dataset": name, "status": fetched["status"], "reason": fetched["reason"] or ""}
        if fetched["status"] == "available":
            row |= _counts(name, pd.read_parquet(folder / name / "frames.parquet", columns=_READ))
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(COLUMNS[3:], "Int64"))


_READ = ["source", "subject", "frames_in_source", "drop_reason"]


def _counts(name: str, table: pd.DataFrame) -> dict[str, int | None]:
    table = table[table["drop_reason"].fillna("") != "file missing"]
    frames = table.groupby("source")["frames_in_source"].max()
    # A frame whose subject the release does not tell bears the name of its source.
    told = (table["subject"] != name + "/" + table["source"]).any()
    unknown = ((table["frames_in_source"] == 0) & table["drop_reason"].isna()).any()
    return {
        "files": len(frames),
        "subjects": table["subject"].nunique() if told else None,
        "frames": None if unknown else int(frames.sum()),
    }
