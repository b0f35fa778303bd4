"""Decodes files into frames: uint8 arrays `(H, W)` grey or `(H, W, 3)` RGB."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError


class Unreadable(ValueError):
    """A file could not be decoded; the message says why."""


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Yields the frames of an image or DICOM file in order. Raises Unreadable.

    The ending decides how a file is read; a file without a known ending is tried as DICOM, because
    scanners write it without one.
    """
    reader = READERS.get(path.suffix.lower(), _dicom)
    try:
        yield from reader(path)
    except Unreadable:
        raise
    except Exception as error:  # a decoder may raise anything on a broken file
        raise Unreadable(f"{type(error).__name__}: {error}") from error


def read_mask(path: Path) -> np.ndarray:
    """The union of a mask file's non-zero pixels, bool `(H, W)`. Raises Unreadable."""
    try:
        frame = next(read_frames(path))
    except Unreadable as error:
        raise Unreadable(f"its mask {path.name}: {error}") from None
    return frame.max(axis=-1) > 0 if frame.ndim == 3 else frame > 0


def grey(frame: np.ndarray) -> np.ndarray:
    """uint8 `(H, W)` from grey or RGB, by the luma weights of ITU-R BT.601."""
    if frame.ndim == 2:
        return frame
    return np.asarray(Image.fromarray(frame).convert("L"))


def _image(path: Path) -> Iterator[np.ndarray]:
    try:
        with Image.open(path) as image:
            image.load()
            for index in range(getattr(image, "n_frames", 1)):
                if index:
                    image.seek(index)
                yield _eight_bit(image)
    except UnidentifiedImageError:
        with path.open("rb") as file:
            start = file.read(64).lstrip().lower()
        if start.startswith((b"<!doctype", b"<html")):
            raise Unreadable("an HTML page, not an image: the download was refused or moved") from None
        raise Unreadable("not an image file") from None


def _eight_bit(image: Image.Image) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    if image.mode in ("1", "L", "LA"):
        return np.asarray(image.convert("L"))
    if image.mode.startswith(("I", "F")):
        return _stretch(np.asarray(image, dtype=np.float64))
    return _grey_if_equal(np.asarray(image.convert("RGB")))


def _grey_if_equal(frame: np.ndarray) -> np.ndarray:
    """One channel where the three are the same, as in most B-mode images saved in colour."""
    same = (frame[..., 0] == frame[..., 1]).all() and (frame[..., 1] == frame[..., 2]).all()
    return frame[..., 0] if same else frame


def _stretch(values: np.ndarray) -> np.ndarray:
    """uint8 over the range of the values; not-a-number becomes 0."""
    finite = np.isfinite(values)
    if not finite.any():
        raise Unreadable("no finite pixel")
    low, high = values[finite].min(), values[finite].max()
    scaled = np.where(finite, values - low, 0.0) * (255.0 / (high - low) if high > low else 0.0)
    return np.asarray(scaled.round().astype(np.uint8))


def _dicom(path: Path) -> Iterator[np.ndarray]:
    import pydicom  # slow to import, and most corpora have no DICOM
    from pydicom.errors import InvalidDicomError
    from pydicom.pixels import apply_color_lut, iter_pixels

    try:
        header = pydicom.dcmread(path)
    except InvalidDicomError:
        raise Unreadable("neither a known image ending nor a DICOM file") from None
    if "PixelData" not in header:
        raise Unreadable("a DICOM file without pixels")
    photometric = header.PhotometricInterpretation
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # odd but readable headers are common
        for frame in iter_pixels(header):  # colour comes as RGB
            if photometric == "PALETTE COLOR":
                frame = apply_color_lut(frame, header)
                if frame.dtype == np.uint16:  # a table of 16-bit colours; its range is the full one
                    frame = (frame >> 8).astype(np.uint8)
            if frame.dtype != np.uint8:
                frame = _stretch(frame.astype(np.float64))
            if photometric == "MONOCHROME1":
                frame = 255 - frame
            yield _grey_if_equal(frame) if frame.ndim == 3 else frame


READERS: dict[str, Callable[[Path], Iterator[np.ndarray]]] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"), _image),
    **dict.fromkeys((".dcm", ".dicom", ""), _dicom),
}
