"""Figures beyond a task's main results: how far confidence can be trusted, and how few labels are enough."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import NullLocator

from usfmae.report.figures_results import wrapped
from usfmae.report.style import INK, MUTED, RULE, colour, line, mark_simulated, new_figure, save
from usfmae.report.words import count, role_name


def reliability_diagrams(
    reliability: pd.DataFrame, titles: dict[str, str], out: Path, *, simulated: bool
) -> None:
    """Share of right answers against confidence from `reliability.csv`: a column a model, a row a role.

    Hollow and grey before temperature scaling, filled after; the larger a dot, the more frames in its bin.
    """
    ran = [model for model in titles if model in set(reliability["model"])]
    roles = [role for role in ("test", "holdout") if role in set(reliability["role"])]
    figure = new_figure(max(4.0, 2.5 * len(ran) + 0.4), 2.7 * len(roles) + 0.5)
    grid = figure.subplots(len(roles), len(ran), sharex=True, sharey=True, squeeze=False)
    lowest = 0.95 * reliability["confidence"].min()
    for axes, (role, model) in zip(grid.ravel(), [(r, m) for r in roles for m in ran], strict=True):
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1)
        panel = reliability[(reliability["role"] == role) & (reliability["model"] == model)]
        shade = colour(list(titles).index(model))
        for calibration, ink, face in (("before", MUTED, "white"), ("after", shade, shade)):
            bins = panel[panel["calibration"] == calibration]
            area = 6 + 150 * bins["frames"] / bins["frames"].sum()
            axes.plot(bins["confidence"], bins["accuracy"], color=ink, linewidth=1)
            axes.scatter(
                bins["confidence"],
                bins["accuracy"],
                s=area,
                color=face,
                edgecolors=ink,
                zorder=3,
            )
        axes.set(xlim=(lowest, 1.02), ylim=(-0.03, 1.03))
        if role == roles[0]:
            axes.set_title(wrapped(titles[model]), fontsize=8.5)
        if model == ran[0]:
            axes.set_ylabel(f"{role_name(role)}\nshare of right answers", fontsize=8.5)
        if role == roles[-1]:
            axes.set_xlabel("confidence", fontsize=8.5)
    hollow = grid[0, 0].plot([], [], "o", color=MUTED, markerfacecolor="white", label="before scaling")
    filled = grid[0, 0].plot([], [], "o", color=INK, label="after scaling, in the model's colour")
    figure.legend(handles=[*hollow, *filled], loc="outside upper left", ncols=2, fontsize=8)
    mark_simulated(figure, simulated)
    save(figure, out)


def label_efficiency(
    table: pd.DataFrame, metric: str, titles: dict[str, str], out: Path, *, simulated: bool
) -> None:
    """The primary metric against the number of training subjects (logarithmic), a line a model, with the 95 %
    intervals of `label_efficiency.csv`. `metric` is its name in words."""
    figure = new_figure(8.5, 4.0)
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
            np.nan_to_num(bounds),
            color=colour(place),
            linestyle=line(place),
            marker="o",
            markersize=4,
            capsize=2.5,
            elinewidth=0.9,
            label=title,
        )
    shares = table.groupby("fraction")["training_subjects"].mean()
    axes.set_xscale("log")
    axes.set_xticks(shares, [f"{subjects:,.0f}\n{fraction:.0%}" for fraction, subjects in shares.items()])
    axes.xaxis.set_minor_locator(NullLocator())
    seeds = int(table["n_seeds"].max())
    repeats = f", mean of {count(seeds, 'seed')}" if seeds > 1 else ""
    axes.set(xlabel=f"training subjects (share){repeats}", ylabel=metric)
    figure.legend(loc="outside right upper")
    mark_simulated(figure, simulated)
    save(figure, out)
