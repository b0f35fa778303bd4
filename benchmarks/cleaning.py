"""Removal of burnt-in annotations, measured on frames with planted ones.

    python -m benchmarks.cleaning

Prints a Markdown table. Frames are simulated and, where USFMAE_REAL_DATA is set, real: frames in which a
person saw no annotation. Text, calipers, dotted lines and arrows are drawn on each, so it is known which
pixels are annotation. Recall is the share of planted pixels that changed. The next two columns are shares of
clean pixels that changed: in the same frames without a plant, and in the planted ones farther than 3 pixels
from it. `saved again`: planted, then rescaled by 0.7 to 1.4 and put through JPEG, as in many releases.
`Doppler`: share of the coloured pixels that changed in boxes around colour Doppler, in frames as they are.
All shares are means over the frames.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFont

from usfmae.corpus.curation.annotations import COLOURED, colours
from usfmae.corpus.curation.cleaning import clean
from usfmae.corpus.simulation.anatomy import CLASSES, draw_subject
from usfmae.corpus.simulation.scene import draw_frame

WORDS = ["MAMA ESQ", "D1 12.3 mm", "LOV-CY", "MI 0.9", "GA 31w6d", "RT KIDNEY", "12:09:04", "QSE 28"]
#: Colours that scanners write with: whites, greys, yellows, green, cyan, orange.
INKS = [(255, 255, 255), (255, 255, 255), (225, 225, 225), (190, 190, 190), (250, 245, 70), (240, 230, 100),
        (90, 230, 90), (80, 220, 240), (255, 160, 40)]  # fmt: skip
#: Real frames without annotation, looked at one by one. On the first the thresholds were chosen.
CHOSEN_ON = [
    *[f"stu_hospital/Hospital/Test_Image_{n}.png" for n in (1, 10, 11, 12, 13, 14, 15, 16, 17)],
    *[f"bus_bra/Images/bus_{n}.png" for n in ("0236-l", "0073-r")],
    *[f"pocus/pocus_images/convex/{n}" for n in (
        "Cov_Oliviera_2020_Fig15A.jpg", "Cov_Oliviera_2020_Fig4A.jpg", "Cov_Oliviera_2020_Fig5A.jpg",
        "Pneu_Avi_Small-effusion-pleural-line.jpg", "Pneu_Avi_consolidated-lung.JPG",
        "Pneu_Avi_plerual-effusion-consolidated-lung.JPG", "Pneu_emdocs_1.png", "Reg_Avi_Image001.jpg",
        "Pneu_northumbria_0409_set4_img2.jpg", "Pneu_Avi_small-effusionA-line.JPG",
    )],
    *[f"pocus/pocus_images/linear/Cov_Oliviera_2020_{n}.jpg" for n in ("Fig14", "Fig16")],
]  # fmt: skip
HELD_BACK = [
    *[f"stu_hospital/Hospital/Test_Image_{n}.png" for n in (2, 3, *range(18, 31))],
    *[f"pocus/pocus_images/convex/Reg_Avi_{n}" for n in (
        "Image006.jpg", "Image007.jpg", "Image009.jpg", "Image010.jpg", "Image011.jpg",
        "normal-A-lines-pleural-line.JPG", "normal-A-lines.JPG", "pleural-line-normal.JPG",
    )],
    "pocus/pocus_images/linear/Cov_unsmoothpleuralline_prelim_study_SSRN_paper6.png",
]  # fmt: skip
#: Real frames with colour Doppler, and boxes (left, top, width, height) that hold Doppler and no drawing.
DOPPLER = [
    ("pydicom_us/examples_rgb_color.dcm", (45, 85, 72, 48)),
    ("pydicom_us/examples_rgb_color.dcm", (159, 85, 86, 41)),
    ("pydicom_us/examples_jpeg2k.dcm", (90, 170, 143, 96)),
    ("pydicom_us/examples_jpeg2k.dcm", (347, 170, 143, 80)),
    ("mmotu_2d_384/Serous_Cystadenoma/images/458.JPG", (144, 130, 80, 66)),
    ("mmotu_2d_384/High-grade_Serous_Cystadenoma/images/1468.JPG", (103, 46, 66, 82)),
    ("mmotu_2d_384/High-grade_Serous_Cystadenoma/images/1465.JPG", (80, 58, 84, 71)),
    ("mmotu_2d_384/Simple_Cyst/images/1303.JPG", (188, 117, 60, 48)),
    ("mmotu_2d_384/Theca_Cell_Tumor/images/476.JPG", (136, 55, 74, 39)),
]


@dataclass(frozen=True)
class Measured:
    """Shares (0 to 1) of pixels, and seconds a planted frame."""

    recall: float
    clean_changed: float
    beside_changed: float
    seconds: float


def measure(frames: Iterable[np.ndarray], method: str, *, saved_again: bool = False) -> Measured:
    """Means over the frames (seconds: the median). One plant a frame, the same for every method."""
    shares, seconds = [], []
    for number, frame in enumerate(frames):
        rng = np.random.default_rng([11, number])
        planted, where = plant(frame, rng)
        if saved_again:
            frame, planted, where = save_again(frame, planted, rng)
        start = time.perf_counter()
        changed = different(clean(planted, method)[0], planted, 0)
        seconds.append(time.perf_counter() - start)
        beside = cv2.dilate(where.astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
        shares.append((changed[where].mean(), clean(frame, method)[1], changed[beside].mean()))
    return Measured(*np.mean(shares, axis=0), float(np.median(seconds)))


def doppler_changed(root: Path, method: str) -> float:
    """Share of the coloured pixels in the boxes of `DOPPLER` that changed."""
    changed = total = 0
    for name, (left, top, width, height) in DOPPLER:
        dicom = name.endswith(".dcm")
        frame = pydicom.dcmread(root / name).pixel_array if dicom else np.asarray(Image.open(root / name))
        box = (slice(top, top + height), slice(left, left + width))
        coloured = (colours(frame)[1] > COLOURED)[box]
        changed += int(different(clean(frame, method)[0], frame, 0)[box][coloured].sum())
        total += int(coloured.sum())
    return changed / total


def simulated(count: int) -> Iterator[np.ndarray]:
    """Frames of the simulator, uint8 `(H, W)`, of all anatomies and probes."""
    organs = [(organ, label) for organ, labels in CLASSES.items() for label in labels]
    for number in range(count):
        rng = np.random.default_rng([8, number])
        yield draw_frame(draw_subject(*organs[number % len(organs)], 0.5, rng), rng)[0]


def real(root: Path, names: list[str]) -> Iterator[np.ndarray]:
    """Frames by path below `root`, RGB, uint8 `(H, W, 3)`."""
    for name in names:
        yield np.asarray(Image.open(root / name).convert("RGB"))


def plant(frame: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Frame with annotations, and which pixels `(H, W)` they changed by more than 20 grey values."""
    colour = frame.ndim == 3
    image = Image.fromarray(frame).convert("RGB")
    draw = ImageDraw.Draw(image)
    width, height = image.size

    def place(margin: int) -> tuple[int, int]:
        return int(rng.integers(4, max(5, width - margin))), int(
            rng.integers(4, max(5, height - margin // 4))
        )

    for word in rng.choice(WORDS, 3, replace=False):
        ink, size = _ink(rng, colour), int(rng.integers(9, 10 + max(2, width // 30)))
        outline = int(rng.random() < 0.3)  # a dark rim, as several scanners draw
        font = ImageFont.load_default(size)
        draw.text(
            place(7 * size), str(word), fill=ink, font=font, stroke_width=outline, stroke_fill=(10, 10, 10)
        )
    ink, thick = _ink(rng, colour), 1 + int(width > 300)
    (x0, y0), (x1, y1) = place(20), place(80)
    arm = int(rng.integers(3, 7))
    for x, y in ((x0, y0), (x1, y1)):
        draw.line((x - arm, y, x + arm, y), fill=ink, width=thick)
        draw.line((x, y - arm, x, y + arm), fill=ink, width=thick)
    steps = int(np.hypot(x1 - x0, y1 - y0) // 6)
    for step in range(1, steps):
        x, y = x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps
        draw.rectangle((round(x), round(y), round(x) + thick - 1, round(y) + thick - 1), fill=ink)
    ink, (x, y) = _ink(rng, colour), place(20)
    draw.line((x, y, x + 12, y + 9), fill=ink, width=thick)
    draw.polygon((x, y, x + 5, y + 1, x + 2, y + 5), fill=ink)
    out = np.asarray(image if colour else image.convert("L"))
    return out, different(out, frame, 20)


def save_again(
    frame: np.ndarray, planted: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frame and planted frame, both rescaled and through JPEG, and which pixels the plant changed."""
    scale, quality = rng.uniform(0.7, 1.4), int(rng.integers(85, 98))
    method = cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA
    frame, planted = (
        cv2.resize(image, None, fx=scale, fy=scale, interpolation=method) for image in (frame, planted)
    )
    where = different(planted, frame, 20)
    frame, planted = (
        cv2.imdecode(
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_UNCHANGED
        )
        for image in (frame, planted)
    )
    return frame, planted, where


def different(a: np.ndarray, b: np.ndarray, by: int) -> np.ndarray:
    """Which pixels `(H, W)` differ by more than so many grey values in any channel."""
    return (cv2.absdiff(a, b).reshape(*a.shape[:2], -1) > by).any(axis=-1)


def _ink(rng: np.random.Generator, colour: bool) -> tuple[int, int, int]:
    red, green, blue = INKS[rng.integers(len(INKS) if colour else 4)]
    return red, green, blue


def main() -> None:
    root = os.environ.get("USFMAE_REAL_DATA")
    groups = [("simulated", list(simulated(24)), False)]
    if root:
        chosen_on, held_back = (list(real(Path(root), names)) for names in (CHOSEN_ON, HELD_BACK))
        groups += [("real, thresholds chosen on them", chosen_on, False), ("real", held_back, False)]
        groups += [("real, saved again", held_back, True)]
    print("| frames | method | recall | clean frames changed | beside plants changed | a frame |")
    print("|---|---|---:|---:|---:|---:|")
    for name, frames, saved_again in groups:
        for method in ("published", "corrected"):
            m = measure(frames, method, saved_again=saved_again)
            shares = f"{m.recall:.3f} | {m.clean_changed:.2%} | {m.beside_changed:.2%}"
            print(f"| {len(frames)} {name} | {method} | {shares} | {1000 * m.seconds:.0f} ms |", flush=True)
    if root:
        for method in ("published", "corrected"):
            share = doppler_changed(Path(root), method)
            print(f"| {len(DOPPLER)} real, Doppler | {method} | | {share:.2%} | | |")


if __name__ == "__main__":
    main()
