"""Copies planted among many frames: nearly all are found, and hardly anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.duplicates import Frames, simulated


def test_each_kind_of_copy_is_found_among_3700_simulated_frames_and_nothing_else(tmp_path: Path) -> None:
    seen = simulated(3700, tmp_path).set_index("copies")
    assert seen["planted"].sum() == 80
    assert (seen["recall"].drop("all at once, crop up to 5 %") == 1).all(), seen  # that one is not promised
    assert seen["recall"].mean() >= 0.95 and seen.attrs["precision"] >= 0.99, seen
    assert seen.attrs["memory in GB"] < 4


def test_kept_frames_are_audited_again_without_being_simulated_again(tmp_path: Path) -> None:
    first = simulated(400, tmp_path)
    (kept,) = tmp_path.glob("*/frames.npy")
    written = kept.stat().st_mtime_ns
    assert simulated(400, tmp_path).equals(first)
    assert kept.stat().st_mtime_ns == written


def test_the_192_ovaries_are_found_in_their_rescaled_jpeg_copies(real_data: Path, tmp_path: Path) -> None:
    originals = sorted(real_data.glob("mmotu_2d/*/*/*.JPG"))
    copies = sorted(real_data.glob("mmotu_2d_384/*/images/*.JPG"))
    frames = Frames(128, tmp_path, len(originals) + len(copies))
    for name, files in (("mmotu_2d", originals), ("mmotu_2d_384", copies)):
        for file in files:
            frames.add(np.asarray(Image.open(file).convert("L")), name, f"{name}/{file.stem}")
    pairs = frames.pairs()
    across = pairs[(pairs["a"] < len(originals)) & (pairs["b"] >= len(originals))]
    assert len(originals) == 192
    assert across["a"].nunique() == 192
