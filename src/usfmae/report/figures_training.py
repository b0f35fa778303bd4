"""Figures of the training runs: losses, reconstructions of masked frames, fine-tuning scores."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from usfmae.report.layout import leftmost, lowest, panel_grid, room_of, wrapped
from usfmae.report.style import (
    MASKED,
    PALETTE,
    WIDTHS,
    colour,
    mark_simulated,
    new_figure,
    save,
    whole_numbers,
)

#: Stands for a column that a history lacks.
_NONE = pd.Series(dtype=float)
#: What is watched beside the loss: column of the history, and its name on the axis.
WATCHED = {
    "learning_rate": "learning rate",
    "gradient_norm": "norm of the gradient",
    "embedding_rank": "embeddings: effective rank",
    "embedding_spread": "embeddings: spread",
}
#: Epochs whose reconstructions are drawn.
SHOWN_EPOCHS = 4


def pretraining_curves(history: pd.DataFrame, out: Path, *, simulated: bool) -> None:
    """Losses by epoch from a pretraining run's `history.parquet`, and a small panel for each of `WATCHED`
    that the history holds."""
    watched = {name: words for name, words in WATCHED.items() if history.get(name, _NONE).notna().any()}
    columns = -(-len(watched) // 2)
    dot = "o" if len(history) == 1 else None  # a line needs two epochs
    figure = new_figure("page", 2.3)
    grid = figure.add_gridspec(2, columns + 1, width_ratios=[2.2] + [1] * columns)
    axes = figure.add_subplot(grid[:, 0])
    for name, style, shade in (("train_loss", "-", PALETTE[0]), ("validation_loss", "--", PALETTE[1])):
        words = name.removesuffix("_loss").replace("train", "training")
        if history[name].notna().any():
            axes.plot(history["epoch"], history[name], style, marker=dot, color=shade, label=words)
    axes.set(xlabel="epoch", ylabel="mean squared error\nof the masked patches")
    axes.set_xlim(history["epoch"].min() - 0.5, history["epoch"].max() + 0.5)
    axes.legend()
    panels = [axes]
    for number, (name, words) in enumerate(watched.items()):
        axes = figure.add_subplot(grid[number % 2, 1 + number // 2], sharex=panels[0])
        axes.plot(history["epoch"], history[name], marker=dot, color=PALETTE[2])
        axes.set_title(words, fontsize=6.5, weight="normal")
        axes.set_ylim(0, 1.1 * history[name].max() or 1)
        panels.append(axes)
    for axes in panels:
        axes.xaxis.set_major_locator(whole_numbers())
    mark_simulated(figure, simulated)
    save(figure, out)


def reconstructions(npz: Path, out: Path, *, simulated: bool) -> None:
    """Rows original, masked, then reconstructed at some epochs; a column a frame. Masked patches (value -1)
    are tinted.

    `npz` holds `original` and `masked`: float32 `(n, H, W)`, 0 to 1; `over_epochs`: uint8 `(e, n, H, W)`;
    `epochs`: `(e,)`.
    """
    shades = matplotlib.colormaps["gray"].with_extremes(bad=MASKED)
    with np.load(npz) as pictures:
        rows = {name: pictures[name] for name in ("original", "masked")}
        epochs, over_epochs = pictures["epochs"], pictures["over_epochs"] / 255
    for place in np.unique(np.linspace(0, len(epochs) - 1, SHOWN_EPOCHS).round().astype(int)):
        rows[f"epoch {epochs[place]}"] = over_epochs[place]
    n = len(rows["original"])
    side = (WIDTHS["page"] - 0.3) / max(n, 6)
    figure = new_figure("page", side * len(rows) + 0.2)
    grid = figure.subplots(len(rows), n, squeeze=False)
    for line, (name, frames) in zip(grid, rows.items(), strict=True):
        for axes, frame in zip(line, frames, strict=True):
            axes.imshow(np.ma.masked_less(frame, 0), cmap=shades, vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        line[0].set_ylabel(name)
    mark_simulated(figure, simulated)
    save(figure, out)


def finetune_curves(
    histories: dict[str, list[pd.DataFrame]],
    titles: dict[str, str],
    metric: str,
    out: Path,
    *,
    simulated: bool,
) -> None:
    """Validation score by epoch: a panel a model, a thin line a run (fold and seed), their mean in bold.

    `histories` holds the `history.parquet` tables of each model that ran; `titles` all models in order.
    """
    figure, panels = panel_grid(["validation"], list(histories), aspect=0.75, extra=0.4)
    room = room_of(panels)
    for axes, (model, runs) in zip(panels.values(), histories.items(), strict=True):
        shade = colour(list(titles).index(model))
        for run in runs:
            axes.plot(run["epoch"], run["validation_score"], color=shade, linewidth=0.5, alpha=0.55)
        mean = pd.concat(runs).groupby("epoch")["validation_score"].mean()
        axes.plot(mean.index, mean, color=shade, linewidth=1.6)
        axes.set_title(wrapped(titles[model], room, bold=True), fontsize=6.5)
        axes.xaxis.set_major_locator(whole_numbers())
    for axes in lowest(panels):
        axes.set_xlabel("epoch")
    for axes in leftmost(panels):
        axes.set_ylabel(f"{metric}, validation")
    mark_simulated(figure, simulated)
    save(figure, out)
