"""The audit of a whole corpus: duplicates, groups, and what curation found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from usfmae.corpus.audit.duplicates import find_pairs
from usfmae.corpus.audit.groups import groups
from usfmae.corpus.audit.overlaps import overlaps
from usfmae.corpus.curated import open_array, read_corpus
from usfmae.record import write_table
from usfmae.settings.study import Corpus

#: Share of burnt-in pixels above which a frame is reported; real frames without overlays stay below.
OVERLAY = 0.001


def audit(corpus: Corpus, folder: Path, embeddings: Path | None = None) -> None:
    """Writes `duplicates.parquet`, `groups.parquet`, `overlaps.csv` and `curation.csv` into `folder`, which
    holds the curated datasets. `embeddings`: `embeddings.npy`, which may be empty.

    Raises ValueError where the files of a dataset do not match.
    """
    folders = [folder / dataset for dataset in corpus.datasets]
    table, frames = read_corpus(folders)
    letterboxed = corpus.resize == "letterbox"
    vectors = None if embeddings is None else np.load(embeddings)
    pairs = find_pairs(
        table,
        frames,
        read_thumbnails(folders),
        corpus.duplicates,
        letterboxed=letterboxed,
        embeddings=vectors if vectors is not None and len(vectors) else None,
    )
    write_table(folder / "duplicates.parquet", pairs)
    write_table(folder / "groups.parquet", groups(table, pairs))
    write_table(folder / "overlaps.csv", overlaps(table, pairs))
    everything = pd.concat(
        [pd.read_parquet(f / "frames.parquet").assign(dataset=f.name) for f in folders], ignore_index=True
    )
    write_table(folder / "curation.csv", findings(everything, pairs, corpus.datasets))


def read_thumbnails(folders: list[Path]) -> np.ndarray:
    """uint8 (N, 32, 32): the thumbnails of several curated datasets, in the order of `read_corpus`."""
    parts = []
    for folder in folders:
        parts.append(open_array(folder, "thumbnails.npy"))
        count = len(open_array(folder, "frames.npy"))
        if len(parts[-1]) != count:
            raise ValueError(f"{folder}: {len(parts[-1])} thumbnails but {count} frames: curate it again")
    return np.concatenate(parts)


def findings(table: pd.DataFrame, pairs: pd.DataFrame, datasets: list[str]) -> pd.DataFrame:
    """`dataset, finding, frames`: what was kept, dropped and flagged. A finding of no frame is left out,
    but for `kept`, which every dataset has."""
    of_frame = table.set_index("frame_id")["dataset"]
    first = pairs["frame_a"].map(of_frame)
    rows = []
    for dataset in datasets:
        own = table[table["dataset"] == dataset]
        kept = own[own["drop_reason"].isna()]
        tied = pairs[first == dataset]
        reasons = own["drop_reason"].dropna().str.split(":").str[0].value_counts()
        found = {
            "kept": len(kept),
            **{f"dropped: {reason}": int(n) for reason, n in reasons.items()},
            "kept without a label": int(kept["label"].isna().sum()),
            "with a mask": int(kept["has_mask"].sum()),
            "with burnt-in text, calipers or colour": int((kept["overlay_fraction"] > OVERLAY).sum()),
            "exact duplicate pairs": int((tied["kind"] == "exact").sum()),
            "near duplicate pairs": int((tied["kind"] == "near").sum()),
            "duplicate pairs across subjects": int(tied["across_subjects"].sum()),
            "duplicate pairs with different labels": int(tied["labels_differ"].sum()),
        }
        rows += [(dataset, finding, n) for finding, n in found.items() if n or finding == "kept"]
    return pd.DataFrame(rows, columns=["dataset", "finding", "frames"])
