"""Decodes files into frames: uint8 arrays `(H, W)` grey or `(H, W, 3)` RGB.

One module a family of formats, each with `read(path, options)`; it is imported when a file needs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np

from usfmae.corpus.readers.common import Frame, ReadOptions, Unreadable, grey, sampled
from usfmae.settings.datasets import Volume

__all__ = ["Frame", "ReadOptions", "Unreadable", "grey", "read_frames", "read_masks", "reader_of", "sampled"]

#: Ending → module. A file without a known ending is tried as DICOM, because scanners write it without one.
READERS: dict[str, str] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"), "stills"),
    **dict.fromkeys((".avi", ".mp4", ".m4v", ".mov", ".mpeg", ".mpg", ".webm", ".mkv"), "videos"),
    **dict.fromkeys((".mha", ".mhd", ".nii", ".nii.gz", ".nrrd", ".nhdr"), "volumes"),
    **dict.fromkeys((".h5", ".hdf5", ".mat", ".npy", ".npz"), "arrays"),
}


def read_frames(path: Path, options: ReadOptions = ReadOptions()) -> Iterator[Frame]:  # noqa: B008
    """Yields the frames of a file that `options.sampling` asks for, in order. Raises Unreadable.

    What sampling leaves out is not decoded where the format allows it: pages, slices and files with an index
    of key frames are sought.
    """
    try:
        for frame in reader_of(path).read(path, options):
            if not frame.pixels.size:
                raise Unreadable("a frame without pixels")
            yield frame
    except MemoryError:  # the machine's fault, not the file's
        raise
    except Exception as error:  # a decoder may raise anything on a broken file
        raise Unreadable(_reason(error, path)) from error


def reader_of(path: Path) -> ModuleType:
    """The module that reads a file of this name."""
    name = path.name.lower()
    ending = ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()
    return importlib.import_module(f"{__name__}.{READERS.get(ending, 'dicom')}")


def _reason(error: Exception, path: Path) -> str:
    if path.is_file():
        with path.open("rb") as file:
            if file.read(64).lstrip().lower().startswith((b"<!doctype", b"<html")):
                return "an HTML page, not an image: the download was refused or moved"
    text = str(error).replace(str(path), path.name)
    return text if isinstance(error, Unreadable) else f"{type(error).__name__}: {text}"


def read_masks(path: Path, options: ReadOptions = ReadOptions()) -> Iterator[Frame]:  # noqa: B008
    """Like `read_frames`, but `pixels` is bool `(H, W)`: the union of a mask file's structures.

    Whatever is not 0 belongs to one; in a JPEG, whose loss leaves noise, what is above half of the
    largest value.
    """
    volume = Volume.model_validate(options.volume.model_dump() | {"window": None})
    lossy = path.suffix.lower() in (".jpg", ".jpeg")
    try:
        for frame in read_frames(path, replace(options, volume=volume)):
            values: np.ndarray = frame.pixels if frame.pixels.ndim == 2 else frame.pixels.max(axis=-1)
            yield replace(frame, pixels=values > (int(values.max()) // 2 if lossy else 0))
    except Unreadable as error:
        raise Unreadable(f"its mask {path.name}: {error}") from None
