"""Figures on how far maps can be believed: by method on the same frames, curves, and place against answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from usfmae.report.panels import STRETCHED, Maps, overlay, scale_bar
from usfmae.report.style import INK, LINES, MUTED, PALETTE, WARNING, mark_simulated, new_figure, save
from usfmae.report.words import class_name, method_name, number

_ENERGY = "energy inside the mask"


def maps_by_method(found: Maps, out: Path, *, simulated: bool) -> None:
    """The frames marked `shown`: a row a method, a column a frame, map over input and the mask's outline."""
    rows = np.flatnonzero(found.selection["shown"])
    figure = new_figure(1.2 + 1.35 * len(rows), 0.9 + 1.4 * (len(found.maps) + 1))
    grid = figure.subplots(len(found.maps) + 1, len(rows), squeeze=False)
    for line, (method, maps) in zip(grid, {"": None, **found.maps}.items(), strict=True):
        for axes, row in zip(line, rows, strict=True):
            axes.set_xticks([]), axes.set_yticks([])
            axes.set_frame_on(False)
            axes.imshow(found.inputs[row], vmin=0, vmax=255)
            if maps is not None:
                overlay(axes, maps[row])
            if found.selection["has_mask"].iloc[row]:
                axes.contour(found.masks[row], levels=[0.5], colors=[PALETTE[4]], linewidths=0.8)
        words = method_name(method).replace(" ", "\n", 1) if method else "input"
        line[0].set_ylabel(words, rotation=0, ha="right", va="center", fontsize=9, color=INK)
    for axes, row in zip(grid[0], rows, strict=True):
        frame = found.selection.iloc[row]
        colour = WARNING if frame["outcome"] == "wrong" else INK
        words = f"{frame['cell']}\n{class_name(frame['label'])}"
        axes.set_title(words, loc="center", weight="normal", fontsize=8, color=colour)
    scale_bar(figure, grid, STRETCHED.capitalize())
    mark_simulated(figure, simulated)
    save(figure, out)


def perturbation_curves(
    curves: dict[str, pd.DataFrame], titles: dict[str, str], out: Path, *, simulated: bool
) -> None:
    """Mean probability by share of pixels removed and given back: a row a model, a line a method."""
    figure = new_figure(8.2, 0.6 + 2.5 * len(curves))
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
    figure = new_figure(0.6 + 3.6 * len(measures), 3.7)
    grid = figure.subplots(1, len(measures), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (model, table) in zip(grid, measures.items(), strict=True):
        known = table.dropna(subset=_ENERGY)
        for outcome, colour, marker in (("correct", PALETTE[0], "o"), ("wrong", PALETTE[1], "X")):
            rows = known[known["outcome"] == outcome]
            axes.scatter(
                rows[_ENERGY], rows["probability_of_label"], s=28, marker=marker, color=colour,
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
