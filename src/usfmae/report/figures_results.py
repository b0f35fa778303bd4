"""Figures of a task's results: ROC curves, confusion matrices, folds, paired differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from usfmae.report.style import INK, MUTED, PALETTE, RULE, colour, line, mark_simulated, new_figure, save
from usfmae.report.words import class_name, number, role_name


def roc_curves(roc: pd.DataFrame, titles: dict[str, str], out: Path, *, simulated: bool) -> None:
    """ROC curves with pointwise 95 % bands from `roc.parquet`: a line a model, a panel a class and role.

    `titles` maps each model to its title, in the study's order.
    """
    roles = [role for role in ("test", "holdout") if role in set(roc["role"])]
    classes = list(dict.fromkeys(roc["class"]))
    figure = new_figure(0.6 + max(3.6, 3.2 * len(classes)), 3.5 * len(roles))
    grid = figure.subplots(len(roles), len(classes), sharex=True, sharey=True, squeeze=False)
    for (row, role), (column, name) in _cells(roles, classes):
        axes = grid[row, column]
        panel = roc[(roc["role"] == role) & (roc["class"] == name)]
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1)
        for place, (model, title) in enumerate(titles.items()):
            curve = panel[panel["model"] == model]
            if curve.empty:
                continue
            x = curve["specificity_complement"]
            axes.fill_between(x, curve["lower"], curve["upper"], color=colour(place), alpha=0.1, linewidth=0)
            label = f"{title}  {curve['auc'].iloc[0]:.2f}"
            axes.plot(x, curve["sensitivity"], line(place), color=colour(place), label=label)
        what = "macro average" if name == "macro" else class_name(name)
        axes.set_title(f"{role_name(role)}: {what}")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.legend(title="area under the curve", loc="lower right", fontsize=7, title_fontsize=7)
    figure.supxlabel("1 − specificity", fontsize=9)
    figure.supylabel("sensitivity", fontsize=9)
    mark_simulated(figure, simulated)
    save(figure, out)


def confusion_matrices(
    confusion: pd.DataFrame, classes: list[str], titles: dict[str, str], out: Path, *, simulated: bool
) -> None:
    """Frames by label and prediction, from `confusion.csv`: a column a model, a row a role.

    The shade is the share of the label's frames; with several seeds the counts are their mean.
    """
    ran = [model for model in titles if model in set(confusion["model"])]
    roles = [role for role in ("test", "holdout") if role in set(confusion["role"])]
    figure = new_figure(max(4.0, 2.4 * len(ran) + 0.6), 2.5 * len(roles) + 0.3)
    grid = figure.subplots(len(roles), len(ran), sharex=True, sharey=True, squeeze=False)
    for (row, role), (column, model) in _cells(roles, ran):
        axes = grid[row, column]
        cells = confusion[(confusion["model"] == model) & (confusion["role"] == role)]
        counts = cells.pivot_table(index="label", columns="predicted", values="frames", aggfunc="sum")
        matrix = counts.reindex(index=classes, columns=classes).fillna(0).to_numpy()  # (label, predicted)
        share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.ndindex(matrix.shape):
            ink = "white" if share[i, j] > 0.55 else INK
            text = f"{matrix[i, j]:.4g}\n{share[i, j]:.0%}"
            axes.text(j, i, text, ha="center", va="center", fontsize=7.5, color=ink)
        axes.grid(visible=False)
        names = [class_name(each) for each in classes]
        axes.set_xticks(range(len(classes)), names, rotation=30, ha="right", fontsize=7.5)
        axes.set_yticks(range(len(classes)), names, fontsize=7.5)
        if row == 0:
            axes.set_title(wrapped(titles[model]), fontsize=8.5)
        if column == 0:
            axes.set_ylabel(f"{role_name(role)}\nlabel", fontsize=8.5)
        if row == len(roles) - 1:
            axes.set_xlabel("predicted", fontsize=8.5)
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
    """The primary metric of each test fold, a dot a fold (mean over seeds), folds tied by lines; beside
    them the mean of the folds with its 95 % interval."""
    values = fold_metrics[(fold_metrics["role"] == "test") & (fold_metrics["metric"] == metric)]
    table = values.pivot_table(index="fold", columns="model", values="value")
    ran = [model for model in titles if model in table]
    means = summary[(summary["metric"] == metric) & (summary["estimate"] == "mean of folds")].set_index(
        "model"
    )
    figure = new_figure(max(4.5, 1.9 * len(ran)), 3.2)
    axes = figure.subplots()
    places = np.arange(len(ran))
    axes.plot(places, table[ran].to_numpy().T, color=RULE, linewidth=0.9, zorder=1)
    for place, model in enumerate(ran):
        shade = colour(list(titles).index(model))
        axes.scatter([place] * len(table), table[model], color=shade, s=22, zorder=2)
        mean = means.loc[model]
        below, above = mean["value"] - mean["lower"], mean["upper"] - mean["value"]
        axes.errorbar(
            place + 0.16, mean["value"], [[below], [above]], fmt="D", color=shade, capsize=3, markersize=5
        )
    axes.set_xticks(places, [wrapped(titles[model]) for model in ran])
    axes.set(ylabel=name, xlim=(-0.5, len(ran) - 0.5))
    axes.grid(visible=False, axis="x")
    mark_simulated(figure, simulated)
    save(figure, out)


def paired_differences(
    comparisons: pd.DataFrame, metric: str, titles: dict[str, str], out: Path, *, simulated: bool
) -> None:
    """Forest plot of the differences in `comparisons.csv` that have an interval: a block a test, a row a
    model."""
    rows = comparisons[comparisons["lower"].notna()]
    tests = list(dict.fromkeys(zip(rows["role"], rows["test"], strict=True)))
    figure = new_figure(8.5, 0.9 + 0.36 * (len(rows) + len(tests)))
    axes = figure.subplots()
    axes.axvline(0, color=MUTED, linewidth=1)
    names, heights, y = [], [], 0.0
    for shade, (role, test) in zip(PALETTE, tests, strict=False):
        names.append(f"{role_name(role)}, {test}")
        heights.append(y)
        for row in rows[(rows["role"] == role) & (rows["test"] == test)].itertuples():
            y -= 1
            bounds = [[row.difference - row.lower], [row.upper - row.difference]]
            axes.errorbar(row.difference, y, xerr=bounds, fmt="s", color=shade, capsize=3, markersize=5)
            names.append(f"minus {titles.get(row.model_b, row.model_b)}")
            heights.append(y)
            words = f"{number(row.difference, 3, sign=True)}"
            axes.annotate(words, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8)
        y -= 1.3
    axes.set_yticks(heights, names)
    for label in axes.get_yticklabels():
        if not label.get_text().startswith("minus "):
            label.set_fontweight("bold")
    reference = titles.get(rows["model_a"].iloc[0], rows["model_a"].iloc[0])
    axes.set(ylim=(y + 0.6, 0.7), xlabel=f"difference in {metric}: {reference} minus the other model")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    mark_simulated(figure, simulated)
    save(figure, out)


def _cells(rows: list[str], columns: list[str]) -> list[tuple[tuple[int, str], tuple[int, str]]]:
    return [(row, column) for row in enumerate(rows) for column in enumerate(columns)]


def wrapped(title: str) -> str:
    """A long title on two lines, broken before "from scratch" or a bracket."""
    for mark in (" from scratch", " ("):
        if mark in title:
            head, tail = title.split(mark, 1)
            return f"{head}\n{mark.strip()}{tail}"
    return title
