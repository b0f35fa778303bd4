"""A corpus on the page: what it has and lacks, samples, what was dropped and why, duplicates, overlaps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from usfmae.corpus.audit.verification import least_correlation
from usfmae.report import tables_corpus
from usfmae.report.exhibits import Exhibits, Picture, Table, embedded
from usfmae.report.figures_corpus import PAIRS, worst_first
from usfmae.report.products import Products
from usfmae.report.words import count
from usfmae.settings.study import Corpus


def corpus_section(name: str, products: Products, exhibits: Exhibits) -> dict[str, Any]:
    """The tables and contact sheets of one corpus."""
    folder, settings = products.results / "corpus" / name, products.settings.corpora[name]
    members = products.settings.members(name)
    parts: list[Table | Picture] = []
    frames = products.frames(name)
    if frames:
        counts = tables_corpus.dataset_table(frames, products.settings)
        prose = {"Dataset", "Source", "Labels (frames)"}
        parts.append(
            exhibits.table(f"{name}_datasets", counts, "Frames and subjects of each dataset.", prose)
        )
    found = products.table("corpus", name, "availability.csv")
    if found is not None:
        parts += _availability(name, found, frames, products, exhibits)
    if (folder / "samples.png").exists():
        alt = f"A row of sample frames for each of the datasets {', '.join(members)}."
        parts.append(embedded(folder / "samples", alt, "Frames after curation, with the release's labels."))
    curation = products.table("corpus", name, "curation.csv")
    if curation is not None:
        caption = (
            "What curation kept, dropped and flagged, and why: frames, or pairs of frames. Frames not "
            "sampled were left by the dataset's `sampling`; files without frames are masks, previews and "
            "what its patterns leave out."
        )
        shown = tables_corpus.curation_table(curation, found)
        parts.append(exhibits.table(f"{name}_curation", shown, caption, {"Dataset"}))
    pairs = products.table("corpus", name, "duplicates.parquet")
    if pairs is not None and len(pairs):
        parts.append(_duplicates(name, pairs, settings, _embedded_by(folder, products), exhibits))
        if (folder / "duplicates.png").exists():
            alt = f"Contact sheet of duplicate frames, {count(len(pairs), 'pair')} in all."
            parts.append(embedded(folder / "duplicates", alt, "The pairs side by side."))
    overlaps = products.table("corpus", name, "overlaps.csv")
    shown = None if overlaps is None else tables_corpus.overlaps_table(overlaps, frames, products.settings)
    if shown is not None and len(shown):
        caption = (
            "Frames that two datasets share, or one holds twice. What the registry said before is confirmed, "
            "refuted, or not checkable where a side is missing."
        )
        prose = {"Dataset", "And", "Said before", "Verdict"}
        parts.append(exhibits.table(f"{name}_overlaps", shown, caption, prose))
    return {
        "title": name,
        "size": settings.size,
        "simulated": bool(products.simulated(members)),
        "no_duplicates": pairs is not None and pairs.empty,
        "parts": parts,
    }


def _availability(
    name: str,
    found: pd.DataFrame,
    frames: dict[str, pd.DataFrame],
    products: Products,
    exhibits: Exhibits,
) -> list[Table]:
    """What the corpus lacks, and where a published count was not found again."""
    parts, settings = [], products.settings
    lacking = tables_corpus.lacking_table(name, found, settings)
    if len(lacking):
        caption = (
            f"What the corpus lacks: {len(lacking)} of "
            f"{count(len(settings.corpora[name].datasets), 'dataset')}. Placing the files makes that dataset "
            "alone stale."
        )
        parts.append(exhibits.table(f"{name}_lacks", lacking, caption, set(lacking)))
    differing = tables_corpus.differing_table(found, frames, settings)
    if len(differing):
        caption = "Releases that do not hold as many files, subjects, frames or labels as published."
        parts.append(exhibits.table(f"{name}_counts", differing, caption, {"Dataset", "Labels found"}))
    return parts


def _embedded_by(folder: Path, products: Products) -> str:
    """What the caption says of candidates by embedding: empty where none were asked for."""
    model = products.settings.corpora[folder.name].duplicates.model
    if model is None or not (folder / "embeddings.npy").exists():
        return ""
    title = products.settings.models[model].title
    if not len(np.load(folder / "embeddings.npy", mmap_mode="r")):
        return f" Neighbours by the embeddings of {title} were not looked for: its weights are missing."
    return f" Candidates are also the nearest neighbours by the embeddings of {title}."


def _duplicates(
    name: str, pairs: pd.DataFrame, settings: Corpus, candidates: str, exhibits: Exhibits
) -> Table:
    shown = tables_corpus.duplicates_table(worst_first(pairs).head(PAIRS))
    least = least_correlation(settings.duplicates.correlation, settings.size)
    caption = (
        f"{count(len(pairs), 'pair')} of frames that count as the same picture, "
        f"{pairs['across_subjects'].sum():,} of them across subjects: equal pixels, or fine detail that "
        f"correlates at least {least:.2g} after alignment. All frames of both subjects stay on "
        f"one side of every split.{candidates} At most {PAIRS} pairs are listed: those "
        "across subjects first, of these the least alike."
    )
    prose = {"Frame", "The same picture as", "Kind", "Across subjects", "Labels differ"}
    return exhibits.table(f"{name}_duplicates", shown, caption, prose)
