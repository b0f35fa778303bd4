"""Contact sheets of a corpus: a few frames of each dataset, and the pairs that show the same picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from usfmae.report.style import MUTED, WARNING, new_figure, save

#: Frames in a row of the samples.
COLUMNS = 8
#: Pairs on the sheet of duplicates.
PAIRS = 12
#: Letters of a label or file name that fit under a frame.
LETTERS = 20


def corpus_samples(corpus: Path, datasets: list[str], simulated: set[str], out: Path) -> None:
    """A row of frames for each dataset, spread over its labels and subjects; `<out>.png` and `<out>.pdf`.

    `corpus` is `results/corpus/<corpus>`; `simulated` names the simulated ones of `datasets`.
    """
    rows = {name: _samples(corpus / name) for name in datasets}
    figure = new_figure(10, 0.4 + 1.75 * len(rows))
    parts = np.atleast_1d(figure.subfigures(len(rows), 1))
    for part, (name, table) in zip(parts, rows.items(), strict=True):
        word = "  SIMULATED" if name in simulated else ""
        colour = WARNING if name in simulated else "black"
        part.suptitle(f"{name}{word}", x=0.005, ha="left", fontsize=9.5, weight="bold", color=colour)
        frames = np.load(corpus / name / "frames.npy", mmap_mode="r")  # (N, H, W) or (N, H, W, 3)
        for column, axes in enumerate(part.subplots(1, COLUMNS)):
            axes.set_axis_off()
            if column < len(table):
                label = table["label"].iloc[column]
                _picture(axes, frames[table.index[column]], "no label" if pd.isna(label) else str(label))
        if table.empty:
            part.text(0.02, 0.5, "no frames: the dataset is not available", color=MUTED)
    save(figure, out)


def duplicate_pairs(corpus: Path, out: Path) -> None:
    """The pairs of `duplicates.parquet` side by side with their evidence; `<out>.png` and `<out>.pdf`.

    Pairs across subjects come first, then those with different labels; at most 12 are drawn.
    """
    pairs = pd.read_parquet(corpus / "duplicates.parquet").sort_values(
        ["across_subjects", "labels_differ", "frame_a", "frame_b"], ascending=[False, False, True, True]
    )
    shown = pairs.head(PAIRS)
    lines = max(1, -(-len(shown) // 3))
    figure = new_figure(10, 0.4 + 2.1 * lines)
    figure.suptitle(
        f"Frames that show the same picture: {len(shown)} of {len(pairs)} pairs"
        if len(pairs)
        else "No two frames show the same picture",
        x=0.005, ha="left", fontsize=9.5, weight="bold",
    )  # fmt: skip
    parts = figure.subfigures(lines, 3, squeeze=False)
    for part, (_, pair) in zip(parts.flat, shown.iterrows(), strict=False):
        left, right = part.subplots(1, 2)
        for axes, frame in ((left, pair["frame_a"]), (right, pair["frame_b"])):
            axes.set_axis_off()
            _picture(axes, _frame(corpus, frame), frame)
        facts = f"{pair['kind']}: {pair['hamming']} bits, correlation {pair['correlation']:.3f}"
        warnings = [
            *(["across subjects"] if pair["across_subjects"] else []),
            *(["labels differ"] if pair["labels_differ"] else []),
        ]
        colour = WARNING if warnings else "black"
        part.suptitle("\n".join([facts, ", ".join(warnings)]), fontsize=8, color=colour)
    save(figure, out)


def _samples(folder: Path) -> pd.DataFrame:
    """Kept frames, their row in `frames.npy` as index: a subject of each label in turn, then the next."""
    table = pd.read_parquet(folder / "frames.parquet")
    kept = table[table["drop_reason"].isna()].reset_index(drop=True)
    one_each = kept.drop_duplicates("subject")
    turn = one_each.groupby(one_each["label"].fillna("")).cumcount()
    first = one_each.loc[turn.sort_values(kind="stable").index]
    others = kept.drop(first.index)
    return pd.concat([first, others]).head(COLUMNS)


def _frame(corpus: Path, frame_id: str) -> np.ndarray:
    """The curated frame `(H, W)` or `(H, W, 3)`."""
    folder = corpus / frame_id.split("/", 1)[0]
    table = pd.read_parquet(folder / "frames.parquet", columns=["frame_id"])
    row = int(np.flatnonzero(table["frame_id"].to_numpy() == frame_id)[0])
    frame: np.ndarray = np.load(folder / "frames.npy", mmap_mode="r")[row]
    return frame


def _picture(axes: Axes, frame: np.ndarray, text: str) -> None:
    axes.imshow(frame, vmin=0, vmax=255)
    short = text if len(text) <= LETTERS else f"…{text[1 - LETTERS :]}"
    axes.text(0.5, -0.03, short, transform=axes.transAxes, ha="center", va="top", fontsize=7, color=MUTED)
