"""The same frames in every form that a benchmark reads: a memory map, a folder of PNGs, a tar of PNGs."""

from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from usfmae.corpus.curation.resampling import to_size
from usfmae.progress import progress

#: Real ultrasound by dataset, below USFMAE_REAL_DATA: 3,342 frames.
REAL = {"bus_bra": "bus_bra/Images/*.png", "mmotu_2d": "mmotu_2d_384/*/images/*.[jJ][pP][gG]"}


@dataclass(frozen=True)
class Frames:
    """Where the forms lie."""

    corpus: Path
    """A curated corpus, with the folders of `datasets` and `groups.parquet`."""
    datasets: list[str]
    pngs: list[Path]
    """In the order of the corpus."""
    tar: Path
    originals: list[Path] = field(default_factory=list)
    """The release's own files, in the same order."""

    @property
    def folders(self) -> list[Path]:
        return [self.corpus / dataset for dataset in self.datasets]


def prepare(folder: Path, size: int, limit: int | None = None) -> Frames:
    """Real frames in grey, letterboxed to `size` pixels a side; `limit` of each dataset.

    Raises SystemExit where USFMAE_REAL_DATA is not set or holds none of them.
    """
    data = Path(os.environ.get("USFMAE_REAL_DATA", "/nowhere"))
    found = {name: sorted(data.glob(pattern))[:limit] for name, pattern in REAL.items()}
    if not all(found.values()):
        raise SystemExit(f"{data}: no frames of {', '.join(REAL)} there; USFMAE_REAL_DATA names their folder")
    forms = write(folder, {name: [_read(path, size) for path in files] for name, files in found.items()})
    return replace(forms, originals=[path for files in found.values() for path in files])


def write(folder: Path, frames: dict[str, list[np.ndarray]]) -> Frames:
    """All forms of uint8 `(H, W)` frames of each dataset, which stand for subjects of their own."""
    corpus, pngs, tables = folder / "corpus", [], []
    (folder / "png").mkdir(parents=True)
    for dataset, pictures in frames.items():
        (corpus / dataset).mkdir(parents=True)
        np.save(corpus / dataset / "frames.npy", np.stack(pictures))
        names = [f"{dataset}/{number}" for number in range(len(pictures))]
        table = pd.DataFrame({"frame_id": names, "subject": names, "group": names, "drop_reason": None})
        table.to_parquet(corpus / dataset / "frames.parquet")
        tables.append(table.assign(dataset=dataset))
        for number, picture in enumerate(progress(pictures, description=f"writing {dataset}", unit="PNG")):
            pngs.append(folder / "png" / f"{dataset}-{number:05d}.png")
            Image.fromarray(picture).save(pngs[-1])
    pd.concat(tables).to_parquet(corpus / "groups.parquet")
    with tarfile.open(folder / "frames.tar", "w") as tar:
        for path in pngs:
            tar.add(path, path.name)
    return Frames(corpus, list(frames), pngs, folder / "frames.tar")


def _read(path: Path, size: int) -> np.ndarray:
    with Image.open(path) as image:
        return to_size(np.asarray(image.convert("L")), size, resize="letterbox")
