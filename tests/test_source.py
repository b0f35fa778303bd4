"""A row says where its frame comes from, what its mask is worth and what was changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from usfmae.corpus.curation import cleaning
from usfmae.corpus.curation.fingerprints import thumbnail
from usfmae.corpus.curation.source import COLUMNS, curated_frames
from usfmae.corpus.readers import ReadOptions
from usfmae.corpus.releases.layout import Source
from usfmae.settings.datasets import Sampling
from usfmae.settings.study import Corpus

Rows = list[tuple[dict[str, Any], tuple[np.ndarray, ...]]]
CLIP = np.random.default_rng(0).integers(0, 256, (9, 40, 60), dtype=np.uint8)


@pytest.fixture
def curated(tmp_path: Path) -> Callable[..., Rows]:
    """Rows and arrays of one source in `tmp_path`."""

    def run(path: str, mask: str | None = None, sampling: Sampling | None = None, **corpus: Any) -> Rows:
        settings = Corpus(datasets=["mine"], **({"size": 32, "crop": False} | corpus))
        options = ReadOptions(sampling or Sampling())
        source = Source(path, mask=mask)
        return list(curated_frames("mine", source, tmp_path, settings, options, lambda name: None))

    return run


def save(path: Path, array: np.ndarray) -> None:
    if path.suffix == ".mha":
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    else:
        Image.fromarray(array).save(path)


def test_frames_that_are_not_sampled_are_no_rows_but_counted(
    tmp_path: Path, curated: Callable[..., Rows]
) -> None:
    save(tmp_path / "a.mha", CLIP)
    rows = [row for row, _ in curated("a.mha", sampling=Sampling(at_most=3))]
    assert [row["frame_id"] for row in rows] == ["mine/a.mha#0", "mine/a.mha#4", "mine/a.mha#8"]
    assert {row["frames_in_source"] for row in rows} == {9}
    assert set(rows[0]) == set(COLUMNS)


def test_a_volume_and_its_mask_are_sampled_together(tmp_path: Path, curated: Callable[..., Rows]) -> None:
    save(tmp_path / "a.mha", CLIP)
    labels = np.zeros_like(CLIP, dtype=np.int16)
    for i in range(9):
        labels[i, : 4 * i, :] = 2
    save(tmp_path / "m.mha", labels)
    found = curated("a.mha", "m.mha", Sampling(every=4), resize="squash", size=40)
    shares = [arrays[1].mean() for _, arrays in found]
    np.testing.assert_allclose(shares, [0, 0.4, 0.8])
    assert [row["has_mask"] for row, _ in found] == [False, True, True]


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        ((40, 60), None),
        ((80, 120), None),
        ((41, 61), None),
        ((60, 40), "its mask has 60 x 40 pixels, the frame 40 x 60"),
        ((40, 66), "its mask has 40 x 66 pixels, the frame 40 x 60"),
    ],
)
def test_a_mask_of_another_size_is_fitted_or_named(
    tmp_path: Path, curated: Callable[..., Rows], shape: tuple[int, int], problem: str | None
) -> None:
    save(tmp_path / "a.png", CLIP[0])
    mask = np.zeros(shape, np.uint8)
    mask[: shape[0] // 2] = 255
    save(tmp_path / "m.png", mask)
    ((row, (_, small, _)),) = curated("a.png", "m.png", resize="squash")
    assert (row["mask_problem"], row["drop_reason"]) == (problem, None)
    assert row["has_mask"] == (problem is None)
    if problem is None:
        np.testing.assert_array_equal(small[:, 0], np.repeat([1, 0], 16))


def test_a_broken_mask_costs_the_mask_and_not_the_frame(tmp_path: Path, curated: Callable[..., Rows]) -> None:
    save(tmp_path / "a.png", CLIP[0])
    (tmp_path / "m.png").write_text("nothing")
    ((row, (_, small, _)),) = curated("a.png", "m.png")
    assert row["mask_problem"] == "its mask m.png: not an image file"
    assert (row["has_mask"], row["drop_reason"], small) == (False, None, None)


def test_a_mask_with_other_frames_than_its_source_is_named(
    tmp_path: Path, curated: Callable[..., Rows]
) -> None:
    save(tmp_path / "a.mha", CLIP)
    save(tmp_path / "m.mha", CLIP[:5])
    problems = {row["mask_problem"] for row, _ in curated("a.mha", "m.mha")}
    assert problems == {"its mask has 5 frames, the source 9"}


def test_the_noise_of_a_jpeg_mask_is_not_part_of_it(tmp_path: Path, curated: Callable[..., Rows]) -> None:
    save(tmp_path / "a.png", np.tile(CLIP[0], (4, 4)))
    mask = np.zeros((160, 240), np.uint8)
    mask[43:117, 61:133] = 255
    Image.fromarray(mask).save(tmp_path / "m.jpg", quality=40)
    ((_, (_, small, _)),) = curated("a.png", "m.jpg", resize="squash", size=160)
    expected = np.asarray(Image.fromarray(mask).resize((160, 160), Image.Resampling.NEAREST)) > 0
    assert (small.astype(bool) != expected).mean() < 0.005


def test_the_thumbnail_is_of_the_crop_and_not_of_its_letterbox(
    tmp_path: Path, curated: Callable[..., Rows]
) -> None:
    frame = np.zeros((100, 160), np.uint8)
    frame[20:92, 32:152] = 40 + np.tile(np.arange(120, dtype=np.uint8), (72, 1))
    save(tmp_path / "a.png", frame)
    ((row, (_, _, small)),) = curated("a.png", crop=True)
    assert row["crop"] == "20,32,92,152"
    np.testing.assert_array_equal(small, thumbnail(frame[20:92, 32:152]))
    assert small.min() > 0


def test_a_cleaned_frame_says_how_much_was_changed_and_keeps_its_original_digest(
    tmp_path: Path, curated: Callable[..., Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    def clean(frame: np.ndarray, method: str) -> tuple[np.ndarray, float]:
        assert method == "corrected"
        return np.full_like(frame, 100), 0.25

    monkeypatch.setattr(cleaning, "clean", clean, raising=False)
    save(tmp_path / "a.png", CLIP[0])
    ((as_is, _),) = curated("a.png")
    ((row, (frame, _, small)),) = curated("a.png", cleaning="corrected", resize="squash")
    assert (as_is["cleaned_fraction"], row["cleaned_fraction"]) == (0, 0.25)
    assert (frame == 100).all()
    assert row["pixel_hash"] == as_is["pixel_hash"]
    assert (small == 100).all()  # and so are the hashes, which are made of it


def test_a_video_cut_off_keeps_its_frames_and_says_where_it_ends(
    tmp_path: Path, curated: Callable[..., Rows]
) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 60, 40, "yuv420p", 3
        for picture in np.tile(CLIP, (3, 1, 1)):
            rgb = np.repeat(picture[..., None], 3, axis=-1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())
    path = tmp_path / "a.mp4"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    *kept, (last, arrays) = curated("a.mp4")
    assert 10 < len(kept) < 27
    assert all(row["drop_reason"] is None for row, _ in kept)
    assert last["frame_index"] == len(kept)
    assert last["drop_reason"].startswith("unreadable: ")
    assert arrays == ()
