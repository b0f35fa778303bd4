"""A simulated subject as a scene: layers and outlined structures, painted from back to front in millimetres.

The frames of a subject show the same scene under small probe motion, with new speckle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usfmae.corpus.simulation.phantom import Array, Medium, Scanner, simulate_frame

Generator = np.random.Generator


@dataclass(frozen=True)
class Tissue:
    """`echogenicity_db` against soft tissue, `attenuation` in dB / cm / MHz, `impedance` in MRayl."""

    echogenicity_db: float
    attenuation: float
    impedance: float


@dataclass(frozen=True)
class Structure:
    """An ellipse whose radius is modulated by `ripples`: (order, amplitude, phase) around the outline."""

    tissue: Tissue
    x: float  # centre, mm
    z: float
    a: float  # semi-axes, mm; `a` lies along `angle`
    b: float
    angle: float = 0.0  # radians
    ripples: tuple[tuple[int, float, float], ...] = ()
    softness: float = 0.5  # width of the edge, mm
    diagnostic: bool = False  # belongs to the mask


@dataclass(frozen=True)
class Subject:
    """One simulated patient, seen by one scanner."""

    scanner: Scanner
    gain_db: float  # what the sonographer added to the scanner's gain
    layers: tuple[tuple[float, Tissue], ...]  # (depth of the upper face in mm, tissue), from the probe down
    structures: tuple[Structure, ...]  # back to front
    streaks: Array  # coarse noise of the layers' texture, (30, 8)


@dataclass(frozen=True)
class Placement:
    """Turns an organ's own coordinates (along its long axis, across it; mm) into those of the image."""

    x: float
    z: float
    angle: float
    unit: float  # mm in the image for a mm of the textbook organ
    side: int  # 1 or -1, which end points left

    def put(
        self, tissue: Tissue, p: float, q: float, a: float, b: float, turn: float = 0.0, **more: Any
    ) -> Structure:
        p, turn = p * self.side * self.unit, turn * self.side
        q, cos, sin = q * self.unit, np.cos(self.angle), np.sin(self.angle)
        x, z = self.x + cos * p - sin * q, self.z + sin * p + cos * q
        return Structure(tissue, x, z, a * self.unit, b * self.unit, self.angle + turn, **more)


def draw_frame(subject: Subject, rng: Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A frame and the mask of its diagnostic structure, both uint8 `(height, width)`; the mask is 0 or 1."""
    depth = subject.scanner.depth_mm
    shift, turn, scale = (rng.normal(0, 0.02 * depth, 2), rng.normal(0, 0.05), rng.normal(1, 0.03))
    moved = tuple(_moved(s, shift, turn, scale, (0.0, depth / 2), rng) for s in subject.structures)
    medium, mask = paint(replace(subject, structures=moved), rng)
    return simulate_frame(medium, subject.scanner, rng, subject.gain_db), mask


def paint(subject: Subject, rng: Generator) -> tuple[Medium, NDArray[np.uint8]]:
    """Tissue maps and mask, `(height, width)`, on the pixels of the subject's scanner."""
    scanner = subject.scanner
    x, z = scanner.pixel_x_mm, scanner.pixel_z_mm
    shape = (len(z), len(x))
    maps = np.broadcast_to(_column(subject.layers[0][1]), (3, *shape)).copy()  # the three maps of a Medium
    depth = np.broadcast_to(z[:, None], shape)
    if scanner.sector_degrees:  # layers follow the face of the probe
        depth = np.hypot(x, z[:, None] + scanner.face_mm) - scanner.face_mm
    wave = _smooth(rng.standard_normal((1, 6), dtype=np.float32), (1, len(x)))
    for top, tissue in subject.layers[1:]:
        maps += np.clip((depth - top - wave) / 0.6 + 0.5, 0, 1) * (_column(tissue) - maps)
    maps[0] += 2.5 * _smooth(subject.streaks, shape)

    mask = np.zeros(shape, bool)
    for s in subject.structures:
        reach = max(s.a, s.b) * (1 + sum(abs(amplitude) for _, amplitude, _ in s.ripples)) + s.softness
        rows = slice(*np.searchsorted(z, (s.z - reach, s.z + reach)))
        columns = slice(*np.searchsorted(x, (s.x - reach, s.x + reach)))
        cover = _cover(s, x[columns], z[rows, None], scanner.pixel_mm)
        maps[:, rows, columns] += cover * (_column(s.tissue) - maps[:, rows, columns])
        mask[rows, columns] = (mask[rows, columns] & (cover <= 0.5)) | (s.diagnostic & (cover > 0.5))
    maps[0] += 1.2 * _smooth(rng.standard_normal((16, 16), dtype=np.float32), shape)
    return Medium(*maps), (mask & scanner.field).astype(np.uint8)


def _cover(s: Structure, x: Array, z: Array, pixel_mm: float) -> Array:
    """Share of each pixel that the structure covers, 0 to 1, `(len(z), len(x))`."""
    cos, sin = np.float32(np.cos(s.angle)), np.float32(np.sin(s.angle))
    u, v = cos * (x - s.x) + sin * (z - s.z), cos * (z - s.z) - sin * (x - s.x)
    u, v = u / np.float32(s.a), v / np.float32(s.b)
    outline: Array | float = 1.0
    if s.ripples:
        around = np.arctan2(v, u)
        outline = 1 + sum(amplitude * np.cos(order * around + phase) for order, amplitude, phase in s.ripples)
    edge = min(s.a, s.b) / max(s.softness, pixel_mm)
    return np.clip((outline - np.hypot(u, v)) * np.float32(edge) + np.float32(0.5), 0, 1)


def _column(tissue: Tissue) -> Array:
    values = (tissue.echogenicity_db, tissue.attenuation, tissue.impedance)
    return np.array(values, np.float32).reshape(3, 1, 1)


def _smooth(noise: Array, shape: tuple[int, int]) -> Array:
    """Coarse white noise as a smooth field of about unit sd at `shape`."""

    def bumps(length: int, cells: int) -> Array:
        place = (np.arange(length, dtype=np.float32)[:, None] + 0.5) / length * cells - 0.5
        weight = np.exp(-((place - np.arange(cells, dtype=np.float32)) ** 2) / 0.7)
        return weight / np.sqrt((weight**2).sum(axis=1, keepdims=True))

    return bumps(shape[0], noise.shape[0]) @ noise @ bumps(shape[1], noise.shape[1]).T


def _moved(
    s: Structure, shift: Array, turn: float, scale: float, centre: tuple[float, float], rng: Generator
) -> Structure:
    """The structure under probe motion: turned about `centre`, shifted, cut a little differently."""
    x, z = s.x - centre[0], s.z - centre[1]
    cut = rng.normal(1, 0.05, 2) if s.diagnostic else np.ones(2)
    return replace(
        s,
        x=centre[0] + scale * (np.cos(turn) * x - np.sin(turn) * z) + shift[0],
        z=centre[1] + scale * (np.sin(turn) * x + np.cos(turn) * z) + shift[1],
        a=s.a * scale * cut[0],
        b=s.b * scale * cut[1],
        angle=s.angle + turn,
    )
