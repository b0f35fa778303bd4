"""Size keeps what is seen: frames are anti-aliased, masks stay masks, nearest is nearest."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from usfmae.corpus.curation.resampling import halved, to_size


def test_nearest_takes_pixels_as_they_are_and_bilinear_mixes_them() -> None:
    frame = np.where(np.random.default_rng(0).random((300, 250)) < 0.5, 0, 255).astype(np.uint8)
    nearest = to_size(frame, 224, resize="squash", interpolation="nearest")
    assert set(np.unique(nearest)) == {0, 255}
    assert len(np.unique(to_size(frame, 224, resize="squash"))) > 100


@pytest.mark.parametrize("shape", [(100, 200), (200, 100), (37, 211), (64, 64)])
def test_a_letterbox_keeps_the_aspect_ratio_and_pads_with_black(shape: tuple[int, int]) -> None:
    out = to_size(np.full(shape, 255, np.uint8), 64, resize="letterbox")
    rows, columns = (out > 0).any(axis=1), (out > 0).any(axis=0)
    assert out.shape == (64, 64)
    assert rows.sum() == max(1, round(shape[0] * 64 / max(shape)))
    assert columns.sum() == max(1, round(shape[1] * 64 / max(shape)))
    assert abs(int(np.argmax(rows)) - int(np.argmax(rows[::-1]))) <= 1  # centred
    assert abs(int(np.argmax(columns)) - int(np.argmax(columns[::-1]))) <= 1


def test_a_squash_fills_the_square() -> None:
    assert (to_size(np.full((30, 90, 3), 255, np.uint8), 64, resize="squash") == 255).all()


@pytest.mark.parametrize("resize", ["letterbox", "squash"])
def test_a_mask_stays_0_and_1_and_on_its_structure(resize: str) -> None:
    y, x = np.mgrid[:150, :240]
    mask = (np.hypot(x - 150, y - 60) < 35).astype(np.uint8)
    frame = mask * np.uint8(200)
    small_mask = to_size(mask, 64, resize=resize, is_mask=True)
    small_frame = to_size(frame, 64, resize=resize)
    assert set(np.unique(small_mask)) == {0, 1}
    both = ((small_frame > 100) & (small_mask == 1)).sum()
    either = ((small_frame > 100) | (small_mask == 1)).sum()
    assert both / either > 0.9


def test_shrinking_does_not_turn_fine_stripes_into_coarse_ones() -> None:
    stripes = np.zeros((256, 256), np.uint8)
    stripes[:, ::2] = 200
    assert np.ptp(to_size(stripes, 64, resize="letterbox").astype(int)) < 20


def speckle(height: int, width: int) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(height, width)), 1.5)
    return np.uint8((128 + 60 * noise / noise.std()).clip(0, 255))


@pytest.mark.parametrize("shape", [(301, 223), (448, 448), (530, 957), (1201, 300), (90, 130), (224, 224)])
def test_bilinear_is_close_to_pillows_anti_aliased_filter(shape: tuple[int, int]) -> None:
    frame = speckle(*shape)
    small = to_size(frame, 224, resize="squash").astype(int)
    pillow = np.asarray(Image.fromarray(frame).resize((224, 224), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(small - pillow).mean() < 10  # of a standard deviation of 40 to 60
    assert abs(small.mean() - pillow.mean()) < 1
    shifts = [np.abs(np.roll(small, (y, x), (0, 1)) - pillow).mean() for y in (-1, 0, 1) for x in (-1, 0, 1)]
    assert int(np.argmin(shifts)) == 4  # nothing moves


@pytest.mark.parametrize("side", [300, 400, 447, 500, 600, 900])
def test_the_finest_stripes_lose_their_contrast_at_every_scale(side: int) -> None:
    stripes = np.zeros((side, side), np.uint8)
    stripes[:, ::2] = 200
    assert np.ptp(to_size(stripes, 224, resize="squash").astype(int)) <= 100


def test_halving_stops_at_the_least_size_on_each_axis_alone() -> None:
    frame = np.full((900, 130, 3), 7, np.uint8)
    assert halved(frame, 100, 100).shape == (112, 130, 3)
    assert halved(frame, 1000, 100) is frame
    assert (halved(frame, 100, 30) == 7).all()
