"""Contact sheets of a corpus: a few frames of each dataset, and the pairs that count as the same picture."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from usfmae.report.style import INK, MUTED, WARNING, mark_simulated, new_figure, save
from usfmae.report.words import class_name

#: Frames in a row of the samples.
COLUMNS = 8
#: Pairs on the sheet of duplicates, and in the table beside it.
PAIRS = 12
#: Letters that fit under a frame: of a label in a line below a sample, of a name below one of a pair.
LETTERS, PAIR_LETTERS = 15, 21


def corpus_samples(corpus: Path, datasets: list[str], simulated: set[str], out: Path) -> None:
    """A row of frames for each dataset, spread over its labels and subjects; `<out>.png` and `<out>.pdf`.

    `corpus` is `results/corpus/<corpus>`; `simulated` names the simulated ones of `datasets`.
    """
    figure = new_figure("page", 1.3 * len(datasets))
    for part, name in zip(figure.subfigures(len(datasets), 1, squeeze=False).flat, datasets, strict=True):
        word, colour = ("   SIMULATED", WARNING) if name in simulated else ("", INK)
        part.suptitle(f"{name}{word}", x=0.005, ha="left", fontsize=7, weight="bold", color=colour)
        samples = _samples(corpus / name)
        for axes in part.subplots(1, COLUMNS):
            axes.set_axis_off()
        for axes, (row, label) in zip(part.axes, samples["label"].items(), strict=False):
            frames = np.load(corpus / name / "frames.npy", mmap_mode="r")  # (N, H, W) or (N, H, W, 3)
            words = "no label" if pd.isna(label) else class_name(str(label))
            _picture(
                axes, frames[row], "\n".join(textwrap.wrap(words, LETTERS, max_lines=2, placeholder="…"))
            )
        if samples.empty:
            part.text(0.005, 0.5, "no frames: the dataset is not available", color=MUTED)
    save(figure, out)


def duplicate_pairs(corpus: Path, datasets: list[str], simulated: set[str], out: Path) -> None:
    """The pairs of `duplicates.parquet` side by side with their evidence; `<out>.png` and `<out>.pdf`.

    The worst come first (`worst_first`); at most 12 are drawn. Arguments as in `corpus_samples`.
    """
    pairs = worst_first(pd.read_parquet(corpus / "duplicates.parquet"))
    shown = pairs.head(PAIRS)
    lines = max(1, -(-len(shown) // 3))
    words = "No two frames count as the same picture"
    if len(pairs):
        words = f"Frames that count as the same picture: {len(shown)} of {len(pairs):,} pairs"
    place = {
        frame: (name, row)
        for name in datasets
        for row, frame in enumerate(pd.read_parquet(corpus / name / "frames.parquet")["frame_id"])
    }
    drawn = set[str]()
    figure = new_figure("page", 0.4 + (1.65 * lines if len(pairs) else 0.2))
    figure.suptitle(words, x=0.005, ha="left", fontsize=7, weight="bold")
    parts = figure.subfigures(lines, 3, squeeze=False).flat
    for part, pair in zip(parts, shown.itertuples(), strict=False):
        for axes, frame in zip(part.subplots(1, 2), (pair.frame_a, pair.frame_b), strict=True):
            axes.set_axis_off()
            name, row = place[frame]
            drawn.add(name)
            _picture(
                axes,
                np.load(corpus / name / "frames.npy", mmap_mode="r")[row],
                frame if len(frame) <= PAIR_LETTERS else f"…{frame[1 - PAIR_LETTERS :]}",
            )
        doubts = ["across subjects"] * pair.across_subjects + ["labels differ"] * pair.labels_differ
        facts = f"{pair.kind}: {pair.hamming} bits, correlation {pair.correlation:.3f}\n{', '.join(doubts)}"
        part.suptitle(facts, fontsize=6.5, weight="normal", color=WARNING if doubts else INK)
    mark_simulated(figure, bool(drawn & simulated))
    save(figure, out)


def worst_first(pairs: pd.DataFrame) -> pd.DataFrame:
    """Duplicate pairs: those that could leak into another part or contradict themselves first, of these the
    least alike, because they need a person's eye and equal pixels need none."""
    columns = ["across_subjects", "labels_differ", "correlation", "frame_a", "frame_b"]
    return pairs.sort_values(columns, ascending=[False, False, True, True, True])


def _samples(folder: Path) -> pd.DataFrame:
    """Kept frames, their row in `frames.npy` as index: a subject of each label in turn, then the rest."""
    table = pd.read_parquet(folder / "frames.parquet")
    kept = table[table["drop_reason"].isna()].reset_index(drop=True)
    one_each = kept.drop_duplicates("subject")
    turn = one_each.groupby(one_each["label"].fillna("")).cumcount()
    first = one_each.loc[turn.sort_values(kind="stable").index]
    return pd.concat([first, kept.drop(first.index)]).head(COLUMNS)


def _picture(axes: Axes, frame: np.ndarray, text: str) -> None:
    axes.imshow(frame, vmin=0, vmax=255)
    axes.text(0.5, -0.03, text, transform=axes.transAxes, ha="center", va="top", fontsize=6, color=MUTED)
