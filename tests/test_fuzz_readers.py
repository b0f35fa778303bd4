"""Files of every format with changed bytes: frames or Unreadable, never another error or a dead process."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import SimpleITK as sitk
from fuzzing import SECONDS, fuzz, mutated
from hypothesis import given
from PIL import Image
from pydicom.data import get_testdata_file
from test_readers_videos import numbered, write

from usfmae.corpus.readers import ReadOptions, Unreadable, read_frames, reader_of

PICTURE = np.random.default_rng(0).integers(0, 255, (24, 32), dtype=np.uint8)
#: Formats whose reader in C may end its process on a damaged header: ITK's, and SciPy's of MAT files (a data
#: element of no type: a segmentation fault in SciPy 1.17).
CRASHES = ("volume.", "array.mat")
#: Memory that a file of a few kilobytes may ask for, beyond what Python holds.
MEMORY = 6 << 30


def made(folder: Path) -> dict[str, bytes]:
    """A small whole file of each format."""
    for ending in ("png", "jpg", "bmp", "tif", "gif", "webp"):
        Image.fromarray(PICTURE).save(folder / f"still.{ending}")
    Image.fromarray(PICTURE).save(
        folder / "pages.tif", save_all=True, append_images=[Image.fromarray(PICTURE.T)]
    )
    volume = np.stack([PICTURE, PICTURE // 2, 255 - PICTURE])
    for ending in ("nii", "nii.gz", "mha", "nrrd"):
        sitk.WriteImage(sitk.GetImageFromArray(volume), str(folder / f"volume.{ending}"))
    np.save(folder / "array.npy", volume)
    np.savez(folder / "array.npz", volume=volume)
    scipy.io.savemat(folder / "array.mat", {"volume": volume})
    with h5py.File(folder / "array.h5", "w") as file:
        file["volume"] = volume
    shutil.copy(str(get_testdata_file("MR_small.dcm")), folder / "scan.dcm")
    pictures = [numbered(i) for i in range(3)]
    write(folder / "clip.avi", pictures, "mjpeg", "yuvj420p")
    write(folder / "clip.mp4", pictures, "mpeg4", "yuv420p")
    write(folder / "clip.webm", pictures, "libvpx", "yuv420p")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


with tempfile.TemporaryDirectory() as _folder:
    FILES = made(Path(_folder))


def reading(path: Path) -> str:
    """`frames`, `unreadable` or `memory`, or how a process that reads the file ended instead."""
    reader_of(path)  # imported once, not in each process
    process = os.fork()
    if process == 0:
        code = 99
        try:
            code = _read(path)
        finally:
            os._exit(code)
    status = os.waitpid(process, 0)[1]
    if os.WIFSIGNALED(status):
        return f"killed by signal {os.WTERMSIG(status)}"
    known = {0: "frames", 1: "unreadable", 2: "memory", 3: "frames of another kind"}
    return known.get(os.WEXITSTATUS(status), "another error")


def _read(path: Path) -> int:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)  # decoders complain there
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    try:
        for number, frame in enumerate(read_frames(path, ReadOptions())):
            kind = frame.pixels.dtype == np.uint8 and (
                frame.pixels.ndim == 2 or frame.pixels.shape[2:] == (3,)
            )
            if not kind or not frame.pixels.size:
                return 3
            if number > 1000:
                break
    except Unreadable as error:
        return 1 if str(error) else 3
    except MemoryError:  # curation stops with an error that names the file
        return 2
    return 0


@pytest.mark.parametrize("name", FILES)
def test_a_whole_file_is_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    assert reading(tmp_path / name) == "frames"


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_changed_bytes_gives_frames_or_a_reason(name: str) -> None:
    @given(content=mutated(FILES[name]))
    @fuzz(12)
    def changed(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            ended = reading(path)
            if name.startswith(CRASHES) and ended.startswith("killed by signal"):
                return  # curation names the file (test_chunks.py)
            assert ended in ("frames", "unreadable", "memory")

    changed()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("volume.mha", b"DimSize = 32 24 3", b"DimSize = 0 24 3"),
        ("volume.mha", b"DimSize = 32 24 3", b"DimSize = 32 24 0"),
        ("volume.nrrd", b"sizes: 32 24 3", b"sizes: 32 0 3"),
    ],
)
def test_an_axis_of_no_length_is_unreadable(name: str, old: bytes, new: bytes, tmp_path: Path) -> None:
    """Found by fuzzing: a frame without pixels stopped the curation of the whole dataset."""
    assert old in FILES[name]
    (tmp_path / name).write_bytes(FILES[name].replace(old, new))
    assert reading(tmp_path / name) == "unreadable"


@pytest.mark.parametrize("name", [name for name in FILES if name != "scan.dcm"])
def test_a_file_under_the_name_of_another_format_gives_frames_or_a_reason(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES["scan.dcm"])
    assert reading(tmp_path / name) in ("frames", "unreadable")
