"""Maps over their frames: the panels of the frames chosen by rule, and the contact sheet of all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from usfmae.report.style import INK, PALETTE, WARNING, WIDTHS, mark_simulated, new_figure, save
from usfmae.report.words import class_name, method_name

#: Perceptually even and readable without colour vision.
MAP = "magma"
STRETCHED = "each map stretched to 0 to 1"
#: Frames beside each other in the contact sheet.
_ACROSS = 4


@dataclass(frozen=True)
class Maps:
    """What `results/explain/<task>/<model>` holds of pictures."""

    selection: pd.DataFrame
    maps: dict[str, np.ndarray]
    """Method -> (n, H, W), 0 to 1; the first is the one that the panels show."""
    inputs: np.ndarray
    """(n, H, W) or (n, H, W, 3), uint8."""
    masks: np.ndarray
    """(n, H, W), 0 or 1."""

    @property
    def first(self) -> str:
        return next(iter(self.maps))


def read_maps(folder: Path) -> Maps:
    """Raises FileNotFoundError where the folder is not that of an explanation."""
    with np.load(folder / "maps.npz") as stored:
        maps = {name: stored[name] for name in stored}
    selection = pd.read_parquet(folder / "selection.parquet")
    inputs, masks = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("inputs", "masks"))
    return Maps(selection, maps, inputs, masks)


def draw_panels(folder: Path, out: Path, *, simulated: bool, title: str) -> None:
    """Draws the frames marked `shown` in `results/explain/<task>/<model>`; `<out>.png` and `<out>.pdf`.

    A row a frame, by class: its cell of the confusion matrix and its score, the input, the map (0 to 1), both
    over each other, and the outline of the mask where the corpus has one.
    """
    found = read_maps(folder)
    selection, method = found.selection, method_name(found.first)
    rows = np.flatnonzero(selection["shown"])
    columns = ["input", f"{method} map", "overlay"]
    if selection["has_mask"].iloc[rows].any():
        columns.append("outline of the mask")

    side = WIDTHS["page"] / (len(columns) + 1.4)
    figure = new_figure("page", 0.7 + side * len(rows))
    figure.suptitle(title, x=0.005, ha="left")
    widths = [1.3, *(1.0 for _ in columns)]
    grid = figure.subplots(len(rows), len(columns) + 1, squeeze=False, width_ratios=widths)
    for line, row in zip(grid, rows, strict=True):
        frame = selection.iloc[row]
        for axes in line:
            axes.set_axis_off()
        colour = WARNING if frame["outcome"] == "wrong" else INK
        line[0].text(0, 0.98, frame["cell"], va="top", fontsize=7.5, weight="bold", color=colour)
        line[0].text(0, 0.82, _words(frame), va="top", fontsize=6.5, color=colour, linespacing=1.4)
        for axes in line[1:]:
            if axes is not line[2]:
                axes.imshow(found.inputs[row], vmin=0, vmax=255)
        line[2].imshow(found.maps[found.first][row], cmap=MAP, vmin=0, vmax=1)
        overlay(line[3], found.maps[found.first][row])
        if len(columns) > 3:
            _outline(line[4], found.masks[row], bool(frame["has_mask"]))
    for axes, name in zip(grid[0, 1:] if len(rows) else [], columns, strict=False):
        axes.set_title(name, loc="center", weight="normal")
    scale_bar(figure, grid, f"{method}, {STRETCHED}: 0 speaks least for the predicted class, 1 most")
    mark_simulated(figure, simulated)
    save(figure, out)


def draw_contact_sheet(folder: Path, out: Path, *, simulated: bool, title: str) -> None:
    """Draws every explained frame in `results/explain/<task>/<model>`; `<out>.png` and `<out>.pdf`."""
    found = read_maps(folder)
    figure = contact_sheet(found, f"{title}: all {len(found.selection)} explained frames")
    mark_simulated(figure, simulated)
    save(figure, out)


def contact_sheet(found: Maps, title: str) -> Figure:
    """A cell a frame, in the order of the selection: the input on the left, on the right the same under the
    map and the mask's outline. Below stand its cell of the confusion matrix and its score."""
    n = len(found.selection)
    rows = max(1, -(-n // _ACROSS))
    side = WIDTHS["page"] / _ACROSS / 2
    figure = new_figure("page", 0.9 + (side + 0.15) * rows)
    figure.suptitle(title, x=0.005, ha="left")
    grid = figure.subplots(rows, _ACROSS, squeeze=False)
    maps = found.maps[found.first]
    height, width = maps.shape[1:]
    for axes in grid.flat:
        axes.set_axis_off()
    for row, axes in zip(range(n), grid.flat, strict=False):
        frame, twice = found.selection.iloc[row], np.concatenate([found.inputs[row]] * 2, axis=1)
        axes.imshow(twice, vmin=0, vmax=255)
        overlay(axes, np.concatenate([np.zeros((height, width)), maps[row]], axis=1))
        if frame["has_mask"]:
            outlined = np.concatenate([np.zeros((height, width)), found.masks[row]], axis=1)
            axes.contour(outlined, levels=[0.5], colors=[PALETTE[4]], linewidths=0.8)
        colour = WARNING if frame["outcome"] == "wrong" else INK
        words = f"{frame['cell']}: {class_name(frame['label'])}, p {frame['score']:.2f}"
        if frame["cell"] == "wrong":
            words = f"{class_name(frame['label'])},\ntaken for {class_name(frame['predicted'])}"
        axes.set_title(words, loc="left", weight="normal", fontsize=6, color=colour, pad=2)
    scale_bar(figure, grid, f"{method_name(found.first)}, {STRETCHED}")
    return figure


def overlay(axes: Axes, found: np.ndarray) -> None:
    """A map (H, W), 0 to 1, over what the axes show: what is low stays clear."""
    axes.imshow(found, cmap=MAP, vmin=0, vmax=1, alpha=0.65 * np.asarray(found, dtype=float))


def scale_bar(figure: Figure, grid: np.ndarray, label: str) -> None:
    """The scale of the maps' colours, below all axes and as near in a tall figure as in a low one."""
    bar, pad = ScalarMappable(Normalize(0, 1), MAP), 0.2 / figure.get_figheight()
    figure.colorbar(bar, ax=grid, location="bottom", shrink=0.4, aspect=40, pad=pad, label=label)


def _words(frame: pd.Series) -> str:
    """Label, prediction and score; with a threshold also where it cuts, or a score of 0.24 looks wrong."""
    words = f"label: {class_name(frame['label'])}\npredicted: {class_name(frame['predicted'])}"
    words += f"\nits probability: {frame['score']:.3f}"
    if np.isfinite(frame["threshold"]):
        sign = frame["cell"].endswith("positive")
        cut = frame["threshold"] if sign else 1 - frame["threshold"]
        words += f"\nneeded: {cut:.3f}" if sign else f"\nneeded: above {cut:.3f}"
    return words


def _outline(axes: Axes, mask: np.ndarray, has_mask: bool) -> None:
    if has_mask:
        axes.contour(mask, levels=[0.5], colors=[PALETTE[4]], linewidths=1.5)
    else:
        box = {"facecolor": "black", "edgecolor": "none", "pad": 1.5}
        axes.text(
            0.5, 0.05, "no mask", transform=axes.transAxes, ha="center", fontsize=7, color="white", bbox=box
        )
