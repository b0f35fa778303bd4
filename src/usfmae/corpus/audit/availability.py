"""What a corpus has of each dataset it names, and what it lacks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from usfmae.settings.datasets import Dataset

COLUMNS = [
    "dataset",
    "status",
    "reason",
    "files_published",
    "files_found",
    "subjects_published",
    "subjects_found",
    "differs",
]


def availability(
    datasets: Mapping[str, Dataset], used: list[str], folder: Path, resources: Path
) -> pd.DataFrame:
    """A row a dataset of the corpus: `available`, `unavailable` and why, or `left out` for its licence.

    `used` are the datasets whose licence the corpus uses, `folder` holds their curated tables and
    `resources` their downloads. Files are images, videos or volumes; published numbers are null where
    nobody states them. `differs` says whether a published number was not found again.
    """
    rows = []
    for name, dataset in datasets.items():
        if name not in used:
            reason = f"licence {dataset.licence.use.replace('_', '-')}: not named in the corpus's `licences`"
            rows.append({"dataset": name, "status": "left out", "reason": reason, "differs": False})
            continue
        fetched = json.loads((resources / name / "fetched.json").read_text(encoding="utf-8"))
        row = {
            "dataset": name,
            "status": fetched["status"],
            "reason": fetched["reason"] or "",
            "differs": False,
        }
        if fetched["status"] == "available":
            table = pd.read_parquet(
                folder / name / "frames.parquet", columns=["source", "subject", "drop_reason"]
            )
            table = table[table["drop_reason"].fillna("") != "file missing"]
            found = {"files": table["source"].nunique(), "subjects": table["subject"].nunique()}
            published = {"files": dataset.counts.files, "subjects": dataset.counts.subjects}
            row |= {f"{what}_found": number for what, number in found.items()}
            row |= {f"{what}_published": number for what, number in published.items()}
            row["differs"] = any(published[what] not in (None, found[what]) for what in found)
        rows.append(row)
    numbers = dict.fromkeys(
        [column for column in COLUMNS if column.endswith(("published", "found"))], "Int64"
    )
    return pd.DataFrame(rows, columns=COLUMNS).astype(numbers)
