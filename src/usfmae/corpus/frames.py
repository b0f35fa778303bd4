"""Curates one dataset: every pixel is decoded once, into a memory map and a table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import imagehash
import numpy as np
import pandas as pd
from PIL import Image

from usfmae.corpus import cleaning
from usfmae.corpus.layout import Source, sources
from usfmae.corpus.readers import Unreadable, grey, read_frames, read_mask
from usfmae.progress import progress
from usfmae.record import atomic, write_table
from usfmae.settings.datasets import Dataset
from usfmae.settings.study import Corpus

COLUMNS: dict[str, str] = {
    "frame_id": "string",
    "source": "string",
    "frame_index": "int64",
    "subject": "string",
    "label": "string",
    "official_fold": "string",
    "official_split": "string",
    "height": "int64",
    "width": "int64",
    "crop": "string",
    "overlay_fraction": "float64",
    "has_mask": "bool",
    "pixel_sha256": "string",
    "phash": "string",
    "phash_mirrored": "string",
    "drop_reason": "string",
}


def curate(name: str, dataset: Dataset, corpus: Corpus, fetched: Path, out: Path) -> pd.DataFrame:
    """Writes `out/frames.npy`, `out/masks.npy` and `out/frames.parquet`; returns the table.

    `fetched` is the download's `fetched.json`. An unavailable dataset gives an empty table. A file that
    cannot be decoded is a row with a `drop_reason`; nothing is left out silently.
    """
    facts = json.loads(fetched.read_text(encoding="utf-8"))
    found: list[Source] = []
    if facts["status"] == "available":
        root = fetched.parent / facts["root"]
        found = sources(name, dataset, root)
    kept: list[dict[str, Any]] = []
    dropped: list[dict[str, Any]] = []
    colour = (3,) if corpus.channels == 3 else ()
    shape = (corpus.size, corpus.size)
    with (
        atomic(out / "frames.npy") as frames_file,
        atomic(out / "masks.npy") as masks_file,
        ArrayWriter(frames_file, (*shape, *colour)) as frames,
        ArrayWriter(masks_file, shape) as masks,
    ):
        for source in progress(found, description=f"curating {name}", unit="file"):
            for row, frame, mask in _curated(name, source, root, corpus):
                if frame is None:
                    dropped.append(row)
                else:
                    frames.append(frame)
                    masks.append(mask)
                    kept.append(row)
    table = pd.DataFrame([*kept, *dropped], columns=list(COLUMNS)).astype(COLUMNS)
    write_table(out / "frames.parquet", table)
    return table


def _curated(
    name: str, source: Source, root: Path, corpus: Corpus
) -> Iterator[tuple[dict[str, Any], np.ndarray | None, np.ndarray]]:
    """(row, frame or None where dropped, mask) for each frame of a source."""
    blank_mask = np.zeros((corpus.size, corpus.size), dtype=np.uint8)
    index = 0
    try:
        if not source.exists:
            raise Unreadable("file missing")
        mask = read_mask(root / source.mask) if source.mask else None
        for decoded in read_frames(root / source.path):
            row = _row(name, source, index)
            index += 1  # before the next is decoded: where that fails, the failure is that frame's
            row["height"], row["width"] = decoded.shape[:2]
            if int(decoded.max()) - int(decoded.min()) <= cleaning.BLACK:
                yield row | {"drop_reason": "blank"}, None, blank_mask
                continue
            yield _keep(row, decoded, mask, corpus, blank_mask)
    except Unreadable as reason:
        text = str(reason) if not source.exists else f"unreadable: {reason}"
        yield _row(name, source, index) | {"drop_reason": text}, None, blank_mask


def _keep(
    row: dict[str, Any], decoded: np.ndarray, mask: np.ndarray | None, corpus: Corpus, blank_mask: np.ndarray
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    whole = (0, 0, *decoded.shape[:2])
    box = cleaning.insonified_box(decoded) if corpus.crop else whole
    part = (slice(box[0], box[2]), slice(box[1], box[3]))
    crop = np.ascontiguousarray(decoded[part])
    picture = Image.fromarray(grey(crop))
    row |= {
        "crop": ",".join(map(str, box)),
        "overlay_fraction": cleaning.overlay_fraction(crop),
        "pixel_sha256": hashlib.sha256(str(decoded.shape).encode() + decoded.tobytes()).hexdigest(),
        "phash": str(imagehash.phash(picture)),
        "phash_mirrored": str(imagehash.phash(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))),
    }
    small_mask = blank_mask
    if mask is not None and mask.shape == decoded.shape[:2]:
        cut = np.ascontiguousarray(mask[part]).astype(np.uint8)
        small_mask = cleaning.to_size(cut, corpus.size, resize=corpus.resize, is_mask=True)
        row["has_mask"] = bool(small_mask.any())
    if corpus.channels == 1:
        crop = grey(crop)
    elif crop.ndim == 2:
        crop = np.repeat(crop[..., None], 3, axis=-1)
    return row, cleaning.to_size(crop, corpus.size, resize=corpus.resize), small_mask


def _row(name: str, source: Source, index: int) -> dict[str, Any]:
    return {
        "frame_id": f"{name}/{source.path}#{index}",
        "source": source.path,
        "frame_index": index,
        "subject": f"{name}/{source.subject or source.path}",
        "label": source.label,
        "official_fold": source.fold,
        "official_split": source.split,
        "height": 0,
        "width": 0,
        "crop": "",
        "overlay_fraction": 0.0,
        "has_mask": False,
        "pixel_sha256": "",
        "phash": "",
        "phash_mirrored": "",
        "drop_reason": None,
    }


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
        if item.shape != self.item_shape or item.dtype != np.uint8:
            raise ValueError(f"expected uint8 {self.item_shape}, got {item.dtype} {item.shape}")
        self.file.write(item.tobytes())
        self.count += 1

    def __exit__(self, *_: object) -> None:
        self.file.seek(0)
        self._header()
        self.file.close()

    def _header(self) -> None:
        shape = (self.count, *self.item_shape)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self.file, header)
