"""Volumes and arrays: which axis is which, what intensities become, and how much memory it takes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.io import savemat

from usfmae.corpus.readers import ReadOptions, Unreadable, read_frames, volumes
from usfmae.settings.datasets import Sampling, Volume

BOX = np.random.default_rng(0).integers(0, 256, (5, 12, 20), dtype=np.uint8)  # (z, y, x)
FORMATS = ["a.mha", "a.mhd", "a.nii", "a.nii.gz", "a.nrrd"]


def save(path: Path, array: np.ndarray, *, compress: bool = False, vector: bool = False) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=vector), str(path), useCompression=compress)
    return path


def pixels(
    path: Path, sampling: Sampling | None = None, array: str | None = None, **volume: Any
) -> np.ndarray:
    """All frames of a file `(n, H, W[, 3])`."""
    options = ReadOptions(sampling or Sampling(), Volume(**volume), array)
    return np.stack([frame.pixels for frame in read_frames(path, options)])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("whole", [volumes.WHOLE, 0], ids=["in one piece", "by slice"])
def test_a_volume_is_cut_along_the_axis_that_its_entry_names(
    tmp_path: Path, name: str, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "WHOLE", whole)
    path = save(tmp_path / name, BOX)
    np.testing.assert_array_equal(pixels(path), BOX)
    np.testing.assert_array_equal(pixels(path, axis=1), BOX.transpose(1, 0, 2))
    np.testing.assert_array_equal(pixels(path, axis=2), BOX.transpose(2, 0, 1))


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_a_compressed_volume_is_read_like_any_other(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "WHOLE", 0)
    np.testing.assert_array_equal(pixels(save(tmp_path / name, BOX, compress=True)), BOX)


def test_a_frame_is_transposed_first_and_then_flipped(tmp_path: Path) -> None:
    path = save(tmp_path / "a.mha", BOX)
    np.testing.assert_array_equal(pixels(path, flip=[0]), BOX[:, ::-1])
    np.testing.assert_array_equal(pixels(path, flip=[0, 1]), BOX[:, ::-1, ::-1])
    np.testing.assert_array_equal(pixels(path, transpose=True, flip=[1]), BOX.transpose(0, 2, 1)[:, :, ::-1])


def test_three_equal_slices_are_one_grey_frame_and_three_others_are_three(tmp_path: Path) -> None:
    np.testing.assert_array_equal(pixels(save(tmp_path / "a.mha", BOX[[1, 1, 1]])), BOX[1:2])
    assert len(pixels(save(tmp_path / "b.mha", BOX[:3]))) == 3
    vector = np.repeat(BOX[1][..., None], 3, axis=-1)
    np.testing.assert_array_equal(pixels(save(tmp_path / "c.mha", vector, vector=True)), BOX[1:2])


def test_a_flat_file_is_one_frame(tmp_path: Path) -> None:
    np.testing.assert_array_equal(pixels(save(tmp_path / "a.nii.gz", BOX[0])), BOX[:1])


def test_a_time_axis_with_axes_of_length_one_is_cut_into_its_frames(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", BOX[:, None])
    np.testing.assert_array_equal(pixels(tmp_path / "a.npy"), BOX)
    np.save(tmp_path / "b.npy", BOX[None, ..., None])
    np.testing.assert_array_equal(pixels(tmp_path / "b.npy", axis=1), BOX)


def test_other_values_are_stretched_over_the_range_of_the_whole_volume(tmp_path: Path) -> None:
    values = BOX.astype(np.int16) * 4 - 300  # -300 to 720
    np.testing.assert_array_equal(pixels(save(tmp_path / "a.nii", values)), BOX)
    floats = BOX / 255.0
    floats[0, 0, :2] = np.nan, np.inf
    expected = BOX.copy()
    expected[0, 0, :2] = 0, 255
    np.testing.assert_array_equal(pixels(save(tmp_path / "b.mha", floats)), expected)


def test_the_window_of_the_entry_decides_what_is_black_and_white(tmp_path: Path) -> None:
    path = save(tmp_path / "a.mha", np.array([[[-5, 0, 50, 100, 400]]] * 2, np.int16))
    assert pixels(path, window=(0, 100))[0].tolist() == [[0, 0, 128, 255, 255]]


def test_sampled_slices_keep_their_position(tmp_path: Path) -> None:
    path = save(tmp_path / "a.mha", BOX)
    frames = list(read_frames(path, ReadOptions(Sampling(every=2))))
    assert [(frame.index, frame.in_source) for frame in frames] == [(0, 5), (2, 5), (4, 5)]
    np.testing.assert_array_equal(frames[1].pixels, BOX[2])


PEAK = """
import resource, sys
from pathlib import Path
from usfmae.corpus.readers import ReadOptions, read_frames
from usfmae.settings.datasets import Sampling
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
n = sum(1 for _ in read_frames(Path(sys.argv[1]), ReadOptions(Sampling(at_most=100))))
print(n, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize("name", ["a.mha", "a.h5"])
def test_a_large_volume_is_never_in_memory_as_a_whole(tmp_path: Path, name: str) -> None:
    """744 x 562 x 840 voxels as in ACOUSLIC, 335 MB, most of them a hole in the file."""
    path, shape = tmp_path / name, (840, 562, 744)
    if name == "a.h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("image", shape, np.uint8, chunks=(1, *shape[1:]))
    else:
        header = f"ObjectType = Image\nNDims = 3\nDimSize = {shape[2]} {shape[1]} {shape[0]}\n"
        header += "ElementType = MET_UCHAR\nBinaryData = True\nCompressedData = False\n"
        path.write_text(header + "ElementDataFile = LOCAL\n")
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size + int(np.prod(shape)))
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    count, megabytes = done.stdout.split()
    assert int(count) == 100
    assert float(megabytes) < 150


def test_a_truncated_volume_is_unreadable_and_says_so_in_one_line(tmp_path: Path) -> None:
    path = save(tmp_path / "a.mha", BOX)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(Unreadable) as error:
        pixels(path)
    assert "\n" not in str(error.value)
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_nifti_file_that_was_cut_off_is_not_filled_with_black(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, BOX)
    assert len(pixels(path)) == len(BOX)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Unreadable, match="cut off"):
        pixels(path)


def store(path: Path, **arrays: np.ndarray) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.name.startswith("v5"):
        savemat(path, {name: array.transpose(1, 2, 0) for name, array in arrays.items()})
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                # MATLAB writes (H, W, n) with its axes in reverse
                file[name] = array.transpose(0, 2, 1) if path.suffix == ".mat" else array
    return path


@pytest.mark.parametrize("name", ["a.hdf5", "a.h5", "v5.mat", "v73.mat", "a.npz"])
def test_the_named_array_is_read_and_no_other(tmp_path: Path, name: str) -> None:
    path = store(tmp_path / name, image=BOX, mask=BOX[::-1])
    axis = 2 if name.endswith(".mat") else 0
    np.testing.assert_array_equal(pixels(path, array="image", axis=axis), BOX)
    with pytest.raises(Unreadable, match="no array 'frames'; it has image, mask"):
        pixels(path, array="frames")
    with pytest.raises(Unreadable, match="several arrays and no `array` that names one; it has image, mask"):
        pixels(path)
    only = store(tmp_path / f"{name[0]}5only{Path(name).suffix}", image=BOX)
    np.testing.assert_array_equal(pixels(only, axis=axis), BOX)


def test_a_last_axis_of_three_is_colour(tmp_path: Path) -> None:
    colour = np.random.default_rng(1).integers(0, 256, (4, 8, 9, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", colour)
    np.testing.assert_array_equal(pixels(tmp_path / "a.npy"), colour)
    np.save(tmp_path / "b.npy", colour[0])
    np.testing.assert_array_equal(pixels(tmp_path / "b.npy"), colour[:1])


def test_a_pickle_is_never_loaded_and_the_reason_says_so(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple:
            return (open, (str(tmp_path / "ran"), "w"))

    np.save(tmp_path / "a.npy", np.array([{"image": Runs()}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", image=np.array([Runs()], dtype=object))
    (tmp_path / "c.npy").write_bytes(pickle.dumps(Runs()))
    for name in ("a.npy", "b.npz", "c.npy"):
        with pytest.raises(Unreadable, match="pickled array: loading one can run code"):
            pixels(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_an_array_without_frames_says_which_shape_it_has(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 5, 6, 7), np.uint8))
    with pytest.raises(Unreadable, match=r"shape \(2, 5, 6, 7\) has no frames of two axes along axis 0"):
        pixels(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.zeros((5, 6, 7), np.uint8))
    with pytest.raises(Unreadable, match=r"along axis 3: see `volume\.axis`"):
        pixels(tmp_path / "b.npy", axis=3)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5", "a.mat", "a.mha", "a.nii.gz"])
def test_a_file_that_is_none_of_these_is_unreadable(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nothing at all")
    with pytest.raises(Unreadable):
        pixels(tmp_path / name)
