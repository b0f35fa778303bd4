"""The audit for duplicates, measured on planted copies: recall, precision, time and memory.

    python -m benchmarks.duplicates --frames 370000          # simulated frames of 128 px
    USFMAE_REAL_DATA=… python -m benchmarks.duplicates --real    # BUS-BRA, MMOTU-2D, HC18 at 256 px

Prints a Markdown table. Recall is the share of planted pairs that are found. Precision is the share of found
pairs that are planted; real releases hold copies of their own, so there a pair that is also found without any
planted copy is left out of it and counted apart; a copy that is paired with another frame of its original's
subject is not counted either.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from usfmae.corpus.audit.duplicates import find_pairs
from usfmae.corpus.curation import cleaning
from usfmae.corpus.curation.fingerprints import pixel_hash, thumbnail
from usfmae.corpus.curation.resampling import to_size
from usfmae.progress import progress
from usfmae.record import atomic
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
    scale = rng.uniform(0.5, 1.5)
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)


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
    """Curated frames, thumbnails and the rows of their table, as curation makes them (grey, letterboxed),
    kept in `folder`; with mode `r+` or `r` those that are there."""

    def __init__(self, size: int, folder: Path, count: int, mode: Literal["w+", "r+", "r"] = "w+") -> None:
        opened = partial(np.lib.format.open_memmap, mode=mode, dtype=np.uint8)
        self.frames = opened(folder / "frames.npy", shape=(count, size, size))
        self.thumbnails = opened(folder / "thumbnails.npy", shape=(count, 32, 32))
        self.rows: list[dict[str, object]] = []

    def put(self, number: int, image: Grey, dataset: str, subject: str) -> None:
        image = np.ascontiguousarray(image)
        top, left, bottom, right = box = cleaning.insonified_box(image)
        crop = np.ascontiguousarray(image[top:bottom, left:right])
        self.frames[number] = to_size(crop, self.frames.shape[1], resize="letterbox")
        self.thumbnails[number] = thumbnail(crop)
        facts = {"frame_id": str(number), "dataset": "all", "row": number, "kept_as": dataset}
        facts |= {"subject": subject, "label": None, "crop": ",".join(map(str, box))}
        self.rows.append(facts | {"pixel_hash": pixel_hash(image)})

    def add(self, image: Grey, dataset: str, subject: str) -> None:
        self.put(len(self.rows), image, dataset, subject)

    def pairs(self, chosen: slice | np.ndarray = slice(None)) -> pd.DataFrame:
        """(a, b, correlation) of the pairs found among the chosen frames."""
        table = pd.DataFrame(self.rows).iloc[chosen].reset_index(drop=True)
        found = find_pairs(table, [self.frames], self.thumbnails[chosen], Duplicates())
        ends = np.sort(found[["frame_a", "frame_b"]].to_numpy(dtype=int), axis=1)
        return pd.DataFrame(ends, columns=["a", "b"]).assign(correlation=found["correlation"])


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


def simulate(count: int, folder: Path, seed: int) -> pd.DataFrame:
    """Simulates `count` frames at 128 px into `folder`, with two processes; of each kind of copy 0.1 % are
    planted, 10 at least. Returns `original, copy, kind`, a row a planted copy."""
    kinds, each = list(COPIES), max(10, count // 1000)
    originals = count - each * len(kinds)
    chosen = np.random.default_rng(seed).choice(originals, each * len(kinds), replace=False)
    planted = pd.DataFrame({"original": chosen, "copy": np.arange(originals, count)})
    planted["kind"] = np.repeat(kinds, each)
    Frames(128, folder, count)
    parts = [range(start, min(start + 500, originals)) for start in range(0, originals, 500)]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        done = pool.map(
            partial(_simulate_part, folder=folder, count=count, seed=seed, planted=planted), parts
        )
        rows = [row for part in progress(done, total=len(parts), description="simulating") for row in part]
    planted.to_parquet(folder / "planted.parquet")
    with atomic(folder / "table.parquet") as path:  # last: a folder with a table is whole
        pd.DataFrame(rows).sort_values("row").to_parquet(path)
    return planted


def _simulate_part(
    part: range, folder: Path, count: int, seed: int, planted: pd.DataFrame
) -> list[dict[str, object]]:
    store = Frames(128, folder, count, "r+")
    copies = planted[planted["original"].isin(part)].set_index("original")
    for number in part:
        rng = np.random.default_rng((seed, number))
        image = simulated_frame(rng)
        store.put(number, image, "simulated", f"simulated/{number // 4}")
        if number in copies.index:
            copy = COPIES[copies.loc[number, "kind"]](image, rng)
            store.put(int(copies.loc[number, "copy"]), copy, "copies", f"copies/{number}")
    return store.rows


def simulated(count: int, folder: Path, seed: int = 0) -> pd.DataFrame:
    """Audits `count` frames simulated into `folder`, or kept there by an earlier call: `copies, planted,
    recall`, a row a kind of copy. What holds for all of them is in its `attrs`."""
    folder = folder / f"frames-{count}-seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "table.parquet").exists():
        simulate(count, folder, seed)
    planted = pd.read_parquet(folder / "planted.parquet")
    store = Frames(128, folder, count, "r")
    store.rows = pd.read_parquet(folder / "table.parquet").to_dict("records")
    with measured() as seen:
        pairs = store.pairs()
    found = pd.MultiIndex.from_frame(pairs[["a", "b"]])
    planted["recall"] = pd.MultiIndex.from_frame(planted[["original", "copy"]]).isin(found)
    kinds = planted.groupby("kind", sort=False)["recall"].agg(["size", "mean"]).reset_index()
    kinds.columns = pd.Index(["copies", "planted", "recall"])
    right = int(planted["recall"].sum())
    kinds.attrs = {"frames": count, "pairs": len(pairs), "precision": right / max(1, len(pairs)), **seen}
    return kinds


@contextmanager
def measured() -> Iterator[dict[str, object]]:
    """Seconds, CPU seconds, peak memory (with the pages of mapped files) and load of what runs inside."""
    seen: dict[str, object] = {}
    Path("/proc/self/clear_refs").write_text("5")  # the peak is measured anew (Linux)
    load, started, before = os.getloadavg()[0], time.monotonic(), time.process_time()
    yield seen
    seen["seconds"], seen["CPU seconds"] = time.monotonic() - started, time.process_time() - before
    seen["memory in GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seen["load before and after"] = load, os.getloadavg()[0]


def real(data: Path, folder: Path, seed: int = 0) -> pd.DataFrame:
    """`copies, planted, recall, precision, smallest correlation`, a row a kind of copy."""
    rng = np.random.default_rng(seed)
    files = {name: sorted(data.glob(pattern)) for name, (_, pattern) in REAL.items()}
    total, copied = sum(map(len, files.values())), sum(count for count, _ in REAL.values())
    store = Frames(256, folder, total + copied * len(COPIES))
    cases = pd.read_csv(data / "bus_bra/bus_data.csv").set_index("ID")["Case"]
    originals: list[tuple[int, Path]] = []
    for name, paths in files.items():
        wanted = set(rng.choice(len(paths), REAL[name][0], replace=False))
        for at, path in enumerate(paths):
            case = cases.get(path.stem, path.stem) if name == "bus_bra" else path.stem.split("_")[0]
            originals += [(len(store.rows), path)] if at in wanted else []
            store.add(np.asarray(Image.open(path).convert("L")), name, f"{name}/{case}")
    own = store.pairs(slice(total))
    known = set(zip(own["a"], own["b"], strict=True))
    datasets = np.array([row["kept_as"] for row in store.rows])
    twins = own[(datasets[own["a"]] == "mmotu_2d") & (datasets[own["b"]] == "mmotu_2d_384")]
    rows = []
    for kind, copy in progress(COPIES.items(), total=len(COPIES), description="kinds of copies"):
        start = len(store.rows)
        for number, path in originals:
            image = np.asarray(Image.open(path).convert("L"))
            store.add(copy(image, rng), "copies", f"copies/{number}")
        with measured() as seen:
            pairs = store.pairs(np.r_[:total, start : len(store.rows)])
        of = {start + at: number for at, (number, _) in enumerate(originals)}
        planted = pairs[pairs["b"].map(of) == pairs["a"]]
        others = [
            (a, b)
            for a, b in zip(pairs["a"], pairs["b"], strict=True)
            if of.get(b) != a
            and (a, b) not in known
            and (min(a, of.get(b, b)), max(a, of.get(b, b))) not in known  # copy of a copy
            and store.rows[a]["subject"] != store.rows[of.get(b, b)]["subject"]
        ]
        row = {"copies": kind, "planted": len(originals), "recall": len(planted) / len(originals)}
        row["precision"] = len(planted) / max(1, len(planted) + len(others))
        rows.append(row | {"smallest correlation": planted["correlation"].min()})
    table = pd.DataFrame(rows)
    table.attrs = {"frames": total + copied, "their own pairs": len(own), "last kind": seen}
    table.attrs["mmotu_2d found in mmotu_2d_384"] = twins["a"].nunique()
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, help="simulated frames")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keeps the simulated frames for the next run")
    parser.add_argument("--real", action="store_true")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if words.real:
            table = real(Path(os.environ["USFMAE_REAL_DATA"]), Path(temporary), words.seed)
        else:
            table = simulated(words.frames, words.folder or Path(temporary), words.seed)
    print(table.to_markdown(floatfmt=".4f", index=False), *table.attrs.items(), sep="\n")


if __name__ == "__main__":
    main()
