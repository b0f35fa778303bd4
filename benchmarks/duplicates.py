"""The audit for duplicates, measured on planted copies: recall, precision, time and memory.

    python benchmarks/duplicates.py --frames 370000          # simulated frames of 128 px
    USFMAE_REAL_DATA=… python benchmarks/duplicates.py --real    # BUS-BRA, MMOTU-2D, HC18 at 256 px

Prints a Markdown table. Recall is the share of planted pairs that are found. Precision is the share of found
pairs that are planted; real releases hold copies of their own, so there a pair that is also found without any
planted copy is left out of it and counted apart.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from usfmae.corpus.audit.duplicates import find_pairs
from usfmae.corpus.curation import cleaning
from usfmae.corpus.curation.fingerprints import pixel_sha256, thumbnail
from usfmae.corpus.curation.resampling import to_size
from usfmae.progress import progress
from usfmae.settings.study import Duplicates

#: Real frames that are copied, by release, and where they lie below USFMAE_REAL_DATA.
REAL = {
    "bus_bra": (150, "bus_bra/Images/*.png"),
    "mmotu_2d": (110, "mmotu_2d/*/*/*.JPG"),
    "hc18": (40, "hc18/training_set/*HC.png"),
    "mmotu_2d_384": (0, "mmotu_2d_384/*/images/*.JPG"),
}
Grey = np.ndarray
"""uint8 (H, W)."""


def cropped(image: Grey, rng: np.random.Generator, least: float = 0.0) -> Grey:
    """Up to 10 % cut off at each of the four borders."""
    height, width = image.shape
    top, bottom, left, right = rng.uniform(least, 0.1, 4)
    return image[
        int(top * height) : height - int(bottom * height), int(left * width) : width - int(right * width)
    ]


def rescaled(image: Grey, rng: np.random.Generator) -> Grey:
    """To 0.5 to 1.5 of its size."""
    return cv2.resize(
        image, None, fx=(scale := rng.uniform(0.5, 1.5)), fy=scale, interpolation=cv2.INTER_LINEAR
    )


def through_jpeg(image: Grey, _: np.random.Generator) -> Grey:
    """JPEG, quality 50."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=50)
    return np.asarray(Image.open(buffer))


def turned(image: Grey, rng: np.random.Generator) -> Grey:
    """One of the 7 other orientations."""
    number = int(rng.integers(1, 8))
    image = image.T if number & 4 else image
    return image[:: -1 if number & 2 else 1, :: -1 if number & 1 else 1]


def with_gain(image: Grey, rng: np.random.Generator) -> Grey:
    """Gamma and contrast of 0.75 to 1.33, brightness -10 to 10 of 255."""
    gamma, contrast = np.exp(rng.uniform(-0.288, 0.288, 2))
    changed = 255 * contrast * (image / 255) ** gamma + rng.uniform(-10, 10)
    return np.clip(np.where(image > 0, changed, 0), 0, 255).astype(np.uint8)


def annotated(image: Grey, rng: np.random.Generator) -> Grey:
    """Three captions, four calipers and a line."""
    picture = Image.fromarray(image)
    draw, (width, height) = ImageDraw.Draw(picture), picture.size
    for x, y in rng.uniform((0, 0), (0.7, 0.9), (3, 2)) * picture.size:
        draw.text((x, y), "D1 12.3 mm LEFT", fill=255, font_size=max(6, height // 18))
    arm = max(2, height // 60)
    for x, y in rng.uniform(0.1, 0.9, (4, 2)) * picture.size:
        draw.line((x - arm, y, x + arm, y), fill=255)
        draw.line((x, y - arm, x, y + arm), fill=255)
    draw.line(tuple((rng.uniform(0.2, 0.8, (2, 2)) * (width, height)).ravel()), fill=200)
    return np.asarray(picture)


def everything(image: Grey, rng: np.random.Generator) -> Grey:
    """All of the above at once, the crop up to 5 % at each border."""
    height, width = image.shape
    top, bottom, left, right = rng.uniform(0, 0.05, 4)
    image = image[
        int(top * height) : int((1 - bottom) * height), int(left * width) : int((1 - right) * width)
    ]
    image = annotated(rescaled(image, rng), rng)
    return turned(through_jpeg(with_gain(image, rng), rng), rng)


COPIES: dict[str, Callable[[Grey, np.random.Generator], Grey]] = {
    "crop, up to 10 % at each border": cropped,
    "crop, 10 % at each border": lambda image, rng: cropped(image, rng, least=0.1),
    "rescaling, 0.5 to 1.5": rescaled,
    "JPEG, quality 50": through_jpeg,
    "flips and quarter turns": turned,
    "gain, gamma and brightness": with_gain,
    "text, calipers and a line": annotated,
    "all at once, crop up to 5 %": everything,
}


class Frames:
    """Curated frames, thumbnails and the rows of their table, as curation makes them (grey, letterboxed)."""

    def __init__(self, size: int, store: Path, count: int) -> None:
        self.frames = np.lib.format.open_memmap(store, "w+", np.uint8, (count, size, size))
        self.thumbnails = np.zeros((count, 32, 32), np.uint8)
        self.rows: list[dict[str, object]] = []

    def add(self, image: Grey, dataset: str, subject: str) -> None:
        image, number = np.ascontiguousarray(image), len(self.rows)
        top, left, bottom, right = box = cleaning.insonified_box(image)
        crop = np.ascontiguousarray(image[top:bottom, left:right])
        self.frames[number] = to_size(crop, self.frames.shape[1], resize="letterbox")
        self.thumbnails[number] = thumbnail(crop)
        facts = {"frame_id": str(number), "dataset": "all", "row": number, "kept_as": dataset}
        facts |= {"subject": subject, "label": None, "crop": ",".join(map(str, box))}
        self.rows.append(facts | {"pixel_sha256": pixel_sha256(image)})

    def forget(self) -> None:
        """Hands the written frames back to the system and starts to measure the memory anew (Linux)."""
        name = str(self.frames.filename)
        self.frames.flush()
        del self.frames
        self.frames = np.load(name, mmap_mode="r")
        Path("/proc/self/clear_refs").write_text("5")

    def pairs(self, first: int | None = None, *others: range) -> pd.DataFrame:
        """(a, b, correlation) of the pairs found among the first frames and the others."""
        chosen = np.r_[tuple(np.arange(r.start, r.stop) for r in (range(first or len(self.rows)), *others))]
        table = pd.DataFrame([self.rows[row] for row in chosen])
        found = find_pairs(table, [self.frames], self.thumbnails[chosen], Duplicates())
        ends = found[["frame_a", "frame_b"]].astype(int)
        return pd.DataFrame(
            {"a": ends.min(axis=1), "b": ends.max(axis=1), "correlation": found["correlation"]}
        )


def simulated_frame(rng: np.random.Generator, side: int = 128) -> Grey:
    """Structures of four sizes under speckle in a sector that all frames share: uint8 (side, side)."""
    structure = np.zeros((side, side), np.float32)
    for cells, strength in ((3, 0.5), (6, 0.5), (12, 0.35), (24, 0.2)):
        field = rng.standard_normal((cells, cells), dtype=np.float32)
        structure += strength * cv2.resize(field, (side, side), interpolation=cv2.INTER_CUBIC)
    speckle = cv2.GaussianBlur(rng.standard_normal((side, side, 2), dtype=np.float32), (0, 0), 0.9)
    envelope = np.sqrt((speckle**2).sum(axis=2)) * np.exp(structure)
    rows, columns = np.linspace(0, 1, side)[:, None], np.linspace(-0.5, 0.5, side)
    sector = (np.abs(columns) < 0.15 + 0.4 * rows) & (columns**2 + (rows + 0.3) ** 2 < 1.27**2)
    grey = 90 + 38 * np.log(envelope + 0.05) - 30 * rows
    return np.where(sector, np.clip(grey, 9, 255), 0).astype(np.uint8)


def simulated(count: int, folder: Path, seed: int = 0) -> dict[str, float]:
    """Audits `count` simulated frames at 128 px; of each kind of copy 0.1 % are planted, 10 at least."""
    rng = np.random.default_rng(seed)
    kinds, each = list(COPIES), max(10, count // 1000)
    originals = count - each * len(kinds)
    store = Frames(128, folder / "frames.npy", count)
    chosen = rng.choice(originals, each * len(kinds), replace=False)
    kind_of = dict(zip(chosen.tolist(), np.repeat(kinds, each).tolist(), strict=True))
    copies: list[tuple[int, Grey]] = []
    for number in progress(range(originals), description="simulating", unit="frame"):
        image = simulated_frame(rng)
        store.add(image, "simulated", f"simulated/{number // 4}")
        if number in kind_of:
            copies.append((number, COPIES[kind_of[number]](image, rng)))
    planted = set()
    for number, copy in copies:
        planted.add((number, len(store.rows)))
        store.add(copy, "copies", f"copies/{number}")
    store.forget()
    started = time.monotonic()
    pairs = store.pairs()
    seconds = time.monotonic() - started
    found = set(zip(pairs["a"], pairs["b"], strict=True))
    missed = pd.Series([kind_of[a] for a, b in planted - found]).value_counts().to_dict()
    return {
        "frames": count,
        "planted": len(planted),
        "recall": len(planted & found) / len(planted),
        "precision": len(planted & found) / max(1, len(found)),
        "seconds": seconds,
        "memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "missed": missed,  # type: ignore[dict-item]
    }


def real(data: Path, folder: Path, share: float = 1.0) -> pd.DataFrame:
    """`copies, planted, recall, precision, smallest correlation`, a row a kind of copy. `share`: how many of
    the frames in `REAL` are copied."""
    rng = np.random.default_rng(0)
    files = {name: sorted(data.glob(pattern)) for name, (_, pattern) in REAL.items()}
    total = sum(map(len, files.values()))
    copied = {name: max(1, int(n * share)) for name, (n, _) in REAL.items() if n}
    store = Frames(256, folder / "frames.npy", total + sum(copied.values()) * len(COPIES))
    cases = pd.read_csv(data / "bus_bra/bus_data.csv").set_index("ID")["Case"]
    originals: list[tuple[int, Path]] = []
    for name, paths in files.items():
        wanted = set(rng.choice(len(paths), copied[name], replace=False)) if name in copied else set()
        for at, path in enumerate(paths):
            case = cases.get(path.stem, path.stem) if name == "bus_bra" else path.stem.split("_")[0]
            originals += [(len(store.rows), path)] if at in wanted else []
            store.add(np.asarray(Image.open(path).convert("L")), name, f"{name}/{case}")
    own = store.pairs(total)
    known = set(zip(own["a"], own["b"], strict=True))
    datasets = np.array([row["kept_as"] for row in store.rows])
    twins = own[(datasets[own["a"]] == "mmotu_2d") & (datasets[own["b"]] == "mmotu_2d_384")]
    print(
        f"{total} frames, {len(own)} pairs of their own, {twins['a'].nunique()} of mmotu_2d in mmotu_2d_384"
    )
    rows = []
    for kind, copy in COPIES.items():
        start = len(store.rows)
        for number, path in originals:
            image = np.asarray(Image.open(path).convert("L"))
            store.add(copy(image, rng), "copies", f"copies/{number}")
        pairs = store.pairs(total, range(start, len(store.rows)))
        of = {start + at: number for at, (number, _) in enumerate(originals)}
        planted = pairs[[of.get(b) == a for a, b in zip(pairs["a"], pairs["b"], strict=True)]]
        known_too = {(min(a, c), max(a, c)) for a, c in known}
        others = [
            (a, b)
            for a, b in zip(pairs["a"], pairs["b"], strict=True)
            if of.get(b) != a
            and (a, b) not in known
            and (min(a, of.get(b, b)), max(a, of.get(b, b))) not in known_too  # copy of a copy
            and store.rows[a]["subject"] != store.rows[of.get(b, b)]["subject"]
        ]
        rows.append(
            {
                "copies": kind,
                "planted": len(originals),
                "recall": len(planted) / len(originals),
                "precision": len(planted) / max(1, len(planted) + len(others)),
                "smallest correlation": planted["correlation"].min(),
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--real", action="store_true")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if words.real:
            print(
                real(Path(os.environ["USFMAE_REAL_DATA"]), Path(folder)).to_markdown(
                    floatfmt=".3f", index=False
                )
            )
        else:
            print(simulated(words.frames, Path(folder)), f"load {os.getloadavg()}")


if __name__ == "__main__":
    main()
