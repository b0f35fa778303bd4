"""MetaImage, NIfTI and NRRD. Axes are those of SimpleITK's array (z, y, x); the header's orientation is not
applied."""

from __future__ import annotations

import gzip
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from usfmae.corpus.readers.arrays import frames_of
from usfmae.corpus.readers.common import Frame, ReadOptions, Unreadable

#: A larger volume is read slice by slice where its format allows: a smaller one is faster in one piece.
WHOLE = 256 * 2**20  # bytes


def read(path: Path, options: ReadOptions) -> Iterator[Frame]:
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # odd but readable headers are common
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    _refuse_cut_off(path)
    try:
        reader.ReadImageInformation()
        if 0 in reader.GetSize():  # SimpleITK divides by it
            raise Unreadable("an axis without any voxel")
        regions = Regions(reader)
        if regions.bytes > WHOLE and _has_regions(path):
            yield from frames_of(regions, options)
        else:
            image = reader.Execute()  # its memory is freed with it, so it stays named while the view is used
            yield from frames_of(np.asarray(sitk.GetArrayViewFromImage(image)), options)
    except RuntimeError as error:  # many lines about C++ sources; the last one says it
        raise Unreadable(str(error).strip().splitlines()[-1]) from None


def _refuse_cut_off(path: Path) -> None:
    """SimpleITK fills what is missing from a NIfTI file with zeros, so its length is checked first."""
    packed = path.name.lower().endswith(".nii.gz")
    if not packed and path.suffix.lower() != ".nii":
        return
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            header = file.read(348)
    except (EOFError, OSError):
        header = b""
    if len(header) < 348:
        raise Unreadable("cut off inside its header")
    order = "<" if header[:4] == struct.pack("<i", 348) else ">"
    axes = struct.unpack(f"{order}8h", header[40:56])  # number of axes, then their lengths
    (bits,), (offset,) = (
        struct.unpack(f"{order}h", header[72:74]),
        struct.unpack(f"{order}f", header[108:112]),
    )
    promised = int(offset) + math.prod(max(1, length) for length in axes[1 : 1 + axes[0]]) * bits // 8
    there = path.stat().st_size
    if packed:
        with path.open("rb") as file:
            file.seek(-4, 2)
            there = int.from_bytes(file.read(), "little")  # gzip ends with the length of its content
        if not promised <= there < promised + 2**20:  # or of its last part, or of the content modulo 4 GB
            there = _unpacked(path)
    if there < promised:
        raise Unreadable(f"cut off: {there:,} bytes of the {promised:,} that its header promises")


def _unpacked(path: Path) -> int:
    count = 0
    try:
        with gzip.open(path) as file:
            while block := file.read(2**20):
                count += len(block)
    except (EOFError, OSError):
        pass
    return count


def _has_regions(path: Path) -> bool:
    """Whether the format lets a part be read without the rest: not if compressed, and never NRRD."""
    if path.suffix.lower() in (".mha", ".mhd"):
        with path.open("rb") as file:
            return b"CompressedData = True" not in file.read(4096)
    return path.suffix.lower() == ".nii"


class Regions:
    """A volume on disk, of which each indexing reads only the part asked for."""

    def __init__(self, reader: sitk.ImageFileReader) -> None:
        channels = reader.GetNumberOfComponents()
        voxel = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID(), channels)
        self.reader, self.dtype = reader, sitk.GetArrayFromImage(voxel).dtype
        self.shape = (*reversed(reader.GetSize()), *((channels,) if channels > 1 else ()))
        self.bytes = int(np.prod(self.shape)) * self.dtype.itemsize

    def __getitem__(self, key: Any) -> np.ndarray:
        """`key`: slices without bounds, then one index, as `frames_of` asks."""
        axis = len(key) - 1
        size, start = list(self.reader.GetSize()), [0] * self.reader.GetDimension()
        size[-1 - axis], start[-1 - axis] = 0, int(key[axis])  # SimpleITK counts axes from x, and 0 drops one
        self.reader.SetExtractSize(size)
        self.reader.SetExtractIndex(start)
        return sitk.GetArrayFromImage(self.reader.Execute())
