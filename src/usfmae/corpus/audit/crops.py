"""Reads the frames that the audit compares: few of many, in no order, out of files larger than memory."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import pandas as pd

from usfmae.progress import progress

#: Side at which frames are compared, in pixels; smaller frames are compared at their own.
SIDE = 128
#: Frames after which those that were read are given back.
FORGET = 4096


class Crops:
    """The crops of a corpus's frames in grey, squashed to squares of one side: `crops[row]`, uint8 (S, S).

    `table` and `frames` are those of `read_corpus`. S is at most 128 and the same for all, because corpora
    may differ in size. `letterboxed`: the crops lie in their frames between black bars, in their own aspect
    ratio.
    """

    def __init__(self, table: pd.DataFrame, frames: list[np.ndarray], *, letterboxed: bool) -> None:
        order = {name: index for index, name in enumerate(dict.fromkeys(table["dataset"]))}
        # A dataset that could not be had has an array without a frame, and no row in the table.
        self.frames = [array for array in frames if len(array)]
        self.datasets, self.rows = table["dataset"].map(order).to_numpy(), table["row"].to_numpy()
        self.side = min(SIDE, *(array.shape[1] for array in frames))
        boxes = table["crop"].str.split(",", expand=True).astype(int).to_numpy() if len(table) else None
        self.boxes = boxes if letterboxed else None

    def __getitem__(self, row: int) -> np.ndarray:
        frame = self.frames[self.datasets[row]][self.rows[row]]
        if self.boxes is not None:
            top, left, bottom, right = self.boxes[row]
            height, width = bottom - top, right - left
            long, size = max(height, width), len(frame)
            high, wide = max(1, round(height * size / long)), max(1, round(width * size / long))
            up, aside = (size - high) // 2, (size - wide) // 2
            frame = frame[up : up + high, aside : aside + wide]
        grey = frame.mean(axis=-1).astype(np.uint8) if frame.ndim == 3 else frame
        square = (self.side, self.side)
        return np.asarray(cv2.resize(np.ascontiguousarray(grey), square, interpolation=cv2.INTER_AREA))

    @contextmanager
    def gathered(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """uint8 (len(rows), S, S): the crops of these rows, which ascend, mapped from a temporary file in the
        folder that `TMPDIR` names.

        Rows lie in the order of the frames' files. Read in that order, once, a cold disk delivers them up to
        a hundred times as fast as it finds one here and one there, and of large frames only the crops are
        kept.
        """
        with tempfile.TemporaryFile() as file:
            for number, row in enumerate(progress(rows, description="reading frames", unit="frame")):
                file.write(np.ascontiguousarray(self[row]).data)
                if number % FORGET == 0:
                    self._forget()
            file.flush()
            shape = (len(rows), self.side, self.side)
            yield np.memmap(file, np.uint8, "r", shape=shape) if len(rows) else np.empty(shape, np.uint8)

    def _forget(self) -> None:
        """Gives mapped frames back: they would count as this process's memory until the end."""
        for array in self.frames:
            if isinstance(array.base, mmap.mmap):
                array.base.madvise(mmap.MADV_DONTNEED)
