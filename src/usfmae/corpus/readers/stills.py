"""PNG, JPEG, BMP, TIFF, GIF and WebP, with one or several pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from usfmae.corpus.readers.common import (
    Frame,
    ReadOptions,
    Unreadable,
    eight_bit,
    grey_if_equal,
    sampled,
    value_range,
)

Image.init()  # all formats at once, before processes are forked that would each do it again


def read(path: Path, options: ReadOptions) -> Iterator[Frame]:
    try:
        with Image.open(path) as image:
            count = getattr(image, "n_frames", 1)
            for index in sampled(count, options.sampling):
                image.seek(index)
                yield Frame(index, count, _pixels(image))
    except UnidentifiedImageError:
        raise Unreadable("not an image file") from None


def _pixels(image: Image.Image) -> np.ndarray:
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in ("1", "L", "LA"):
        return np.asarray(image if image.mode == "L" else image.convert("L"))
    if image.mode.startswith(("I", "F")):  # 16 or 32 bits: nothing but their range says what is white
        values = np.asarray(image)
        low, high = value_range(values)
        if low > high:
            raise Unreadable("no finite pixel")
        return eight_bit(values, low, high)
    return grey_if_equal(np.asarray(image if image.mode == "RGB" else image.convert("RGB")))
