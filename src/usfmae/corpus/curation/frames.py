"""Curates one dataset: every pixel is decoded once, into memory maps and a table."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

import usfmae
from usfmae.corpus.curated import DIGESTS, digest
from usfmae.corpus.curation.array_writer import ArrayWriter
from usfmae.corpus.curation.chunks import Note, chunk_folder, chunks_of, run_chunks
from usfmae.corpus.curation.fingerprints import THUMBNAIL, perceptual_hashes
from usfmae.corpus.curation.source import COLUMNS, curated_frames
from usfmae.corpus.readers import ReadOptions, reader_of
from usfmae.corpus.releases.layout import sources
from usfmae.finished import bring_back, keep
from usfmae.progress import progress
from usfmae.record import atomic, write_table
from usfmae.settings.datasets import Dataset
from usfmae.settings.study import Corpus


def curate(
    name: str,
    dataset: Dataset,
    corpus: Corpus,
    fetched: Path,
    out: Path,
    *,
    workers: int = 2,
    checkpoints: Path | None = None,
) -> pd.DataFrame:
    """Writes `frames.npy`, `masks.npy`, `thumbnails.npy` and `frames.parquet` into `out`; returns the table.

    `fetched` is the download's `fetched.json`. An unavailable dataset gives an empty table. A file that
    cannot be decoded is a row with a `drop_reason`; nothing is left out silently.

    `workers` processes decode; memory does not grow with the dataset. What they have finished lies in
    `checkpoints` (by default `out/chunks`) until the end, and a rerun with the same settings and the same
    download goes on from there; then second names of the outputs alone stay
    (`usfmae.finished`). Raises LayoutError and ChunkError.
    """
    facts = json.loads(fetched.read_text(encoding="utf-8"))
    root = fetched.parent / (facts["root"] or "")
    found = sources(name, dataset, root) if facts["status"] == "available" else []
    options = ReadOptions(dataset.sampling, dataset.volume, dataset.array, dataset.array_subject)
    chunks = chunks_of(found)

    def work(number: int, where: Path, note: Note) -> None:
        with _Outputs(where, corpus) as outputs:
            for source in chunks[number]:
                for curated in curated_frames(name, source, root, corpus, options, note):
                    outputs.append(*curated)
        columns = outputs.columns
        kept = [i for i, reason in enumerate(columns["drop_reason"]) if reason is None]
        hashes = perceptual_hashes(np.load(where / "thumbnails.npy"))
        for i, phash, mirrored in zip(kept, *hashes, strict=True):
            columns["phash"][i], columns["phash_mirrored"][i] = phash, mirrored
        with atomic(where / "columns.json") as file:  # Parquet would be imported in each fork
            file.write_text(json.dumps(columns), encoding="utf-8")

    cv2.setNumThreads(1)  # a fork has none of OpenCV's own threads and would wait for them
    for source in found:  # imported once, not in each fork
        reader_of(Path(source.path))
    folder = (checkpoints or out / "chunks") / _identity(dataset, corpus, fetched)
    if bring_back(folder, out):
        return pd.read_parquet(out / "frames.parquet")
    numbers = run_chunks(len(chunks), work, folder, workers=workers)
    finished = (source for number in numbers for source in chunks[number])
    for _ in progress(finished, total=len(found), description=f"curating {name}", unit="file"):
        pass
    table = _join([chunk_folder(folder, number) for number in range(len(chunks))], out, corpus)
    if checkpoints is None:
        shutil.rmtree(folder.parent)
    else:
        keep(folder, [out / file for file in ("frames.npy", "masks.npy", "thumbnails.npy", "frames.parquet")])
    return table


def _identity(dataset: Dataset, corpus: Corpus, fetched: Path) -> str:
    """Digest of all that a chunk depends on."""
    settings = [dataset.effective(), corpus.effective() | {"datasets": [], "duplicates": {}}, list(COLUMNS)]
    told = json.dumps([settings, usfmae.__version__, fetched.read_text(encoding="utf-8")], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


class _Outputs:
    """The files of a chunk or of the whole dataset, being written into `folder`."""

    def __init__(self, folder: Path, corpus: Corpus) -> None:
        self.folder = folder
        shape = (corpus.size, corpus.size)
        self.shapes = {
            "frames.npy": (*shape, 3) if corpus.channels == 3 else shape,
            "masks.npy": shape,
            "thumbnails.npy": (THUMBNAIL, THUMBNAIL),
        }
        self.columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}

    def __enter__(self) -> _Outputs:
        with ExitStack() as stack:
            self.writers = [
                stack.enter_context(ArrayWriter(stack.enter_context(atomic(self.folder / file)), shape))
                for file, shape in self.shapes.items()
            ]
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.__exit__(*error)

    def append(self, row: dict[str, Any], arrays: tuple[np.ndarray | None, ...]) -> None:
        """A row and, where it is kept, its frame, mask (or None) and thumbnail."""
        for name, values in self.columns.items():
            values.append(row[name])
        for writer, array in zip(self.writers, arrays, strict=False):
            if array is None:
                writer.skip(1)
            else:
                writer.append(array)


def _join(chunks: list[Path], out: Path, corpus: Corpus) -> pd.DataFrame:
    """Appends the chunks' arrays; the table has the kept rows first."""
    told = [json.loads((chunk / "columns.json").read_text(encoding="utf-8")) for chunk in chunks]
    any_mask = any(any(columns["has_mask"]) for columns in told)
    with _Outputs(out, corpus) as outputs:
        frames, masks, thumbnails = outputs.writers
        for chunk, columns in zip(chunks, told, strict=True):
            for name, values in outputs.columns.items():
                values.extend(columns[name])
            frames.extend(chunk / "frames.npy")
            thumbnails.extend(chunk / "thumbnails.npy")
            if not any_mask:  # a file of zeros would cost as much as the frames to check and to copy
                continue
            kept = zip(columns["has_mask"], columns["drop_reason"], strict=True)
            with_mask = [there for there, reason in kept if reason is None]
            if not any(with_mask):
                masks.skip(len(with_mask))
                continue
            for mask, there in zip(np.load(chunk / "masks.npy", mmap_mode="r"), with_mask, strict=True):
                if there:
                    masks.append(mask)
                else:
                    masks.skip(1)
    table = pd.DataFrame(outputs.columns).astype(COLUMNS)
    dropped = table["drop_reason"].notna()
    table = pd.concat([table[~dropped], table[dropped]], ignore_index=True)
    table.attrs[DIGESTS] = {file: digest(out / file) for file in outputs.shapes}
    write_table(out / "frames.parquet", table)
    return table
