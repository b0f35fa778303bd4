"""Figures beyond a task's main results: how far confidence can be trusted, and how few labels are enough."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import NullLocator

from usfmae.report.layout import leftmost, legend_columns, legend_height, lowest, panel_grid, room_of, wrapped
from usfmae.report.style import INK, MUTED, WIDTHS, colour, line, mark_simulated, new_figure, save
from usfmae.report.words import count, role_name


def reliability_diagrams(
    reliability: pd.DataFrame, titles: dict[str, str], out: Path, *, simulated: bool
) -> None:
    """Share of right answers against confidence from `reliability.csv`: a panel a model, the roles below
    each other.

    Hollow and grey before temperature scaling, filled after; the larger a dot, the more frames in its bin.
    """
    ran = [model for model in titles if model in set(reliability["model"])]
    roles = [role for role in ("test", "holdout") if role in set(reliability["role"])]
    figure, panels = panel_grid(roles, ran, aspect=0.95, extra=0.55)
    least = 0.95 * reliability["confidence"].min()
    room = room_of(panels)
    for (role, model), axes in panels.items():
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.7, linestyle=(0, (1, 2)))
        panel = reliability[(reliability["role"] == role) & (reliability["model"] == model)]
        shade = colour(list(titles).index(model))
        for calibration, ink, face in (("before", MUTED, "white"), ("after", shade, shade)):
            bins = panel[panel["calibration"] == calibration]
            area = 3 + 60 * bins["frames"] / bins["frames"].sum()
            axes.plot(bins["confidence"], bins["accuracy"], color=ink, linewidth=0.8)
            axes.scatter(
                bins["confidence"],
                bins["accuracy"],
                s=area,
                color=face,
                edgecolors=ink,
                linewidths=0.8,
                zorder=3,
            )
        axes.set(xlim=(least, 1.02), ylim=(-0.03, 1.03), yticks=[0, 0.5, 1])
        axes.set_title(wrapped(titles[model], room, bold=True), fontsize=6.5)
        if axes in leftmost(panels) or len(ran) == 1:
            axes.set_ylabel(f"{role_name(role)}\nshare of right answers")
    for axes in lowest(panels):
        axes.set_xlabel("confidence")
    axes = next(iter(panels.values()))
    hollow = axes.plot([], [], "o", color=MUTED, markerfacecolor="white", label="before scaling")
    filled = axes.plot([], [], "o", color=INK, label="after scaling, in the model's colour")
    figure.legend(handles=[*hollow, *filled], loc="outside upper left", ncols=2)
    mark_simulated(figure, simulated)
    save(figure, out)


def label_efficiency(
    table: pd.DataFrame, metric: str, titles: dict[str, str], out: Path, *, simulated: bool
) -> None:
    """The primary metric against the number of training subjects (logarithmic), a line a model, with the 95 %
    intervals of `label_efficiency.csv` where it has any (not of one fold). `metric` is its name in words."""
    shown = [titles[model] for model in titles if model in set(table["model"])]
    figure = new_figure("column", 2.3 + legend_height(shown, WIDTHS["column"]))
    axes = figure.subplots()
    for place, (model, title) in enumerate(titles.items()):
        rows = table[table["model"] == model].sort_values("training_subjects")
        if rows.empty:
            continue
        aside = rows["training_subjects"] * 1.015 ** (place - (len(titles) - 1) / 2)  # bars side by side
        bounds = np.abs([rows["value"] - rows["lower"], rows["upper"] - rows["value"]])  # (2, shares)
        axes.errorbar(
            aside,
            rows["value"],
            bounds,  # none where it is not a number
            color=colour(place),
            linestyle=line(place),
            marker="o",
            markersize=3,
            capsize=2,
            elinewidth=0.7,
            label=title,
        )
    shares = table.groupby("fraction")["training_subjects"].mean()
    axes.set_xscale("log")
    axes.set_xticks(shares, [f"{subjects:,.0f}\n{fraction:.0%}" for fraction, subjects in shares.items()])
    axes.xaxis.set_minor_locator(NullLocator())
    seeds = int(table["n_seeds"].max())
    repeats = f", mean of {count(seeds, 'seed')}" if seeds > 1 else ""
    axes.set(xlabel=f"training subjects (share){repeats}", ylabel=metric)
    figure.legend(loc="outside upper left", ncols=legend_columns(shown, figure))
    mark_simulated(figure, simulated)
    save(figure, out)
