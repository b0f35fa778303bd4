"""HDF5, MAT, NPY and NPZ, and what any array of more than two axes means as frames."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from usfmae.corpus.readers.common import (
    Frame,
    ReadOptions,
    Unreadable,
    eight_bit,
    grey_if_equal,
    sampled,
    value_range,
)


class Array(Protocol):
    """What frames are cut from: an array in memory, a memory map, or one that is read piece by piece."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    def __getitem__(self, key: Any, /) -> Any: ...


def frames_of(array: Array, options: ReadOptions) -> Iterator[Frame]:
    """Cuts an array into frames along `options.volume.axis`, turned and windowed as `options.volume` says.

    A last axis of 3 or 4 is colour (the fourth, alpha, is left out); other axes of length 1 fall away. What
    is left of two axes is one frame, and so are three equal slices (grey saved as colour). 8-bit values stay
    as they are; others are stretched over the range of the whole array. One slice is in memory at a time.
    """
    shape, volume = tuple(array.shape), options.volume
    colour = len(shape) > 2 and shape[-1] in (3, 4)
    if len(shape) - colour == 2:
        count, slices = 1, iter([(0, np.asarray(array[...]))])
    else:
        axis = volume.axis
        rest = [n for i, n in enumerate(shape[: len(shape) - colour]) if i != axis and n != 1]
        if axis >= len(shape) - colour or len(rest) > 2:
            raise Unreadable(
                f"an array of shape {shape} has no frames of two axes along axis {axis}: see `volume.axis`"
            )
        count = shape[axis]
        if count == 3 and _equal(array, axis):
            count = 1
        slices = ((i, _slice(array, axis, i)) for i in sampled(count, options.sampling))
    low, high = volume.window or _range(array)
    for index, values in slices:
        pixels = values.reshape(_two_axes(values.shape, colour))
        if volume.window or pixels.dtype != np.uint8:
            pixels = eight_bit(pixels, low, high)
        pixels = grey_if_equal(pixels[..., :3] if colour else pixels)
        pixels = pixels.swapaxes(0, 1) if volume.transpose else pixels
        # a copy, because a view would end with its file
        yield Frame(index, count, np.flip(pixels, axis=tuple(volume.flip)).copy())


def _slice(array: Array, axis: int, index: int) -> np.ndarray:
    return np.asarray(array[(slice(None),) * axis + (index,)])


def _equal(array: Array, axis: int) -> bool:
    first = _slice(array, axis, 0)
    return all(np.array_equal(first, _slice(array, axis, i)) for i in (1, 2))


def _two_axes(shape: tuple[int, ...], colour: bool) -> tuple[int, ...]:
    """`(H, W)` or `(H, W, C)`: axes of length 1 fall away where there are more than two."""
    axes, channels = (shape[:-1], shape[-1:]) if colour else (shape, ())
    long = tuple(n for n in axes if n != 1)
    return (long if len(axes) > 2 and len(long) == 2 else axes[-2:]) + channels


def _range(array: Array) -> tuple[float, float]:
    """Smallest and largest finite value; read slice by slice, and not at all for 8 bits."""
    if array.dtype == np.uint8:
        return 0.0, 255.0
    low, high = np.inf, -np.inf
    for index in range(array.shape[0]):
        values = value_range(_slice(array, 0, index))
        low, high = min(low, values[0]), max(high, values[1])
    if low > high:
        raise Unreadable("no finite value")
    return low, high


def read(path: Path, options: ReadOptions) -> Iterator[Frame]:
    import h5py  # type: ignore[import-untyped]

    ending = path.suffix.lower()
    if ending == ".npy":
        yield from frames_of(_numeric(_load(path, mmap_mode="r")), options)
    elif ending == ".npz":
        with _load(path) as archive:
            yield from _told(archive, archive.files, options)
    elif h5py.is_hdf5(path):
        with h5py.File(path) as file:
            yield from _told(file, _datasets(file), options, reverse=ending == ".mat")
    elif ending == ".mat":
        from scipy.io import loadmat, whosmat

        names = [name for name, _, kind in whosmat(path) if kind not in ("char", "cell", "struct", "object")]
        asked = (options.array, options.array_subject)
        wanted = [name for name in names if options.array is None or name in asked]
        content = loadmat(path, variable_names=wanted)
        yield from _told(content, names, options)
    else:
        raise Unreadable("not an HDF5 file")


def _told(content: Any, names: list[str], options: ReadOptions, *, reverse: bool = False) -> Iterator[Frame]:
    """Frames of the array `options.array`, each with its entry of `options.array_subject` as subject.

    `reverse`: MATLAB stores columns first, HDF5 rows first, so a MAT file's axes stand in reverse.
    """
    array, subjects = _member(content, names, options.array), None
    if options.array_subject is not None:
        entries = np.asarray(_member(content, names, options.array_subject)[...]).ravel().tolist()
        subjects = [entry.decode() if isinstance(entry, bytes) else str(entry) for entry in entries]
    for frame in frames_of(_numeric(Reversed(array) if reverse else array), options):
        if subjects is None:
            yield frame
        elif len(subjects) == frame.in_source:
            yield replace(frame, subject=subjects[frame.index])
        else:
            raise Unreadable(
                f"{frame.in_source} frames, but {len(subjects)} entries in {options.array_subject}"
            )


def _load(path: Path, **how: Any) -> Any:
    """NumPy's own reader, which refuses pickles: loading one can run code."""
    try:
        return np.load(path, allow_pickle=False, **how)
    except ValueError as error:
        pickled = "pickle" in str(error) or "Python objects" in str(error)
        raise Unreadable(PICKLED if pickled else f"not a NumPy file: {error}") from None
    except zipfile.BadZipFile:
        raise Unreadable("a broken NPZ archive") from None


PICKLED = "a pickled array: loading one can run code, so it is not read"


def _datasets(file: Any) -> list[str]:
    import h5py  # type: ignore[import-untyped]

    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def _member(content: Any, names: list[str], wanted: str | None) -> Any:
    """The array called `wanted`, or the only one there is."""
    if wanted is None and len(names) == 1:
        wanted = names[0]
    if wanted not in names:
        asked = f"no array {wanted!r}" if wanted else "several arrays and no `array` that names one"
        raise Unreadable(f"{asked}; it has {', '.join(sorted(names)[:10]) or 'none'}")
    try:
        return content[wanted]
    except ValueError as error:
        raise Unreadable(PICKLED if "pickle" in str(error) else str(error)) from None


def _numeric(array: Any) -> Any:
    if array.dtype.kind not in "buif":
        raise Unreadable(f"an array of {array.dtype}, not of numbers")
    return array.astype(np.uint8) * np.uint8(255) if array.dtype.kind == "b" else array


class Reversed:
    """An array with its axes in reverse, read piece by piece."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.dtype = array, tuple(reversed(array.shape)), array.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        if key is ...:
            return np.asarray(self.array[...].T)
        rest = (slice(None),) * (len(self.shape) - len(key))
        return np.asarray(self.array[tuple(reversed(key + rest))].T)
