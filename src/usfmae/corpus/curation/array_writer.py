"""Writes an `.npy` file piece by piece, so that no array has to fit into memory."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import BinaryIO

import numpy as np


class ArrayWriter:
    """Appends uint8 items to an `.npy` file without knowing how many there will be.

    NumPy pads the header for a first axis that grows, so it can be written again at the end.
    """

    def __init__(self, path: Path, item_shape: tuple[int, ...]) -> None:
        self.path, self.item_shape, self.count = path, item_shape, 0

    def __enter__(self) -> ArrayWriter:
        self.file: BinaryIO = self.path.open("wb")
        self._header()
        return self

    def append(self, item: np.ndarray) -> None:
        """One more item. Raises ValueError for another shape or type."""
        if item.shape != self.item_shape or item.dtype != np.uint8:
            raise ValueError(f"expected uint8 {self.item_shape}, got {item.dtype} {item.shape}")
        self.file.write(np.ascontiguousarray(item).data)
        self.count += 1

    def skip(self, count: int) -> None:
        """Items of zeros that take no space on disk (a hole in the file)."""
        self.file.seek(count * math.prod(self.item_shape), os.SEEK_CUR)
        self.count += count

    def extend(self, path: Path) -> None:
        """All items of another such file, as they are. Raises ValueError as `append` does."""
        items = np.load(path, mmap_mode="r")
        if items.shape[1:] != self.item_shape or items.dtype != np.uint8:
            raise ValueError(f"{path}: expected uint8 {self.item_shape}, got {items.dtype} {items.shape[1:]}")
        with path.open("rb") as file:
            file.seek(items.offset)
            shutil.copyfileobj(file, self.file, 2**18)  # half the time of writing the mapped array
        self.count += len(items)

    def __exit__(self, *_: object) -> None:
        self.file.truncate()  # the file may end with a hole
        self.file.seek(0)
        self._header()
        self.file.close()

    def _header(self) -> None:
        shape = (self.count, *self.item_shape)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self.file, header)
