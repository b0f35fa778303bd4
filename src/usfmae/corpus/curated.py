"""Reads curated frames back: the one place that knows how table and memory map belong together.

Training imports it at every job, so it needs nothing but NumPy and pandas.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd


def read_corpus(folders: list[Path]) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """The kept frames' table of several curated datasets, with `dataset` and `row` (position in its
    dataset's `frames.npy`), and each dataset's frames as a memory map `(N, H, W[, 3])`."""
    tables, frames = [], []
    for folder in folders:
        table = pd.read_parquet(folder / "frames.parquet")
        table = table[table["drop_reason"].isna()].reset_index(drop=True)
        tables.append(table.assign(dataset=folder.name, row=np.arange(len(table))))
        frames.append(np.load(folder / "frames.npy", mmap_mode="r"))
        if len(table) != len(frames[-1]):
            raise ValueError(f"{folder}: {len(table)} rows but {len(frames[-1])} frames: curate it again")
    return pd.concat(tables, ignore_index=True), frames
