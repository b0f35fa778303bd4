"""Frames of several subjects in one array: an array beside it says whose each frame is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from usfmae.corpus.readers import ReadOptions, Unreadable, read_frames
from usfmae.settings.datasets import Sampling

FRAMES = np.random.default_rng(0).integers(0, 256, (6, 12, 20), dtype=np.uint8)
OWNERS = ["1_", "1_", "1_", "2_", "2_", "7_"]
OPTIONS = ReadOptions(Sampling(every=2), array="image", array_subject="owner")


def write(path: Path, owners: Any) -> Path:
    if path.suffix == ".hdf5":
        with h5py.File(path, "w") as file:
            file["image"], file["owner"] = FRAMES, owners
    elif path.suffix == ".npz":
        np.savez(path, image=FRAMES, owner=np.array(owners))
    else:
        savemat(path, {"image": FRAMES, "owner": np.array(owners)})
    return path


@pytest.mark.parametrize("name", ["a.hdf5", "a.npz"])
def test_each_frame_has_the_subject_that_stands_at_its_place(tmp_path: Path, name: str) -> None:
    found = list(read_frames(write(tmp_path / name, OWNERS), OPTIONS))
    assert [(frame.index, frame.subject) for frame in found] == [(0, "1_"), (3, "2_"), (5, "7_")]


def test_subjects_may_be_numbers(tmp_path: Path) -> None:
    found = read_frames(write(tmp_path / "a.mat", [4, 4, 4, 9, 9, 9]), OPTIONS)
    assert [frame.subject for frame in found] == ["4", "9", "9"]


def test_a_list_of_another_length_is_no_list_of_these_frames(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="6 frames, but 5 entries in owner"):
        list(read_frames(write(tmp_path / "a.hdf5", OWNERS[1:]), OPTIONS))
