"""Simulated subjects: tissue maps and masks of kidneys, fetal necks and breast lesions by class.

Shapes and sizes follow textbook descriptions. They let a workflow be tried and tested; they are no model of
disease, and a result on them says nothing about patients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from usfmae.corpus.simulation.phantom import SCANNERS, Scanner
from usfmae.corpus.simulation.scene import Placement, Structure, Subject, Tissue

Generator = np.random.Generator

SKIN = Tissue(6, 0.6, 1.62)
FAT = Tissue(-8, 0.50, 1.47)
MUSCLE = Tissue(-5, 0.62, 1.62)
SOFT = Tissue(0, 0.55, 1.60)


def draw_subject(anatomy: str, label: str, difficulty: float, rng: Generator) -> Subject:
    """A random subject of class `label`; see `CLASSES` for the names.

    `difficulty` in 0 to 1 moves the classes towards each other: mild findings, large normal variants, fluid
    that is less black, shadows that hide parts.
    """
    if label not in CLASSES.get(anatomy, {}):
        known = {name: sorted(classes) for name, classes in CLASSES.items()}
        raise ValueError(f"no simulated class {label!r} of anatomy {anatomy!r}; there are {known}")
    if not 0 <= difficulty <= 1:
        raise ValueError(f"difficulty is {difficulty}, and must lie in 0 to 1")
    scanner = SCANNERS[str(rng.choice(SCANNERS_OF[anatomy]))]
    layers, structures = CLASSES[anatomy][label](scanner, difficulty, rng)
    shadows = _shadows(scanner, rng.poisson(0.4 + 0.8 * difficulty), rng)
    streaks = rng.standard_normal((30, 8), dtype=np.float32)
    return Subject(scanner, rng.normal(0, 2.5), layers, (*structures, *shadows), streaks)


def _shadows(scanner: Scanner, count: int, rng: Generator) -> list[Structure]:
    """Ribs, gas or poor contact: strong attenuators near the probe that darken the beams behind them."""
    unit, reach = scanner.depth_mm / 100, 0.45 * scanner.face_mm
    tissue = Tissue(2, rng.uniform(1.5, 4) * 5 / scanner.frequency_mhz, 1.62)
    return [
        Structure(
            tissue, rng.uniform(-reach, reach), rng.uniform(5, 9) * unit, rng.uniform(2, 5) * unit, 2 * unit
        )
        for _ in range(count)
    ]


def _ripples(rng: Generator, amplitude: float, orders: range) -> tuple[tuple[int, float, float], ...]:
    return tuple(
        (k, amplitude * rng.normal() / np.sqrt(len(orders)), rng.uniform(0, 2 * np.pi)) for k in orders
    )


def _fluid(difficulty: float, rng: Generator) -> Tissue:
    """Urine, lymph or amniotic fluid; reverberation and side lobes fill it where imaging is hard."""
    return Tissue(-36 + 16 * difficulty * rng.uniform(), 0.02, 1.56)


Scene = tuple[tuple[tuple[float, Tissue], ...], list[Structure]]


def _kidney(scanner: Scanner, difficulty: float, rng: Generator, *, label: str) -> Scene:
    """Long-axis view. `finding` in 0 to 1 is how far the subject is from a normal kidney."""
    wander = difficulty * rng.uniform()
    finding = 0.6 * wander if label == "normal" else 1 - 0.9 * wander
    unit = scanner.depth_mm / 100 * rng.uniform(0.85, 1.12)
    kidney = Placement(
        rng.normal(0, 5), 50 * unit + rng.normal(0, 3), rng.normal(0, 0.25), unit, rng.choice([-1, 1])
    )
    contrast, fluid = 1 - 0.5 * difficulty * rng.uniform(), _fluid(difficulty, rng)
    cortex = Tissue(rng.normal(-6, 1.5) * contrast, 0.55, 1.63)
    sinus = Tissue(rng.normal(6, 1.5) * contrast, 0.6, 1.58)
    muscle, liver = rng.uniform(7, 11) * unit, rng.uniform(15, 22) * unit
    layers = ((0.0, SKIN), (2.0 * unit, FAT), (muscle, MUSCLE), (liver, SOFT))
    put, a, b = kidney.put, rng.uniform(40, 48), rng.uniform(18, 22)
    parts = [
        put(Tissue(4, 0.5, 1.55), 0, 0, a + 3, b + 3, softness=4.0, ripples=_ripples(rng, 0.05, range(2, 5)))
    ]

    simple_cysts = []  # common and harmless: what a classifier must not fall for
    for _ in range(rng.binomial(3, 0.5 * difficulty)):
        around, size = rng.uniform(0, 2 * np.pi), rng.uniform(2, 5)
        simple_cysts.append(put(fluid, 0.75 * a * np.cos(around), 0.7 * b * np.sin(around), size, size))

    if label == "multicystic_dysplastic":
        parts.append(put(cortex, 0, 0, a * 0.9, b * 1.05, ripples=_ripples(rng, 0.16 * finding, range(2, 7))))
        stroma = replace(sinus, echogenicity_db=sinus.echogenicity_db - 2)
        parts.append(
            put(stroma, 0, 0, a * 0.6, b * 0.6, softness=6.0, ripples=_ripples(rng, 0.2, range(2, 6)))
        )
        if rng.uniform() < 0.7 * difficulty:  # what is left of the pelvis
            parts.append(put(fluid, 0, 0.1 * b, rng.uniform(6, 12), rng.uniform(1, 4)))
        cysts: list[tuple[float, float, float]] = []
        wanted = rng.integers(2 + round(5 * finding), 4 + round(10 * finding))
        for _ in range(12 * wanted):
            radius = (2.0 + 3.0 * finding) * rng.lognormal(0, 0.45)
            p, q = rng.uniform(-0.85, 0.85) * a, rng.uniform(-0.85, 0.85) * b
            apart = all(np.hypot(p - i, q - j) > radius + r + 0.8 for i, j, r in cysts)
            if apart and len(cysts) < wanted and (p / a) ** 2 + (q / b) ** 2 < 0.75:
                cysts.append((p, q, radius))
                wide, tall, turn = radius * rng.uniform(0.8, 1.2), radius, rng.uniform(0, np.pi)
                outline = _ripples(rng, 0.06, range(2, 5))
                parts.append(put(fluid, p, q, wide, tall, turn, ripples=outline, diagnostic=True))
        return layers, parts

    swell = 0.15 * finding if label == "urinary_tract_dilation" else 0.0
    parts.append(put(cortex, 0, 0, a, b * (1 + swell), ripples=_ripples(rng, 0.04, range(2, 6))))
    pyramid = replace(
        cortex, echogenicity_db=cortex.echogenicity_db - rng.uniform(3, 7 + 4 * difficulty) * contrast
    )
    spokes = np.linspace(0, 2 * np.pi, rng.integers(6, 9), endpoint=False) + rng.uniform(0, 1)
    for spoke in spokes + rng.normal(0, 0.1, len(spokes)):
        size = rng.uniform(2.8, 4.2)
        p, q = 0.7 * a * np.cos(spoke), 0.66 * b * np.sin(spoke)
        parts.append(put(pyramid, p, q, size * 1.2, size, spoke, softness=1.5))
    parts.append(put(sinus, 0, 0, 0.55 * a, 0.40 * b, softness=3.0, ripples=_ripples(rng, 0.2, range(2, 7))))

    if label == "normal":
        half, length = 0.7 + 5.5 * finding, rng.uniform(6, 12)
        calyces, bud = rng.binomial(3, finding), 2.0
    else:
        half, length = 1.5 + 8.0 * finding * rng.uniform(0.7, 1.3), rng.uniform(10, 17)
        calyces, bud = 2 + round(4 * finding), 2.0 + 3.0 * finding
    for spoke in rng.choice(spokes, min(calyces, len(spokes)), replace=False):
        p, q = 0.55 * a * np.cos(spoke), 0.5 * b * np.sin(spoke)
        neck = np.hypot(p, q) / 2  # an infundibulum joins each calyx to the pelvis
        parts.append(put(fluid, p / 2, q / 2, neck, 0.5 * bud, np.arctan2(q, p), diagnostic=True))
        size = bud * rng.uniform(0.8, 1.2)
        parts.append(put(fluid, p, q, size, size, ripples=_ripples(rng, 0.1, range(2, 5)), diagnostic=True))
    outline = _ripples(rng, 0.15, range(2, 6))
    parts.append(put(fluid, 0, 0.1 * b, length, half, rng.normal(0, 0.1), ripples=outline, diagnostic=True))
    return layers, parts + simple_cysts


def _neck(scanner: Scanner, difficulty: float, rng: Generator, *, label: str) -> Scene:
    """Sagittal view of a first-trimester fetus in its amniotic cavity, with fluid behind the neck."""
    wander = difficulty * rng.uniform()
    borderline = rng.uniform() < 0.4 * difficulty  # between the classes: thickened, or mild
    thickness = 1.0 + 2.4 * wander + rng.uniform(0, 0.6)  # of the nuchal fluid, mm
    if label == "cystic_hygroma":
        thickness = rng.uniform(9, 13) * (1 - 0.6 * wander)
    if borderline:
        thickness = rng.uniform(2.5, 4)
    unit = scanner.depth_mm / 50 * rng.uniform(0.9, 1.1)  # magnified: head and thorax fill the picture
    # The standard plane has the back away from the probe; the harder, the more fetuses lie the other way.
    upside = -1 if rng.uniform() < 0.5 * difficulty else 1
    fetus = Placement(
        rng.normal(0, 2), 26 * unit + rng.normal(0, 1.5), rng.normal(0, 0.2), unit, rng.choice([-1, 1])
    )
    fluid, contrast = _fluid(difficulty, rng), 1 - 0.4 * difficulty * rng.uniform()
    # Lymph of a hygroma holds protein and cells: fine echoes where amniotic fluid has none.
    large_hygroma = label == "cystic_hygroma" and not borderline
    lymph = Tissue(rng.uniform(-17, -11), 0.05, 1.57) if large_hygroma else fluid
    body = Tissue(rng.normal(-3, 1.5), 0.55, 1.60)
    skin, brain = Tissue(4 * contrast, 0.6, 1.64), Tissue(-14 * contrast, 0.5, 1.58)
    bone, septum = Tissue(12 * contrast, 1.6, 1.75), Tissue(3 * contrast, 0.6, 1.61)

    def put(
        tissue: Tissue, p: float, q: float, a: float, b: float, turn: float = 0.0, **more: Any
    ) -> Structure:
        return fetus.put(tissue, p, q * upside, a, b, turn * upside, **more)

    layers = ((0.0, MUSCLE), (rng.uniform(2, 5) * unit, SOFT))
    outline = _ripples(rng, 0.08, range(2, 5))
    parts = [put(fluid, 2, 0, rng.uniform(34, 40), rng.uniform(19, 22), softness=0.8, ripples=outline)]
    reach = 10 + 0.7 * thickness
    parts.append(put(skin, -2, 2.0 + thickness / 2, reach + 0.6, 6.3 + thickness / 2))
    parts.append(put(lymph, -2, 1.7 + thickness / 2, reach, 6.0 + thickness / 2, diagnostic=True))
    if large_hygroma:
        for place in rng.uniform(-0.6, 0.6, rng.integers(1, 3 + round(3 * (1 - wander)))):
            p, q = -2 + place * reach, 7.2 + 0.4 * thickness
            parts.append(
                put(septum, p, q, 0.8 * thickness, 0.3, np.pi / 2 + rng.normal(0, 0.4), diagnostic=True)
            )
    parts.append(put(body, 14, 0, 17, 9.5, softness=0.8, ripples=_ripples(rng, 0.05, range(2, 5))))
    parts.append(put(body, -3, -0.3, 10, 7.5))
    parts += [put(bone, -15, -0.5, 11.5, 9.3), put(brain, -15, -0.5, 10.6, 8.4)]
    parts.append(put(Tissue(2 * contrast, 0.5, 1.6), -15, -0.5, 9, 0.4))  # falx
    for q in (-4.0, 3.0):  # choroid plexus
        parts.append(put(Tissue(1 * contrast, 0.5, 1.6), -13 + rng.normal(), q, 4, 1.8, softness=1.5))
    for p in np.arange(-4, 27, 1.9):  # vertebrae
        parts.append(put(bone, p, 4.5 - 0.006 * (p - 10) ** 2, 0.6, 0.5))
    parts.append(put(brain, 9, -2, 3.5, 2.5, softness=1.5))  # heart
    for _ in range(rng.integers(1, 4)):  # limbs
        parts.append(
            put(body, rng.uniform(-2, 24), rng.uniform(-15, -11), rng.uniform(3, 6), 1.8, rng.normal(0, 0.5))
        )
    return layers, parts


def _breast(scanner: Scanner, difficulty: float, rng: Generator, *, label: str) -> Scene:
    """Lesion in glandular tissue. Each sign of malignancy wanders on its own, from 0 (absent) to 1."""

    def sign() -> float:
        towards = rng.uniform(0, 0.6) * difficulty
        return float((1 - towards if label == "malignant" else towards) + rng.normal(0, 0.25) * difficulty)

    unit = scanner.depth_mm / 38
    tops = (1.8, rng.uniform(5, 10), rng.uniform(24, 29), rng.uniform(30, 33))
    gland = Tissue(rng.normal(2, 1.5), 0.6, 1.56)
    tissues = (SKIN, FAT, gland, MUSCLE, Tissue(-12, 0.8, 1.66))
    layers = tuple((top * unit, tissue) for top, tissue in zip((0.0, *tops), tissues, strict=True))
    parts = [
        Structure(
            Tissue(6, 0.6, 1.52), rng.uniform(-18, 18), rng.uniform(2, tops[1] + 4) * unit,
            rng.uniform(3, 8), 0.3, rng.choice([-1, 1]) * rng.uniform(0.1, 0.9),
            _ripples(rng, 0.1, range(2, 4)), 0.6,
        )
        for _ in range(rng.integers(5, 10))
    ]  # fmt: skip
    parts += [
        Structure(
            replace(FAT, impedance=1.53), rng.uniform(-18, 18), rng.uniform(tops[1], 26) * unit,
            rng.uniform(2, 4.5), rng.uniform(1, 2), rng.normal(0, 0.2), softness=1.0,
        )
        for _ in range(rng.integers(3, 8))
    ]  # fmt: skip

    radius = rng.uniform(3.5, 7.5) * unit
    wide = np.exp(0.30 - 0.50 * sign())  # square root of width / height
    ragged, absorbing, radiating = (float(np.clip(sign(), 0, 1.3)) for _ in range(3))
    x, z = rng.normal(0, 4), rng.uniform(11, 18) * unit
    mass = Tissue(rng.normal(-12, 2) * (1 - 0.4 * difficulty * rng.uniform()), 0.25 + 0.9 * absorbing, 1.60)
    outline = _ripples(rng, 0.03, range(2, 5)) + _ripples(rng, 0.15 * ragged, range(3, 10))
    angle, a, b = rng.normal(0, 0.12), radius * wide, radius / wide
    halo = replace(gland, echogenicity_db=gland.echogenicity_db + 4 * radiating)
    parts.append(Structure(halo, x, z, a + 1.5, b + 1.5, angle, outline, softness=2.5))
    for around in rng.uniform(0, 2 * np.pi, round(9 * radiating)):  # spicules
        far = 1.05 + 0.1 * rng.uniform()
        p, q = x + far * a * np.cos(around), z + far * b * np.sin(around)
        parts.append(Structure(mass, p, q, 0.3 * radius, 0.3, np.arctan2(q - z, p - x), softness=0.7))
    softness = 0.4 + 1.2 * ragged
    parts.append(Structure(mass, x, z, a, b, angle, outline, softness, diagnostic=True))
    return layers, parts


Draw = Callable[[Scanner, float, Generator], Scene]

CLASSES: dict[str, dict[str, Draw]] = {
    anatomy: {label: partial(draw, label=label) for label in labels}
    for anatomy, draw, labels in (
        ("kidney", _kidney, ("normal", "urinary_tract_dilation", "multicystic_dysplastic")),
        ("neck", _neck, ("normal", "cystic_hygroma")),
        ("breast", _breast, ("benign", "malignant")),
    )
}
SCANNERS_OF = {
    "kidney": ("convex-a", "convex-b", "convex-c"),
    "neck": ("micro-a", "micro-b"),
    "breast": ("linear-a", "linear-b"),
}
