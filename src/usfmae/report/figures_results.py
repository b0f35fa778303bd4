"""Figures of a task's results: confusion matrices, and the folds one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from usfmae.report.layout import LETTER, leftmost, lowest, panel_grid, wrapped
from usfmae.report.style import INK, RULE, WIDTHS, colour, mark_simulated, new_figure, save
from usfmae.report.words import class_name, role_name

#: Up to so many classes a cell of a confusion matrix has room for the count beside the share.
FEW_CLASSES = 4


def confusion_matrices(
    confusion: pd.DataFrame, classes: list[str], titles: dict[str, str], out: Path, *, simulated: bool
) -> None:
    """Frames by label and prediction, from `confusion.csv`: a panel a model, the roles below each other.

    The shade is the share of the label's frames in per cent, written into the cell, below the count where
    there is room. With several seeds the counts are their mean.
    """
    ran = [model for model in titles if model in set(confusion["model"])]
    roles = [role for role in ("test", "holdout") if role in set(confusion["role"])]
    few, names = len(classes) <= FEW_CLASSES, [class_name(each) for each in classes]
    if few:
        names = [wrapped(name, 15 * LETTER) for name in names]
    words = LETTER * max(len(line) for name in names for line in name.split("\n"))  # inches of the longest
    columns = min(4, max(len(ran), len(roles)))
    side = (WIDTHS["page"] - 0.4 - words) / columns - 0.1  # of a matrix, where there are several columns
    aspect = (side + 0.3) * columns / WIDTHS["page"]
    figure, panels = panel_grid(roles, ran, aspect=aspect, extra=0.4 + words)
    for (role, model), axes in panels.items():
        cells = confusion[(confusion["model"] == model) & (confusion["role"] == role)]
        counts = cells.pivot_table(index="label", columns="predicted", values="frames", aggfunc="sum")
        matrix = counts.reindex(index=classes, columns=classes).fillna(0).to_numpy()  # (label, predicted)
        share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.ndindex(matrix.shape):
            ink = "white" if share[i, j] > 0.55 else INK
            text = f"{matrix[i, j]:.4g}\n{share[i, j]:.0%}" if few else f"{100 * share[i, j]:.0f}"
            axes.text(j, i, text, ha="center", va="center", fontsize=6.5 if few else 6, color=ink)
        axes.grid(visible=False)
        axes.set_title(wrapped(titles[model], side, bold=True), fontsize=6.5)
        if axes in leftmost(panels) or len(ran) == 1:
            axes.set_ylabel(f"{role_name(role)}\nlabel")
        axes.set_xticks(range(len(classes)), names, rotation=90)
        axes.set_yticks(range(len(classes)), names)
    for axes in lowest(panels):
        axes.set_xlabel("predicted")
    mark_simulated(figure, simulated)
    save(figure, out)


def fold_values(
    fold_metrics: pd.DataFrame,
    summary: pd.DataFrame,
    metric: str,
    name: str,
    titles: dict[str, str],
    out: Path,
    *,
    simulated: bool,
) -> None:
    """The primary metric of each test fold, a row a model, a dot a fold (mean over seeds), thin lines tie the
    same fold; below the dots their mean, a diamond, with its 95 % interval."""
    values = fold_metrics[(fold_metrics["role"] == "test") & (fold_metrics["metric"] == metric)]
    table = values.pivot_table(index="fold", columns="model", values="value")
    ran = [model for model in titles if model in table]
    means = summary[(summary["metric"] == metric) & (summary["estimate"] == "mean of folds")].set_index(
        "model"
    )
    figure = new_figure("column", 0.6 + 0.36 * len(ran))
    axes = figure.subplots()
    places = np.arange(len(ran))
    axes.plot(table[ran].to_numpy().T, places, color=RULE, linewidth=0.7, zorder=1)
    for place, model in enumerate(ran):
        shade = colour(list(titles).index(model))
        axes.scatter(table[model], [place] * len(table), color=shade, s=13, zorder=2, linewidth=0)
        mean = means.loc[model]
        sides = [[mean["value"] - mean["lower"]], [mean["upper"] - mean["value"]]]
        axes.errorbar(
            *(mean["value"], place + 0.26), xerr=sides, fmt="D", color=shade, capsize=2, markersize=3.5
        )
    labels = [wrapped(titles[model], 0.38 * WIDTHS["column"]) for model in ran]
    axes.set_yticks(places, labels, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set(xlabel=f"{name}: test folds, mean", ylim=(len(ran) - 0.4, -0.5))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    mark_simulated(figure, simulated)
    save(figure, out)
