"""Burnt-in annotations: planted ones go, tissue and Doppler colour stay, USF-MAE's method is as published."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from usfmae.corpus.curation.annotations import corrected_mask, published_mask
from usfmae.corpus.curation.cleaning import clean

needs_tesseract = pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")


@pytest.fixture(scope="module")
def bench(project: Path) -> dict[str, Any]:
    """The functions of benchmarks/cleaning.py, which plants and measures."""
    return runpy.run_path(str(project / "benchmarks/cleaning.py"))


@pytest.fixture(scope="module")
def simulated(bench: dict[str, Any]) -> list[np.ndarray]:
    return list(bench["simulated"](9))


def tissue(height: int = 240, width: int = 320) -> np.ndarray:
    """RGB tissue `(height, width, 3)`: blurred noise, grey."""
    noise = np.random.default_rng(1).normal(90, 60, (height, width)).astype(np.float32)
    grey = cv2.GaussianBlur(noise, (0, 0), 2) * 1.5 - 40
    return np.repeat(np.clip(grey, 0, 200).astype(np.uint8)[..., None], 3, axis=-1)


def write(frame: np.ndarray, text: str, at: tuple[int, int], size: int, **drawing: Any) -> np.ndarray:
    image = Image.fromarray(frame)
    ImageDraw.Draw(image).text(at, text, font=ImageFont.load_default(size), **drawing)
    return np.asarray(image)


def doppler(frame: np.ndarray) -> np.ndarray:
    """Draws flow from dark red to yellow, and towards blue, with small vessels around; returns where."""
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]]
    flow = np.hypot(x - 160, 2 * (y - 120)) < 50
    for left, top, size in ((90, 100, 4), (225, 140, 5), (200, 80, 3), (130, 165, 6)):
        flow |= (abs(x - left) <= size // 2) & (abs(y - top) <= size // 2)
    speed = np.clip((x - 100) / 120, 0, 1)
    frame[flow] = np.stack([130 + 120 * speed, 220 * speed, 30 * speed], axis=-1)[flow].astype(np.uint8)
    frame[flow & (y > 130)] = (20, 60, 220)
    return flow


def test_planted_text_and_calipers_go_and_simulated_tissue_stays(
    bench: dict[str, Any], simulated: list[np.ndarray]
) -> None:
    found = bench["measure"](simulated, "corrected")
    assert found.recall >= 0.9
    assert found.clean_changed < 0.01
    assert found.beside_changed < 0.01


def test_planted_text_and_calipers_go_and_real_tissue_stays(bench: dict[str, Any], real_data: Path) -> None:
    frames = list(bench["real"](real_data, bench["HELD_BACK"]))
    found = bench["measure"](frames, "corrected")
    assert found.recall >= 0.95
    assert found.clean_changed < 0.005
    assert bench["measure"](frames, "corrected", saved_again=True).recall >= 0.9


@needs_tesseract
def test_corrected_finds_more_and_harms_less_than_published_in_real_frames(
    bench: dict[str, Any], real_data: Path
) -> None:
    frames = list(bench["real"](real_data, bench["HELD_BACK"][-9:]))
    corrected, published = (bench["measure"](frames, method) for method in ("corrected", "published"))
    assert corrected.recall > published.recall + 0.2
    assert corrected.clean_changed < 0.5 * published.clean_changed
    assert bench["doppler_changed"](real_data, "corrected") < 0.01
    assert bench["doppler_changed"](real_data, "published") > 0.9


def test_doppler_colour_stays_and_text_in_the_same_frame_goes() -> None:
    frame = tissue()
    flow = doppler(frame)
    written = write(frame, "LOV-CY", (20, 200), 16, fill=(250, 245, 70))
    text = (written != frame).any(axis=-1)
    mask = corrected_mask(written) > 0
    assert mask[flow].mean() < 0.01
    assert mask[text].mean() > 0.95


def test_a_coloured_marker_goes_where_it_is_no_brighter_than_the_tissue() -> None:
    frame = np.maximum(tissue(), 150)
    cv2.circle(frame, (100, 100), 6, (40, 180, 160), cv2.FILLED)  # the probe's mark
    cv2.line(frame, (180, 60), (240, 90), (150, 160, 40), 2)
    coloured = np.ptp(frame, axis=-1) > 60
    mask = corrected_mask(frame) > 0
    assert mask[coloured].all()
    assert mask.mean() < 3 * coloured.mean()


def test_tinted_tissue_is_no_marker() -> None:
    tinted = (tissue() * np.array([1.0, 0.85, 1.1])).clip(0, 255).astype(np.uint8)
    assert corrected_mask(tinted).mean() == 0


def test_a_bright_specular_echo_stays() -> None:
    frame = tissue()[..., 0]
    y, x = np.mgrid[:240, :320]
    echo = 250 * np.exp(-0.5 * ((y - 100) / 1.2) ** 2 - 0.5 * ((x - 160) / 25) ** 2)  # sharp in depth alone
    assert corrected_mask(np.maximum(frame, echo.astype(np.uint8))).mean() == 0


def test_the_dark_rim_of_a_letter_goes_with_it() -> None:
    frame = np.maximum(tissue()[..., 0], 90)
    written = write(frame, "QSE", (120, 120), 18, fill=255, stroke_width=1, stroke_fill=5)
    cleaned, _ = clean(written, "corrected")
    assert cleaned.min() > 60
    assert cleaned.max() < 230


def test_wide_strokes_of_a_large_frame_go() -> None:
    frame = cv2.resize(tissue()[..., 0], (2000, 1500))
    written = write(frame, "LIVER", (500, 700), 70, fill=255)
    assert (corrected_mask(written)[written != frame] > 0).mean() > 0.95


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (40, 40), (40, 40, 3), (2, 1100, 3)])
@pytest.mark.parametrize("value", [0, 255])
def test_blank_and_tiny_frames_have_no_annotation(shape: tuple[int, ...], value: int) -> None:
    frame = np.full(shape, value, np.uint8)
    cleaned, changed = clean(frame, "corrected")
    assert changed == 0
    assert (cleaned == frame).all()


def no_words(*_: object, **__: object) -> dict[str, list]:
    return {key: [] for key in ("left", "top", "width", "height", "text")}


def test_published_takes_speckle_and_doppler_for_annotations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its known flaws, which make the comparison: small bright contours are masked whatever they are."""
    monkeypatch.setattr("pytesseract.image_to_data", no_words)
    frame = np.full((240, 320, 3), 60, np.uint8)
    y, x = np.mgrid[:240, :320]
    calcification = np.hypot(x - 80, y - 60) < 6
    frame[calcification] = 200
    flow = doppler(frame)
    mask = published_mask(frame) > 0
    assert mask[calcification].mean() > 0.9
    assert mask[flow].mean() > 0.8
    assert not mask[180:, 250:].any()


def test_published_fills_the_boxes_of_words_and_of_nothing_blank(monkeypatch: pytest.MonkeyPatch) -> None:
    read = {"left": [30, 90], "top": [40, 40], "width": [29, 29], "height": [9, 9], "text": ["D1", "  "]}
    monkeypatch.setattr("pytesseract.image_to_data", lambda *_, **__: read)
    mask = published_mask(np.full((120, 160), 50, np.uint8))
    expected = np.zeros_like(mask)
    expected[40:50, 30:60] = 255  # corners included, as cv2.rectangle draws
    np.testing.assert_array_equal(mask, expected)


def test_published_treats_grey_and_its_colour_copy_alike(
    monkeypatch: pytest.MonkeyPatch, simulated: list[np.ndarray]
) -> None:
    monkeypatch.setattr("pytesseract.image_to_data", no_words)
    grey = simulated[0]
    colour = np.repeat(grey[..., None], 3, axis=-1)
    np.testing.assert_array_equal(clean(colour, "published")[0][..., 1], clean(grey, "published")[0])


def test_without_tesseract_published_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytesseract.pytesseract.tesseract_cmd", "no-such-program")
    with pytest.raises(RuntimeError, match=r"`tesseract`.*install it, or set `cleaning: corrected`"):
        clean(np.full((60, 80), 50, np.uint8), "published")
