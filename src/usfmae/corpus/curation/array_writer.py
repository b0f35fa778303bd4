"""Writes an `.npy` file piece by piece, so that no array has to fit into memory."""

from __future__ import annotations

import os
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

    def append(self, item: np.ndarray | None) -> None:
        """One more item. None is an item of zeros that takes no space on disk (a hole in the file)."""
        self.extend(item[None] if item is not None else None)

    def extend(self, items: np.ndarray | None) -> None:
        """`(n, *item_shape)`, or None as in `append`. Raises ValueError for another shape or type."""
        if items is None:
            self.file.seek(int(np.prod(self.item_shape)), os.SEEK_CUR)
        elif items.shape[1:] != self.item_shape or items.dtype != np.uint8:
            raise ValueError(f"expected uint8 {self.item_shape}, got {items.dtype} {items.shape[1:]}")
        else:
            self.file.write(np.ascontiguousarray(items).data)
        self.count += 1 if items is None else len(items)

    def __exit__(self, *_: object) -> None:
        self.file.truncate()  # the file may end with a hole
        self.file.seek(0)
        self._header()
        self.file.close()

    def _header(self) -> None:
        shape = (self.count, *self.item_shape)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self.file, header)
