"""A simulated release, packed as publishers pack theirs: images, masks, a table, and what goes wrong."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from usfmae.corpus.simulation.anatomy import CLASSES, draw_subject
from usfmae.corpus.simulation.phantom import SCANNERS
from usfmae.corpus.simulation.scene import draw_frame
from usfmae.record import write_json, write_table

OVERLAY_SHARE = 0.08  # of the frames, where defects are wanted
SWEEP = "sweep"
README = """\
SIMULATED ULTRASOUND - NO PATIENT WAS EXAMINED

Frames of anatomy "{anatomy}", computed by usfmae.corpus.simulation. They serve to try and test a workflow;
nothing measured on them says anything about patients.

images/<anatomy>_<subject>_<frame>.png       8-bit grey
masks/<anatomy>_<subject>_<frame>_mask.png   0, or 255 in the structure that the diagnosis rests on
labels.csv                                   file, subject, class, scanner
{defects}
difficulty {difficulty}, seed {seed}, {frames_per_subject} frames a subject, subjects: {subjects}
"""


@dataclass(frozen=True)
class Row:
    """A frame of the release: its file below `images/`, and what the table says of it."""

    file: str
    subject: int
    label: str
    scanner: str

    @property
    def mask(self) -> str:
        return f"{Path(self.file).stem}_mask.png"


def write_release(
    folder: Path,
    *,
    anatomy: str,
    subjects: dict[str, int],
    frames_per_subject: int,
    difficulty: float,
    seed: int,
    defects: bool,
    progress: Callable[..., Iterable[Any]] | None = None,
) -> None:
    """Writes a simulated release into `folder`; the same arguments give the same bytes.

    `subjects` gives the number of subjects by class. Anatomy `sweep` is the unlabelled mixture for
    pretraining: its keys are anatomies (`kidney`, `neck`, `breast`) and the table's class is empty.
    With `defects` the release has the faults of real ones, listed in `defects.json`: `overlays` (burnt-in
    text and calipers), `corrupt` (a truncated file), `exact_duplicate` and `near_duplicate` (pairs
    [original, copy under another subject]), `missing_row` (an image that the table leaves out) and
    `missing_file` (a row without an image). All names are relative to `images/`.

    Raises ValueError for an unknown anatomy or class, and for defects in fewer than 8 frames or 2 subjects.
    """
    labels = _labels(anatomy, subjects, seed)
    if defects and (len(labels) < 2 or len(labels) * frames_per_subject < 8):
        raise ValueError(
            f"a release with defects needs 2 subjects and 8 frames, and {anatomy!r} has {len(labels)} "
            f"subjects of {frames_per_subject} frames: raise one of them, or set `defects: false`"
        )
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(exist_ok=True)
    numbered: Iterable[tuple[int, tuple[str, str]]] = enumerate(labels, start=1)
    if progress:
        numbered = progress(numbered, total=len(labels), description=f"simulating {anatomy} subjects")
    rows: list[Row] = []
    for number, (organ, label) in numbered:
        subject = draw_subject(organ, label, difficulty, _generator(seed, anatomy, number))
        for index in range(frames_per_subject):
            frame, mask = draw_frame(subject, _generator(seed, anatomy, number, index + 1))
            told = "" if anatomy == SWEEP else label
            row = Row(f"{anatomy}_{number:04d}_{index}.png", number, told, subject.scanner.name)
            _save(frame, folder / "images" / row.file)
            _save(mask * np.uint8(255), folder / "masks" / row.mask)
            rows.append(row)
    if defects:
        rows = _plant_defects(folder, rows, anatomy, frames_per_subject, _generator(seed, anatomy, 0))
    table = pd.DataFrame([(r.file, r.subject, r.label, r.scanner) for r in rows])
    table.columns = pd.Index(["file", "subject", "class", "scanner"])
    write_table(folder / "labels.csv", table)
    note = "defects.json                                 the faults planted on purpose\n" if defects else ""
    readme = README.format(
        anatomy=anatomy,
        defects=note,
        difficulty=difficulty,
        seed=seed,
        frames_per_subject=frames_per_subject,
        subjects=", ".join(f"{label} {count}" for label, count in subjects.items()),
    )
    (folder / "README.txt").write_text(readme, encoding="utf-8")


def _labels(anatomy: str, subjects: dict[str, int], seed: int) -> list[tuple[str, str]]:
    """(anatomy, class) of each subject, in the random order in which they came to be examined."""
    rng = _generator(seed, anatomy)
    if anatomy != SWEEP:
        listed = [(anatomy, label) for label, count in subjects.items() for _ in range(count)]
    elif unknown := set(subjects) - set(CLASSES):
        raise ValueError(
            f"`subjects` of a sweep names {sorted(unknown)}; it counts anatomies: {sorted(CLASSES)}"
        )
    else:
        listed = [
            (organ, str(rng.choice(list(CLASSES[organ]))))
            for organ, count in subjects.items()
            for _ in range(count)
        ]
    return [listed[i] for i in rng.permutation(len(listed))]


def _generator(seed: int, anatomy: str, *place: int) -> np.random.Generator:
    """Random numbers of one place (subject, frame) alone: no frame or release depends on another."""
    return np.random.default_rng(np.random.SeedSequence([seed, *anatomy.encode()], spawn_key=place))


def _save(image: NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(image).save(path, compress_level=1)


def _plant_defects(
    folder: Path, rows: list[Row], anatomy: str, frames_per_subject: int, rng: np.random.Generator
) -> list[Row]:
    """Damages the written release, lists the damage in `defects.json`, and returns the table's rows."""
    images, masks = folder / "images", folder / "masks"
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    corrupt, exact, near, unlisted, *rest = shuffled
    overlays = rest[: max(1, round(OVERLAY_SHARE * len(rows)))]

    for row in overlays:
        image = Image.open(images / row.file)
        _burn_in(image, np.asarray(Image.open(masks / row.mask)) > 0, row, rng)
        image.save(images / row.file, compress_level=1)

    whole = (images / corrupt.file).read_bytes()
    (images / corrupt.file).write_bytes(whole[: len(whole) // 2])

    copies: list[Row] = []
    for original in (exact, near):  # one more frame of another subject, of the same class where there is one
        others = [row for row in rows if row.subject != original.subject]
        alike = [row for row in others if row.label == original.label] or others
        owner = alike[rng.integers(len(alike))]
        frame = frames_per_subject + len(copies)  # after the last
        copy = Row(f"{anatomy}_{owner.subject:04d}_{frame}.png", owner.subject, owner.label, original.scanner)
        (masks / copy.mask).write_bytes((masks / original.mask).read_bytes())
        copies.append(copy)
    (images / copies[0].file).write_bytes((images / exact.file).read_bytes())
    _reencode(
        images / near.file, images / copies[1].file, Image.Resampling.BICUBIC, quality=80, brightness=1.06
    )
    _reencode(masks / near.mask, masks / copies[1].mask, Image.Resampling.NEAREST)

    absent = replace(rows[0], file=f"{anatomy}_{rows[0].subject:04d}_{frames_per_subject + 2}.png")
    write_json(
        folder / "defects.json",
        {
            "overlays": sorted(row.file for row in overlays),
            "corrupt": [corrupt.file],
            "exact_duplicate": [exact.file, copies[0].file],
            "near_duplicate": [near.file, copies[1].file],
            "missing_row": [unlisted.file],
            "missing_file": [absent.file],
        },
    )
    return sorted((set(rows) - {unlisted}) | {*copies, absent}, key=lambda row: row.file)


def _reencode(
    source: Path, target: Path, method: Image.Resampling, quality: int | None = None, brightness: float = 1.0
) -> None:
    """What a second export of a picture does: 90 % of the size, brighter, through JPEG."""
    image: Image.Image = Image.open(source)
    image = image.resize((round(0.9 * image.width), round(0.9 * image.height)), method)
    image = image.point(lambda grey: grey * brightness)
    if quality:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        image = Image.open(buffer)
    image.save(target, compress_level=1)


def _burn_in(image: Image.Image, structure: NDArray[np.bool_], row: Row, rng: np.random.Generator) -> None:
    """Draws text in the corners, and calipers with a dotted line across the structure, `(height, width)`."""
    draw, font, white = ImageDraw.Draw(image), ImageFont.load_default(10), 255
    notes = [
        f"ID S{row.subject:04d}",
        "SIMULATED",
        f"{rng.integers(8, 40)} fps",
        f"MI 0.{rng.integers(4, 9)}",
    ]
    for line, text in enumerate(notes):
        draw.text((4 if line % 2 else image.width - 62, 3 + 11 * (line // 2)), text, fill=white, font=font)
    y, x = np.nonzero(structure)
    if not len(x):  # the structure lies outside the field of view
        return
    (left, right), middle = np.percentile(x, (0, 100)).astype(int), int(np.median(y))
    for end in (left, right):
        draw.line((end - 4, middle, end + 4, middle), fill=white)
        draw.line((end, middle - 4, end, middle + 4), fill=white)
    draw.point([(dot, middle) for dot in range(left, right, 4)], fill=white)
    length = f"D1 {(right - left) * SCANNERS[row.scanner].pixel_mm:.1f} mm"
    draw.text((4, image.height - 14), length, fill=white, font=font)
