"""The simulator, tested as physics: speckle, resolution, attenuation, shadow and enhancement."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from usfmae.corpus.simulation.anatomy import CLASSES, draw_subject
from usfmae.corpus.simulation.phantom import (
    SCANNERS,
    Medium,
    Scanner,
    display,
    simulate_envelope,
    simulate_frame,
)
from usfmae.corpus.simulation.scene import draw_frame, paint

QUIET = -200.0  # dB, no electronic noise
EVERY_SCANNER = pytest.mark.parametrize("name", SCANNERS)


def scanner_without_noise(name: str, **changes: Any) -> Scanner:
    return replace(SCANNERS[name], noise_db=QUIET, **changes)


def homogeneous(scanner: Scanner, attenuation: float | None = None) -> Medium:
    ones = np.ones((scanner.height, scanner.width), np.float32)
    return Medium(
        0 * ones, ones * np.float32(scanner.tgc if attenuation is None else attenuation), 1.6 * ones
    )


def with_inclusion(scanner: Scanner, attenuation: float) -> Medium:
    """Homogeneous tissue with an absorber, or fluid, across the middle beams at 35 to 50 % of the depth."""
    medium = homogeneous(scanner)
    rows = (scanner.pixel_z_mm > 0.35 * scanner.depth_mm) & (scanner.pixel_z_mm < 0.5 * scanner.depth_mm)
    columns = np.abs(scanner.pixel_x_mm) < 0.2 * scanner.face_mm
    medium.attenuation[np.ix_(rows, columns)] = attenuation
    return medium


def width_at_half_maximum(intensity: np.ndarray, step: float) -> float:
    """Of the intensity's autocovariance along axis 1 of `(lines, samples)`; Gaussian between two lags."""
    centred = intensity - intensity.mean()
    for lag in range(1, 20):
        correlation = np.mean(centred[:, lag:] * centred[:, :-lag]) / np.mean(centred**2)
        if correlation < 0.6:
            return float(2 * lag * step * np.sqrt(np.log(2) / -np.log(correlation)))
    raise AssertionError("the speckle is wider than 20 samples")


@EVERY_SCANNER
def test_the_envelope_of_homogeneous_tissue_is_rayleigh(name):
    scanner, rng = scanner_without_noise(name), np.random.default_rng(0)
    axial = int(np.ceil(2 * scanner.axial_fwhm_mm / scanner.axial_step_mm))  # samples two widths apart
    lateral = int(np.ceil(2 * (scanner.lateral_fwhm_mm / scanner.beam_step_mm).max()))
    cells: list[np.ndarray] = []
    while sum(part.size for part in cells) < 12_000:
        envelope = simulate_envelope(homogeneous(scanner), scanner, rng)
        cells.append(envelope[8:-8:axial, lateral:-lateral:lateral].ravel())
    values = np.concatenate(cells)
    assert values.size >= 10_000
    assert values.mean() / values.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.03)  # 1.913
    assert np.mean(values**2) == pytest.approx(1, rel=0.05)
    median = np.sqrt(2 * np.log(2) * np.mean(values**2) / 2)
    assert np.median(values) == pytest.approx(median, rel=0.03)


@pytest.mark.parametrize("frequency", [3.5, 5.0, 7.0])
def test_axial_speckle_shrinks_with_frequency(frequency):
    scanner, rng = scanner_without_noise("convex-b", frequency_mhz=frequency), np.random.default_rng(1)
    width = width_at_half_maximum(
        simulate_envelope(homogeneous(scanner), scanner, rng).T ** 2, scanner.axial_step_mm
    )
    assert width == pytest.approx(scanner.axial_fwhm_mm, rel=0.1)
    expected = 2 * np.log(2) * 1.54 / (np.pi * scanner.bandwidth * frequency)  # Gaussian pulse, mm
    assert width == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("name", ["convex-a", "micro-a", "linear-a"])
def test_lateral_speckle_follows_the_beam_width_at_each_depth(name):
    scanner, rng = scanner_without_noise(name, beams=320), np.random.default_rng(2)
    frames = [simulate_envelope(homogeneous(scanner), scanner, rng) ** 2 for _ in range(3)]
    depths = np.array([0.3, 0.5, 0.7, 0.95]) * scanner.samples
    measured, expected = [], []
    for depth in depths.astype(int):
        rows = slice(depth - 12, depth + 12)
        lines = np.concatenate([frame[rows, 20:-20] for frame in frames])
        measured.append(width_at_half_maximum(lines, float(scanner.beam_step_mm[depth])))
        expected.append(float(scanner.lateral_fwhm_mm[depth]))
    assert measured == pytest.approx(expected, rel=0.15)
    assert measured[-1] > 1.5 * min(measured)  # wider far behind the focus


def test_the_beam_is_narrowest_about_the_focus():
    scanner = SCANNERS["linear-a"]
    narrowest = scanner.sample_depth_mm[scanner.lateral_fwhm_mm.argmin()]
    assert narrowest == pytest.approx(scanner.focus_mm, rel=0.15)


@pytest.mark.parametrize("attenuation", [0.3, 0.7])
@pytest.mark.parametrize("name", ["convex-a", "linear-b"])
def test_attenuation_follows_decibels_per_centimetre_and_megahertz(name, attenuation):
    scanner, rng = scanner_without_noise(name, tgc=0.0), np.random.default_rng(3)
    envelope = simulate_envelope(homogeneous(scanner, attenuation), scanner, rng)
    level = 10 * np.log10(np.mean(envelope**2, axis=1))[10:-10]
    slope_db_per_cm = -np.polyfit(scanner.sample_depth_mm[10:-10] / 10, level, 1)[0]
    assert slope_db_per_cm / (2 * scanner.frequency_mhz) == pytest.approx(attenuation, rel=0.03)


def test_time_gain_compensation_makes_matched_tissue_flat():
    scanner = scanner_without_noise("micro-b")
    envelope = simulate_envelope(homogeneous(scanner), scanner, np.random.default_rng(4))
    level = 10 * np.log10(np.mean(envelope**2, axis=1))[10:-10]
    slope_db_per_cm = np.polyfit(scanner.sample_depth_mm[10:-10] / 10, level, 1)[0]
    assert abs(slope_db_per_cm) < 0.1


@pytest.mark.parametrize(("attenuation", "sign"), [(2.0, -1), (0.0, 1)])
@pytest.mark.parametrize("name", ["convex-b", "linear-a"])
def test_absorbers_cast_shadows_and_fluid_enhances_by_the_round_trip(name, attenuation, sign):
    scanner, rng = scanner_without_noise(name), np.random.default_rng(5)
    envelope = simulate_envelope(with_inclusion(scanner, attenuation), scanner, rng)
    behind, middle = slice(int(0.6 * scanner.samples), -8), scanner.beams // 2
    inside = envelope[behind, middle - 8 : middle + 8]
    beside = np.concatenate([envelope[behind, 8:20], envelope[behind, -20:-8]], axis=1)
    change_db = 10 * np.log10(np.mean(inside**2) / np.mean(beside**2))
    path_cm = 0.15 * scanner.depth_mm / 10
    expected_db = -2 * scanner.frequency_mhz * path_cm * (attenuation - scanner.tgc)
    assert np.sign(change_db) == sign
    assert change_db == pytest.approx(expected_db, rel=0.15, abs=1)


def test_a_step_of_impedance_reflects():
    scanner = scanner_without_noise("linear-a")
    medium = homogeneous(scanner)
    medium.impedance[scanner.pixel_z_mm > 20] = 1.75
    envelope = simulate_envelope(medium, scanner, np.random.default_rng(6))
    line = np.mean(envelope**2, axis=1)
    assert scanner.sample_depth_mm[line.argmax()] == pytest.approx(20, abs=0.3)
    assert line.max() > 4


def test_noise_takes_over_where_the_echo_is_lost():
    scanner = SCANNERS["micro-b"]
    faint, lost = (
        simulate_envelope(homogeneous(scanner, attenuation), scanner, np.random.default_rng(7))
        for attenuation in (2.0, 4.0)
    )
    assert np.mean(faint[-50:] ** 2) == pytest.approx(np.mean(lost[-50:] ** 2), rel=0.1)


@EVERY_SCANNER
def test_a_frame_is_black_outside_the_field_and_grey_inside(name):
    scanner = SCANNERS[name]
    frame = simulate_frame(homogeneous(scanner), scanner, np.random.default_rng(8))
    assert frame.shape == (scanner.height, scanner.width)
    assert frame.dtype == np.uint8
    assert not frame[~scanner.field].any()
    assert 60 < frame[scanner.field].mean() < 160
    assert scanner.field.mean() > 0.4


def test_the_display_is_logarithmic():
    scanner = SCANNERS["linear-a"]
    envelope = np.ones((scanner.samples, scanner.beams), np.float32)
    middle = scanner.height // 2, scanner.width // 2
    reference, louder, gained = (
        int(image[middle])
        for image in (
            display(envelope, scanner),
            display(envelope * np.float32(10), scanner),
            display(envelope, scanner, extra_gain_db=20.0),
        )
    )
    step = 20 * 255 / scanner.dynamic_range_db
    assert louder - reference == pytest.approx(step, abs=1)
    assert gained == louder


def test_scan_conversion_keeps_depth():
    scanner = SCANNERS["convex-a"]
    envelope = np.full((scanner.samples, scanner.beams), 1e-6, np.float32)
    at = scanner.samples // 2
    envelope[at - 3 : at + 4] = 10.0  # an arc at one depth
    rows, columns = np.nonzero(display(envelope, scanner) > 60)
    x, z = scanner.pixel_x_mm[columns], scanner.pixel_z_mm[rows]
    depth = np.hypot(x, z + scanner.face_mm) - scanner.face_mm
    assert np.abs(depth - scanner.sample_depth_mm[at]).max() < 3 * scanner.pixel_mm


@pytest.mark.parametrize(
    ("anatomy", "label"), [(a, label) for a, labels in CLASSES.items() for label in labels]
)
def test_every_class_gives_seeded_frames_with_a_mask_in_the_field(anatomy, label):
    subject = draw_subject(anatomy, label, 0.5, np.random.default_rng(9))
    again = draw_subject(anatomy, label, 0.5, np.random.default_rng(9))
    frame, mask = draw_frame(subject, np.random.default_rng(10))
    same, same_mask = draw_frame(again, np.random.default_rng(10))
    other, _ = draw_frame(subject, np.random.default_rng(11))
    np.testing.assert_array_equal(frame, same)
    np.testing.assert_array_equal(mask, same_mask)
    assert (frame != other).mean() > 0.3
    assert set(np.unique(mask)) == {0, 1}
    assert not (mask.astype(bool) & ~subject.scanner.field).any()


@pytest.mark.parametrize(
    ("anatomy", "label", "share"),
    [
        ("kidney", "multicystic_dysplastic", 0.3),
        ("kidney", "urinary_tract_dilation", 0.3),
        ("neck", "cystic_hygroma", 1.0),  # lymph holds fine echoes, and septa cross it
        ("neck", "normal", 0.7),
    ],
)
def test_masked_fluid_is_darker_than_tissue(anatomy, label, share):
    for seed in range(3):
        frame, mask = draw_frame(draw_subject(anatomy, label, 0.0, rng := np.random.default_rng(seed)), rng)
        tissue = np.quantile(frame[(mask == 0) & (frame > 0)], 0.75)  # fluid around it fills less than that
        assert frame[mask == 1].mean() < share * tissue


def test_dilation_and_hygroma_have_larger_masks_than_normal_and_difficulty_closes_the_gap():
    def area(anatomy: str, label: str, difficulty: float) -> float:
        generators = [np.random.default_rng(seed) for seed in range(16)]
        return float(
            np.mean([paint(draw_subject(anatomy, label, difficulty, g), g)[1].mean() for g in generators])
        )

    for anatomy, finding in (("kidney", "urinary_tract_dilation"), ("neck", "cystic_hygroma")):
        easy, hard = (area(anatomy, finding, d) / area(anatomy, "normal", d) for d in (0.0, 1.0))
        assert easy > 2
        assert 1 < hard < easy


@pytest.mark.parametrize(
    ("anatomy", "label", "difficulty"), [("liver", "normal", 0.5), ("neck", "benign", 0.5)]
)
def test_an_unknown_anatomy_or_class_is_refused_with_the_known_ones(anatomy, label, difficulty):
    with pytest.raises(ValueError, match="cystic_hygroma"):
        draw_subject(anatomy, label, difficulty, np.random.default_rng(0))


def test_difficulty_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match="0 to 1"):
        draw_subject("neck", "normal", 1.5, np.random.default_rng(0))


def test_a_224_pixel_frame_takes_under_50_ms():
    scanner, rng = SCANNERS["linear-a"], np.random.default_rng(0)
    assert (scanner.height, scanner.width) == (224, 224)
    medium = homogeneous(scanner)
    simulate_frame(medium, scanner, rng)  # builds the interpolation matrices
    times = []
    for _ in range(8):
        started = time.process_time()
        simulate_frame(medium, scanner, rng)
        times.append(time.process_time() - started)
    assert min(times) < 0.05
