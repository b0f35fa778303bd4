"""PNG, JPEG, BMP, TIFF, GIF and WebP, with one or several pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

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

Image.init()  # at once, before processes are forked that would each do it again


def read(path: Path, options: ReadOptions) -> Iterator[Frame]:
    try:
        with Image.open(path, formats=FORMATS) as image:
            count = getattr(image, "n_frames", 1)
            for index in sampled(count, options.sampling):
                image.seek(index)
                yield Frame(index, count, _pixels(image))
    except UnidentifiedImageError:
        raise Unreadable("not an image file") from None


def _pixels(image: ImageFile.ImageFile) -> np.ndarray:
    if image.format == "JPEG" and (plain := _plain_jpeg(image)) is not None:
        return grey_if_equal(plain)
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


def _plain_jpeg(image: ImageFile.ImageFile) -> np.ndarray | None:
    """uint8 `(H, W)` or `(H, W, 3)` of an upright grey or RGB JPEG, else None.

    OpenCV and Pillow decode with the same library and give the same pixels, OpenCV in two thirds of the time.
    Of a file that is broken it may leave the rest grey (128) without an error; Pillow then has the word.
    """
    if image.mode not in ("L", "RGB") or image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        return None
    assert image.fp is not None
    image.fp.seek(0)
    content = image.fp.read()
    kind = cv2.IMREAD_GRAYSCALE if image.mode == "L" else cv2.IMREAD_COLOR_RGB
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), kind | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if pixels is None or (pixels[-1] == 128).all() else pixels


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
