"""Reads curated frames back: the one place that knows how table and memory map belong together.

Training imports it at every job, so it needs nothing but NumPy and pandas.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import xxhash

#: Under this name `frames.parquet` keeps the digest of each array beside it (pandas' `attrs`).
DIGESTS = "xxh3"


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
            f"{folder / name}: its content is not what was curated (XXH3 {found[:16]}…, frames.parquet "
            f"says {stated[:16]}…): it was changed or damaged. Delete {folder} and start the same command "
            "again: the dataset is curated anew"
        )
    array: np.ndarray = np.load(folder / name, mmap_mode="r")
    return array


def digest(path: Path) -> str:
    """XXH3 of a file, 128 bits in hexadecimal; computed once a process while the file stays as it is.

    A corpus has gigabytes, which each job checks before it uses them: SHA-256 would take five times as long,
    and show no more of the damage that is looked for here.
    """
    facts = path.stat()
    return _digest(path.absolute(), facts.st_ino, facts.st_size, facts.st_mtime_ns)


def read_rows(corpus: Path, rows: pd.DataFrame, name: str) -> np.ndarray:
    """`(n, H, W)` or `(n, H, W, 3)`: entries of the array `name`, each at a `dataset` and a `row` of `rows`.

    `corpus` holds a folder a dataset. A mask of a dataset without any is all 0. Raises ValueError as
    `open_array` does.
    """
    arrays = {dataset: open_array(corpus / dataset, name) for dataset in rows["dataset"].unique()}
    entries = []
    for dataset, row in zip(rows["dataset"], rows["row"], strict=True):
        array = arrays[dataset]
        without = name == "masks.npy" and len(array) == 0
        entries.append(np.zeros(array.shape[1:], array.dtype) if without else array[row])
    return np.stack(entries)


@cache
def _digest(path: Path, *_facts: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
