"""What a corpus has of each dataset it uses, counted; what was published stands in the registry alone."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from usfmae.corpus.releases.layout import TEXT_ENDINGS

COLUMNS = ["dataset", "status", "reason", "files", "subjects", "frames", "not_sampled", "other_files"]


def availability(datasets: list[str], folder: Path, resources: Path) -> pd.DataFrame:
    """A row a dataset: `available`, or `unavailable` and why, and what its release was found to hold.

    `folder` holds the curated tables, `resources` the downloads. `files` are images, videos or volumes;
    `frames` is what they hold, used or not; `not_sampled` of these were never asked for, by the rule of the
    dataset's `sampling`. `other_files` hold no frame by its patterns: masks, previews, what is left out; text
    and tables are not counted. Null: not there, or not told by the release.
    """
    rows = []
    for name in datasets:
        fetched = json.loads((resources / name / "fetched.json").read_text(encoding="utf-8"))
        row = {"dataset": name, "status": fetched["status"], "reason": fetched["reason"] or ""}
        if fetched["status"] == "available":
            table = pd.read_parquet(folder / name / "frames.parquet", columns=_READ)
            files = {entry["path"] for entry in fetched["files"]}
            others = [
                path for path in files - set(table["source"]) if not path.lower().endswith(TEXT_ENDINGS)
            ]
            row |= _counts(name, table) | {"other_files": len(others)}
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(COLUMNS[3:], "Int64"))


_READ = ["source", "subject", "frames_in_source", "drop_reason"]


def _counts(name: str, table: pd.DataFrame) -> dict[str, int | None]:
    table = table[table["drop_reason"].fillna("") != "file missing"]
    by_source = table.groupby("source")["frames_in_source"]
    frames, asked_for = by_source.max(), by_source.size()
    # A frame whose subject the release does not tell bears the name of its source.
    told = (table["subject"] != name + "/" + table["source"]).any()
    unknown = ((table["frames_in_source"] == 0) & table["drop_reason"].isna()).any()
    return {
        "files": len(frames),
        "subjects": table["subject"].nunique() if told else None,
        "frames": None if unknown else int(frames.sum()),
        "not_sampled": int((frames - asked_for).clip(lower=0).sum()),
    }
