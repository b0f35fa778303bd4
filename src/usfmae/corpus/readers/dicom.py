"""DICOM, still or multi-frame. Only what describes the pixels is read: no tag that identifies a patient is
ever in memory, so none can reach a table, a log or an error."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, iter_pixels
from pydicom.pixels.processing import apply_windowing

from usfmae.corpus.readers.common import (
    Frame,
    ReadOptions,
    Unreadable,
    eight_bit,
    grey_if_equal,
    sampled,
    value_range,
)

#: The image pixel, modality LUT and VOI LUT modules (DICOM PS3.3, C.7.6.3, C.11.1 and C.11.2).
PIXEL_TAGS: list[str] = [
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "PixelData",
]


def read(path: Path, options: ReadOptions) -> Iterator[Frame]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # odd but readable headers are common
        try:
            header = dcmread(path, specific_tags=PIXEL_TAGS, defer_size=2**20)
        except InvalidDicomError:
            raise Unreadable("neither a known image ending nor a DICOM file") from None
        if "PixelData" not in header:
            raise Unreadable("a DICOM file without pixels")
        del header.PixelData  # read frame by frame below
        count = int(header.get("NumberOfFrames") or 1)
        chosen = sampled(count, options.sampling)
        displayed = _display(path, header)
        for index, stored in zip(chosen, iter_pixels(path, indices=chosen), strict=True):
            pixels = displayed(stored)  # colour comes as RGB
            yield Frame(index, count, grey_if_equal(pixels))


def _display(path: Path, header: Dataset) -> Callable[[np.ndarray], np.ndarray]:
    """How stored values `(H, W)` or `(H, W, 3)` become 8 bits as the file wants them shown.

    8-bit values stay. Deeper ones go through the rescaling and the VOI LUT or window that the header has, and
    otherwise are stretched over the range of the whole file. MONOCHROME1 is turned to white on black.
    """
    photometric, bits = header.PhotometricInterpretation, int(header.BitsStored)
    inverted = np.uint8(255 if photometric == "MONOCHROME1" else 0)
    if photometric == "PALETTE COLOR":
        # a table of 16-bit colours has the full range, whatever a frame shows of it
        return lambda values: _high_byte(apply_color_lut(values, header))
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        return lambda values: values if values.dtype == np.uint8 else eight_bit(values, 0, 2**bits - 1)
    if int(header.BitsAllocated) == 8:
        return lambda values: values.view(np.uint8) ^ inverted
    if header.get("VOILUTSequence"):
        low, high = 0.0, 2.0 ** header.VOILUTSequence[0].LUTDescriptor[2] - 1
    elif "WindowCenter" in header and header.get("WindowWidth"):
        low, high = map(float, apply_windowing(np.array([-1e9, 1e9]), header))  # its darkest and brightest
    else:
        ranges = [value_range(apply_modality_lut(values, header)) for values in iter_pixels(path)]
        low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)

    def windowed(values: np.ndarray) -> np.ndarray:
        return eight_bit(apply_voi_lut(apply_modality_lut(values, header), header), low, high) ^ inverted

    return windowed


def _high_byte(values: np.ndarray) -> np.ndarray:
    return (values >> 8).astype(np.uint8) if values.dtype == np.uint16 else values
