"""One source of a release: its frames at the corpus's size, and a row of the table for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from usfmae.corpus.curation import cleaning
from usfmae.corpus.curation.chunks import Note
from usfmae.corpus.curation.fingerprints import pixel_hash, thumbnail
from usfmae.corpus.curation.resampling import to_size
from usfmae.corpus.readers import Frame, ReadOptions, Unreadable, grey, read_frames, read_masks
from usfmae.corpus.releases.layout import Source
from usfmae.settings.study import Corpus

COLUMNS: dict[str, str] = {
    "frame_id": "string",
    "source": "string",
    "frame_index": "int64",
    "frames_in_source": "int64",
    "subject": "string",
    "label": "string",
    "official_fold": "string",
    "official_split": "string",
    "height": "int64",
    "width": "int64",
    "crop": "string",
    "overlay_fraction": "float64",
    "cleaned_fraction": "float64",
    "has_mask": "bool",
    "mask_problem": "string",
    "pixel_hash": "string",
    "phash": "string",
    "phash_mirrored": "string",
    "drop_reason": "string",
}
#: Two aspect ratios that differ by less are the same: releases round when they rescale a mask.
ASPECT = 0.02


def curated_frames(
    name: str, source: Source, root: Path, corpus: Corpus, options: ReadOptions, note: Note
) -> Iterator[tuple[dict[str, Any], tuple[np.ndarray | None, ...]]]:
    """(row, arrays) for each frame of a source, `name` being the dataset's.

    The row has the columns of `frames.parquet`, but for the perceptual hashes, which are left empty: they are
    made of many thumbnails at once. The arrays are the frame `(S, S)` or `(S, S, 3)`, its mask `(S, S)` of 0
    and 1 or None, and the thumbnail `(32, 32)`, uint8; none where the frame is dropped.
    `note` is called with the source's path before each frame.
    """
    index, in_source = 0, 0
    note(source.path)
    try:
        if not source.exists:
            raise Unreadable("file missing")
        mask = root / source.mask if source.mask else None
        for frame, frame_mask, problem in _with_masks(root / source.path, mask, options):
            note(source.path)
            in_source = frame.in_source
            row = _row(name, source, frame.index, in_source) | {"mask_problem": problem}
            index = frame.index + 1  # where decoding the next one fails, the failure is that frame's
            row["height"], row["width"] = frame.pixels.shape[:2]
            if frame.subject is not None:
                row["subject"] = f"{name}/{frame.subject}"
            if _blank(frame.pixels):
                yield row | {"drop_reason": "blank"}, ()
            else:
                yield _keep(row, frame.pixels, frame_mask, corpus)
    except Unreadable as reason:
        text = str(reason) if not source.exists else f"unreadable: {reason}"
        yield _row(name, source, index, in_source) | {"drop_reason": text}, ()


def _blank(pixels: np.ndarray) -> bool:
    """Whether nothing is brighter than what scanners write as black, above the darkest pixel."""
    parts = (pixels[::16], pixels)  # most frames show in a few rows that they are not
    return all(int(part.max()) - int(part.min()) <= cleaning.BLACK for part in parts)


def _with_masks(
    path: Path, mask: Path | None, options: ReadOptions
) -> Iterator[tuple[Frame, np.ndarray | None, str | None]]:
    """(frame, its mask or None, what is wrong with the mask). Raises Unreadable for the frames only."""
    masks = read_masks(mask, options) if mask else None
    problem = None
    for frame in read_frames(path, options):
        fitting = None
        if masks is not None and problem is None:
            try:
                found = next(masks)
                if found.in_source != frame.in_source:
                    problem = f"its mask has {found.in_source} frames, the source {frame.in_source}"
                else:
                    fitting = _fitted(found.pixels, frame.pixels.shape[:2])
            except Unreadable as error:
                problem = str(error)
        yield frame, fitting, problem


def _fitted(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The mask, 0 or 1, at the frame's `(height, width)`. Raises Unreadable where it is of another shape."""
    height, width = mask.shape
    if abs(height * shape[1] / (width * shape[0]) - 1) > ASPECT:
        raise Unreadable(f"its mask has {height} x {width} pixels, the frame {shape[0]} x {shape[1]}")
    binary = mask.astype(np.uint8)
    if mask.shape == shape:
        return binary
    return np.asarray(cv2.resize(binary, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST_EXACT))


def _keep(
    row: dict[str, Any], decoded: np.ndarray, mask: np.ndarray | None, corpus: Corpus
) -> tuple[dict[str, Any], tuple[np.ndarray | None, ...]]:
    frame, cleaned = (decoded, 0.0) if corpus.cleaning == "none" else cleaning.clean(decoded, corpus.cleaning)
    image = grey(frame)
    box = cleaning.insonified_box(image) if corpus.crop else (0, 0, *image.shape)
    part = (slice(box[0], box[2]), slice(box[1], box[3]))
    crop = np.ascontiguousarray(image[part])
    small = thumbnail(crop)
    overlay = cleaning.overlay_fraction(decoded[part], crop if frame is decoded else None)
    row |= {
        "crop": ",".join(map(str, box)),
        "overlay_fraction": overlay,
        "cleaned_fraction": cleaned,
        "pixel_hash": pixel_hash(decoded),
    }
    small_mask = None
    if mask is not None:
        cut = np.ascontiguousarray(mask[part])
        small_mask = to_size(cut, corpus.size, resize=corpus.resize, is_mask=True)
        row["has_mask"] = bool(small_mask.any())
    if corpus.channels == 3:
        crop = frame[part] if frame.ndim == 3 else np.repeat(crop[..., None], 3, axis=-1)
    sized = to_size(
        np.ascontiguousarray(crop), corpus.size, resize=corpus.resize, interpolation=corpus.interpolation
    )
    return row, (sized, small_mask, small)


def _row(name: str, source: Source, index: int, in_source: int) -> dict[str, Any]:
    return {
        "frame_id": f"{name}/{source.path}#{index}",
        "source": source.path,
        "frame_index": index,
        "frames_in_source": in_source,
        "subject": f"{name}/{source.subject or source.path}",
        "label": source.label,
        "official_fold": source.fold,
        "official_split": source.split,
        "height": 0,
        "width": 0,
        "crop": "",
        "overlay_fraction": 0.0,
        "cleaned_fraction": 0.0,
        "has_mask": False,
        "mask_problem": None,
        "pixel_hash": "",
        "phash": "",
        "phash_mirrored": "",
        "drop_reason": None,
    }
