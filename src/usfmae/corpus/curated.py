"""Reads curated frames back: the one place that knows how table and memory map belong together.

Training imports it at every job, so it needs nothing but NumPy and pandas.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from usfmae.record import sha256

#: Under this name `frames.parquet` keeps the sha256 of each array beside it (pandas' `attrs`).
DIGESTS = "sha256"


def read_corpus(folders: list[Path]) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """The kept frames' table of several curated datasets, with `dataset` and `row` (position in its
    dataset's `frames.npy`), and each dataset's frames as a memory map `(N, H, W[, 3])`.

    Raises ValueError where a file is not what curation wrote.
    """
    tables, frames = [], []
    for folder in folders:
        table = pd.read_parquet(folder / "frames.parquet", page_checksum_verification=True)
        table.attrs = {}  # they are of this file alone
        table = table[table["drop_reason"].isna()].reset_index(drop=True)
        tables.append(table.assign(dataset=folder.name, row=np.arange(len(table))))
        frames.append(open_array(folder, "frames.npy"))
        if len(table) != len(frames[-1]):
            raise ValueError(f"{folder}: {len(table)} rows but {len(frames[-1])} frames: curate it again")
    return pd.concat(tables, ignore_index=True), frames


def open_array(folder: Path, name: str) -> np.ndarray:
    """`frames.npy`, `masks.npy` or `thumbnails.npy` of a curated dataset, as a memory map.

    Raises ValueError where its content is not what curation wrote. A corpus that was curated before its table
    kept digests is taken as it is.
    """
    stated = pd.read_parquet(folder / "frames.parquet", columns=[]).attrs.get(DIGESTS, {}).get(name)
    if stated is not None and stated != (found := digest(folder / name)):
        raise ValueError(
            f"{folder / name}: its content is not what was curated (sha256 {found[:16]}…, frames.parquet "
            f"says {stated[:16]}…): it was changed or damaged. Delete {folder} and start the same command "
            "again: the dataset is curated anew"
        )
    array: np.ndarray = np.load(folder / name, mmap_mode="r")
    return array


def digest(path: Path) -> str:
    """sha256 of a file; computed once a process while the file stays as it is, because a corpus has gigabytes
    and a job needs it to check them and to name its checkpoints."""
    facts = path.stat()
    return _digest(path.absolute(), facts.st_ino, facts.st_size, facts.st_mtime_ns)


@cache
def _digest(path: Path, *_facts: int) -> str:
    return sha256(path)
