"""PNG, JPEG, BMP, TIFF, GIF and WebP, with one or several pages."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from usfmae.corpus.readers.common import (
    Frame,
    ReadOptions,
    Unreadable,
    eight_bit,
    grey_if_equal,
    sampled,
    value_range,
)

#: What Pillow may take a file for. It knows many more formats, and asks all of them for each file.
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP")

#: Kinds of a JPEG's segments that give its size: C0 to CF but for tables (C4, CC) and a reserved one (C8).
_FRAME_HEADERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

Image.init()  # at once, before processes are forked that would each do it again


def read(path: Path, options: ReadOptions) -> Iterator[Frame]:
    if (plain := _plain_jpeg(path)) is not None:
        yield Frame(0, 1, grey_if_equal(plain))
        return
    try:
        with Image.open(path, formats=FORMATS) as image:
            count = getattr(image, "n_frames", 1)
            for index in sampled(count, options.sampling):
                image.seek(index)
                yield Frame(index, count, _pixels(image))
    except UnidentifiedImageError:
        raise Unreadable("not an image file") from None


def _pixels(image: ImageFile.ImageFile) -> np.ndarray:
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in ("1", "L", "LA"):
        return _array(image if image.mode == "L" else image.convert("L"))
    if image.mode.startswith(("I", "F")):  # 16 or 32 bits: nothing but their range says what is white
        values = np.asarray(image)
        low, high = value_range(values)
        if low > high:
            raise Unreadable("no finite pixel")
        return eight_bit(values, low, high)
    return grey_if_equal(_array(image if image.mode == "RGB" else image.convert("RGB")))


def _plain_jpeg(path: Path) -> np.ndarray | None:
    """uint8 `(H, W)` or `(H, W, 3)` of a grey or RGB JPEG with nothing special about it, else None.

    OpenCV and Pillow decode with the same library and give the same pixels, OpenCV in half of the time.
    Of a file that is broken it may leave the rest grey (128) without an error; Pillow then has the word.
    """
    if path.suffix.lower() not in (".jpg", ".jpeg"):  # what has another name takes the slower way
        return None
    content = path.read_bytes()
    channels = _channels(content)
    if channels not in (1, 3):
        return None
    kind = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), kind | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if pixels is None or (pixels[-1] == 128).all() else pixels


def _channels(jpeg: bytes) -> int:
    """Colour channels of a JPEG; 0 where it may be turned (Exif), may have several pictures (MPF), has more
    pixels than Pillow takes for harmless, or where its segments cannot be followed.

    Source: ITU-T T.81, annex B: a segment is FF, a kind, its length, and its content.
    """
    at = 2 if jpeg.startswith(b"\xff\xd8") else len(jpeg)
    while jpeg[at : at + 1] == b"\xff" and at + 10 <= len(jpeg):
        kind, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4])
        if kind in _FRAME_HEADERS:
            height, width = (int.from_bytes(jpeg[at + i : at + i + 2]) for i in (5, 7))
            return jpeg[at + 9] if height * width <= (Image.MAX_IMAGE_PIXELS or math.inf) else 0
        if jpeg[at + 4 : at + 8] in (b"Exif", b"MPF\0"):
            return 0
        at += 2 + length
    return 0


def _array(image: Image.Image) -> np.ndarray:
    """uint8 `(H, W)` or `(H, W, 3)` of an image of mode L or RGB. NumPy's own way copies colour three times;
    Arrow shows Pillow's memory as it is, in which an RGB pixel has four bytes."""
    try:
        values = pa.array(image)
    except (TypeError, ValueError):  # a Pillow before 11.2, or an image in several pieces, above 16 MB
        return np.asarray(image)
    shape = (image.height, image.width)
    if image.mode == "L":  # a copy, because Pillow writes its next page there
        return np.array(values.to_numpy(zero_copy_only=True).reshape(shape))
    pixels = values.values.to_numpy(zero_copy_only=True).reshape(*shape, 4)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB))
