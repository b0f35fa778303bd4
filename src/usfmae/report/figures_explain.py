"""Figures on how far maps can be believed: by method on the same frames, curves, and place against answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from usfmae.report.panels import STRETCHED, Maps, overlay, scale_bar
from usfmae.report.style import (
    INK,
    LINES,
    MUTED,
    PALETTE,
    WARNING,
    WIDTHS,
    mark_simulated,
    new_figure,
    save,
)
from usfmae.report.words import class_name, method_name, number

_ENERGY = "energy inside the mask"


def maps_by_method(found: Maps, out: Path, *, simulated: bool) -> None:
    """The frames marked `shown`: a row a frame, a column a method, map over input and the mask's outline."""
    rows = np.flatnonzero(found.selection["shown"])
    methods = {"": None, **found.maps}
    side = WIDTHS["page"] / (max(len(methods), 4) + 0.8)
    figure = new_figure("page", 0.8 + side * len(rows))
    grid = figure.subplots(len(rows), len(methods), squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        frame = found.selection.iloc[row]
        for axes, maps in zip(line, methods.values(), strict=True):
            axes.set_xticks([]), axes.set_yticks([])
            axes.set_frame_on(False)
            axes.imshow(found.inputs[row], vmin=0, vmax=255)
            if maps is not None:
                overlay(axes, maps[row])
            if frame["has_mask"]:
                axes.contour(found.masks[row], levels=[0.5], colors=[PALETTE[4]], linewidths=0.8)
        colour = WARNING if frame["outcome"] == "wrong" else INK
        words = f"{frame['cell']}\n{class_name(frame['label'])}".replace(" ", "\n")
        line[0].set_ylabel(words, rotation=0, ha="right", va="center", fontsize=6.5, color=colour)
    for axes, method in zip(grid[0], methods, strict=True):
        axes.set_title(method_name(method) if method else "input", loc="center", weight="normal")
    scale_bar(figure, grid, STRETCHED.capitalize())
    mark_simulated(figure, simulated)
    save(figure, out)


def perturbation_curves(
    curves: dict[str, pd.DataFrame], titles: dict[str, str], out: Path, *, simulated: bool
) -> None:
    """Mean probability by share of pixels removed and given back: a row a model, a line a method."""
    figure = new_figure("page", 0.5 + 2.0 * len(curves))
    grid = figure.subplots(len(curves), 2, squeeze=False, sharex=True, sharey="row")
    for line, (model, table) in zip(grid, curves.items(), strict=True):
        for axes, (curve, words) in zip(line, _CURVES.items(), strict=True):
            rows = table[table["curve"] == curve]
            for place, (method, one) in enumerate(rows.groupby("method", sort=False)):
                style = _style(str(method), place)
                axes.plot(one["share"], one["probability"], label=method_name(str(method)), **style)
            axes.set_title(f"{titles[model]}: {words}")
            axes.set_ylim(0, 1)
        line[0].set_ylabel("mean probability of\nthe predicted class")
        line[1].legend(loc="lower right")
    for axes in grid[-1]:
        axes.set_xlabel("share of the pixels")
    mark_simulated(figure, simulated)
    save(figure, out)


_CURVES = {"deletion": "highest removed first", "insertion": "highest sharpened first"}


def _style(method: str, place: int) -> dict[str, str]:
    """The centred Gaussian is grey and dotted, whatever stands beside it."""
    if method == "centred_gaussian":
        return {"color": MUTED, "linestyle": ":"}
    return {"color": PALETTE[(place - 1) % len(PALETTE)], "linestyle": LINES[(place - 1) % 3]}


def localisation_scatter(
    measures: dict[str, pd.DataFrame],
    relations: dict[str, tuple[float, float, float]],
    titles: dict[str, str],
    out: Path,
    *,
    simulated: bool,
) -> None:
    """A panel a model, a dot a frame with a mask: energy of the first method's map inside the mask, against
    the probability of the right class. `relations` are Spearman's correlation and its interval."""
    figure = new_figure("page" if len(measures) > 1 else "column", 3.0)
    grid = figure.subplots(1, len(measures), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (model, table) in zip(grid, measures.items(), strict=True):
        known = table.dropna(subset=_ENERGY)
        for outcome, colour, marker in (("correct", PALETTE[0], "o"), ("wrong", PALETTE[1], "X")):
            rows = known[known["outcome"] == outcome]
            axes.scatter(
                rows[_ENERGY], rows["probability_of_label"], s=14, marker=marker, color=colour,
                alpha=0.75, linewidths=0, label=f"{outcome} ({len(rows)})",
            )  # fmt: skip
        value, lower, upper = relations[model]
        words = f"Spearman {number(value, sign=True)}"
        if np.isfinite(lower):
            words += f" ({number(lower, sign=True)} to {number(upper, sign=True)})"
        axes.set_title(f"{titles[model]}\n{words}, {len(known)} frames")
        axes.set_xlabel("share of the map's energy inside the mask")
        axes.legend(loc="best", frameon=True, framealpha=0.8, edgecolor="none")
        axes.set_xlim(-0.03, 1.03), axes.set_ylim(-0.03, 1.03)
    grid[0].set_ylabel("probability of the right class")
    mark_simulated(figure, simulated)
    save(figure, out)
