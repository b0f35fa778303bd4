"""Score-CAM panels: what a model saw, where its map lies, and where the finding was drawn by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from usfmae.report.style import INK, PALETTE, WARNING, WIDTHS, mark_simulated, new_figure, save
from usfmae.report.words import class_name

#: Perceptually even and readable without colour vision.
MAP = "magma"


def scorecam_panels(folder: Path, out: Path, *, simulated: bool, title: str) -> None:
    """Draws the frames marked `shown` in `results/explain/<task>/<model>`; `<out>.png` and `<out>.pdf`.

    A row a frame: its label and prediction, the input, the map (0 to 1), both over each other, and the
    outline of the mask where the corpus has one.
    """
    selection = pd.read_parquet(folder / "selection.parquet")
    rows = np.flatnonzero(selection["shown"])
    maps = np.load(folder / "maps.npy", mmap_mode="r")  # (n, H, W), 0 to 1
    inputs = np.load(folder / "inputs.npy", mmap_mode="r")  # (n, H, W) or (n, H, W, 3), uint8
    masks = np.load(folder / "masks.npy", mmap_mode="r")  # (n, H, W), 0 or 1
    columns = ["input", "Score-CAM map", "overlay"]
    if selection["has_mask"].iloc[rows].any():
        columns.append("outline of the mask")

    side = WIDTHS["page"] / (len(columns) + 1.2)
    figure = new_figure("page", 0.7 + side * len(rows))
    figure.suptitle(title, x=0.005, ha="left", fontsize=8, weight="bold")
    widths = [1.15, *(1.0 for _ in columns)]
    grid = figure.subplots(len(rows), len(columns) + 1, squeeze=False, width_ratios=widths)
    for line, row in zip(grid, rows, strict=True):
        frame = selection.iloc[row]
        for axes in line:
            axes.set_axis_off()
        wrong = frame["outcome"] == "wrong"
        words = f"label: {class_name(frame['label'])}\npredicted: {class_name(frame['predicted'])}"
        words += f"\nprobability {frame['score']:.2f}\n{frame['outcome']}"
        line[0].text(0, 0.5, words, va="center", fontsize=6.5, color=WARNING if wrong else INK)
        for axes in line[1:]:
            if axes is not line[2]:
                axes.imshow(inputs[row], vmin=0, vmax=255)
        line[2].imshow(maps[row], cmap=MAP, vmin=0, vmax=1)
        line[3].imshow(maps[row], cmap=MAP, vmin=0, vmax=1, alpha=0.65 * maps[row])
        if len(columns) > 3:
            _outline(line[4], masks[row], bool(frame["has_mask"]))
    for axes, name in zip(grid[0, 1:] if len(rows) else [], columns, strict=False):
        axes.set_title(name, loc="center", weight="normal")
    bar = ScalarMappable(Normalize(0, 1), MAP)
    figure.colorbar(
        bar,
        ax=grid,
        location="bottom",
        shrink=0.4,
        aspect=40,
        label="map: 0 leaves the score, 1 raises it most",
    )
    mark_simulated(figure, simulated)
    save(figure, out)


def _outline(axes: Axes, mask: np.ndarray, has_mask: bool) -> None:
    if has_mask:
        axes.contour(mask, levels=[0.5], colors=[PALETTE[4]], linewidths=1.5)
    else:
        box = {"facecolor": "black", "edgecolor": "none", "pad": 1.5}
        axes.text(
            0.5, 0.05, "no mask", transform=axes.transAxes, ha="center", fontsize=6.5, color="white", bbox=box
        )
