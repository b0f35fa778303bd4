"""Cleaning: the crop finds the insonified area, and overlays are measured."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from usfmae.corpus.curation.cleaning import clean, insonified_box, overlay_fraction
from usfmae.corpus.readers import grey


def speckle(height: int, width: int) -> np.ndarray:
    """Grey tissue, uint8 `(height, width)`: blurred noise around 90."""
    noise = np.random.default_rng(0).normal(90, 40, (height // 2, width // 2)).clip(10, 200)
    return np.asarray(Image.fromarray(noise.astype(np.uint8)).resize((width, height)))


def screen() -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A scanner's screen `(300, 500)` with a sector, a logo and a grey bar; and the sector's box."""
    y, x = np.mgrid[:300, :500]
    radius, angle = np.hypot(x - 230, y + 60), np.arctan2(x - 230, y + 60)
    sector = (radius > 90) & (radius < 330) & (np.abs(angle) < 0.6)
    frame = np.where(sector, speckle(300, 500), 0).astype(np.uint8)
    rows, columns = np.nonzero(sector.any(axis=1))[0], np.nonzero(sector.any(axis=0))[0]
    frame[10:40, 10:20] = 220  # logo
    frame[40:260, 470:484] = np.linspace(255, 0, 220, dtype=np.uint8)[:, None]  # grey bar
    return frame, (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def test_the_crop_is_the_sector_without_logo_and_bar() -> None:
    frame, sector = screen()
    np.testing.assert_allclose(insonified_box(frame), sector, atol=8)


def test_a_cyst_or_a_shadow_does_not_cut_the_crop() -> None:
    frame, sector = screen()
    frame[100:170, 180:280] = 0  # a black cyst
    frame[:, 228:240] = 0  # a shadow from the probe to the bottom
    np.testing.assert_allclose(insonified_box(frame), sector, atol=8)


def test_a_colour_frame_is_cropped_like_a_grey_one() -> None:
    frame, _ = screen()
    assert insonified_box(np.repeat(frame[..., None], 3, axis=-1)) == insonified_box(frame)


@pytest.mark.parametrize("side", ["left", "right", "above", "below"])
def test_the_crop_is_the_largest_region_wherever_it_lies(side: str) -> None:
    frame = np.zeros((240, 320), np.uint8)
    regions = {
        "left": (0, 0, 240, 112),
        "right": (0, 208, 240, 320),
        "above": (0, 0, 80, 320),
        "below": (160, 0, 240, 320),
    }
    top, left, bottom, right = regions[side]
    frame[top:bottom, left:right] = 90
    frame[110:130, 150:170] = 90  # a mark in the middle
    assert insonified_box(frame) == regions[side]


def test_a_frame_that_is_all_image_is_kept_whole() -> None:
    assert insonified_box(speckle(202, 302)) == (0, 0, 202, 302)


def test_nothing_to_find_and_too_little_keep_the_whole_frame() -> None:
    black = np.zeros((120, 90), np.uint8)
    spot = black.copy()
    spot[50:70, 40:60] = 200
    assert insonified_box(black) == insonified_box(spot) == (0, 0, 120, 90)


def burnt_in(draw_on: np.ndarray) -> np.ndarray:
    image = Image.fromarray(draw_on)
    draw = ImageDraw.Draw(image)
    draw.text((30, 30), "D1 12.3 mm", fill=255)
    draw.line((200, 150, 208, 150), fill=255)
    draw.line((204, 146, 204, 154), fill=255)
    return np.asarray(image)


def test_speckle_is_no_overlay_and_burnt_in_text_is() -> None:
    tissue = np.minimum(speckle(300, 400), 180)
    clean, written = overlay_fraction(tissue), overlay_fraction(burnt_in(tissue))
    assert clean == 0
    drawn = float((burnt_in(tissue) != tissue).mean())
    assert 0.3 * drawn < written <= drawn


def test_a_lone_stroke_counts_whole() -> None:
    frame = np.full((120, 160), 60, np.uint8)
    frame[50:53, 80:90] = 255
    assert overlay_fraction(frame) == pytest.approx(30 / frame.size)


def test_strokes_at_the_border_count_as_those_inside() -> None:
    frame = np.full((120, 160), 60, np.uint8)
    frame[0:9, 3] = frame[111:120, 157] = frame[50:59, 80] = 255
    assert overlay_fraction(frame) == pytest.approx(27 / frame.size)
    assert overlay_fraction(np.repeat(frame[..., None], 3, axis=-1)) == pytest.approx(27 / frame.size)


def test_a_bright_echo_is_no_overlay() -> None:
    y = np.arange(200)[:, None] - 80.0
    reflector = (60 + 190 * np.exp(-0.5 * (y / 2.5) ** 2)).astype(np.uint8)  # as wide as a blurred echo
    assert overlay_fraction(np.repeat(reflector, 300, axis=1)) == 0


def test_colour_doppler_is_an_overlay_by_its_area() -> None:
    frame = np.repeat(speckle(100, 200)[..., None], 3, axis=-1)
    assert overlay_fraction(frame) == 0
    frame[20:40, 50:100] = (200, 40, 20)
    assert overlay_fraction(frame) == pytest.approx(20 * 50 / (100 * 200))


def test_without_cleaning_a_frame_stays_the_very_same() -> None:
    frame = burnt_in(speckle(120, 160))
    same, changed = clean(frame, "none")
    assert same is frame
    assert changed == 0


@pytest.mark.parametrize("colour", [False, True])
def test_cleaning_returns_the_share_of_pixels_that_changed(colour: bool) -> None:
    frame = burnt_in(np.minimum(speckle(300, 400), 180))
    if colour:
        frame = np.repeat(frame[..., None], 3, axis=-1)
    before = frame.copy()
    cleaned, changed = clean(frame, "corrected")
    assert (frame == before).all()
    assert cleaned.shape == frame.shape
    assert cleaned.dtype == np.uint8
    assert changed == (cleaned != frame).reshape(300, 400, -1).any(axis=-1).mean() > 0
    assert overlay_fraction(cleaned) < 0.1 * overlay_fraction(frame)


def test_an_unknown_cleaning_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'thorough' is unknown: none, published or corrected"):
        clean(speckle(64, 64), "thorough")


@pytest.mark.parametrize("colour", [False, True])
def test_a_frame_that_is_grey_already_need_not_be_made_grey_again(colour: bool) -> None:
    frame = burnt_in(np.minimum(speckle(120, 160), 180))
    if colour:
        frame = np.repeat(frame[..., None], 3, axis=-1)
        frame[20:40, 50:100] = (200, 40, 20)
    image = grey(frame)
    assert overlay_fraction(frame, image) == overlay_fraction(frame) > 0
    assert insonified_box(frame) == insonified_box(image)
