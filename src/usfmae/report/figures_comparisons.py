"""Figures that compare models: differences against the reference, and average ranks over tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from usfmae.report.layout import wrapped
from usfmae.report.style import INK, MUTED, PALETTE, WIDTHS, mark_simulated, new_figure, save
from usfmae.report.words import number, p_value, role_name

#: Tests whose intervals are drawn, by the beginning of their names.
DRAWN = ("corrected resampled t", "subject-cluster bootstrap")


def forest_rows(comparisons: pd.DataFrame, reference: str, metric: str) -> pd.DataFrame:
    """The rows of `comparisons.csv` that the forest plot shows: the reference against each other model in one
    metric, by the tests of `DRAWN`, where there is an interval."""
    drawn = comparisons["test"].str.startswith(DRAWN)
    against = (comparisons["model_a"] == reference) & (comparisons["metric"] == metric)
    return comparisons[drawn & against & comparisons["lower"].notna()]


def paired_differences(
    rows: pd.DataFrame, metric: str, titles: dict[str, str], out: Path, *, simulated: bool
) -> None:
    """Forest plot of `forest_rows` (at least one): a block a test and role, a row a model, with the
    difference, its 95 % interval, Holm's p and the number of folds or subjects; hollow where `valid` is not
    `yes`. `metric` is its name in words."""
    blocks = list(dict.fromkeys(zip(rows["role"], rows["test"], strict=True)))
    lines = len(rows) + 1.3 * len(blocks)
    figure = new_figure("page", 0.55 + 0.17 * lines)
    axes = figure.subplots()
    axes.axvline(0, color=MUTED, linewidth=0.8)
    names, heights, y = [], [], 0.0
    for shade, (role, test) in zip(PALETTE, blocks, strict=False):
        heading = axes.annotate(
            f"{role_name(role)}: {test}", (0.01, y), xycoords=("figure fraction", "data"), va="center",
            fontsize=6.5, weight="bold", annotation_clip=False,
        )  # fmt: skip
        heading.set_in_layout(False)
        for row in rows[(rows["role"] == role) & (rows["test"] == test)].itertuples():
            y -= 1
            bounds = [[row.difference - row.lower], [row.upper - row.difference]]
            axes.errorbar(
                row.difference, y, xerr=bounds, fmt="s", color=shade, capsize=2, markersize=3.5, linewidth=1,
                markerfacecolor=shade if row.valid == "yes" else "white",
            )  # fmt: skip
            names.append(f"minus {titles[row.model_b]}")
            heights.append(y)
            values = [number(v, 3, sign=True) for v in (row.difference, row.lower, row.upper)]
            words = f"{values[0]} ({values[1]} to {values[2]})  p {p_value(row.p_holm)}  n {row.n_pairs}"
            axes.annotate(words, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=6.5)
        y -= 1.3
    axes.set_yticks(heights, names, color=INK)
    head = "difference (95 % interval)  Holm's p  n"
    axes.annotate(head, (1.01, 0), xycoords=("axes fraction", "data"), va="center", fontsize=6.5)
    reference = titles[rows["model_a"].iloc[0]]
    axes.set(ylim=(y + 0.7, 0.8), xlabel=f"{metric}: {reference} minus the other model")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    mark_simulated(figure, simulated)
    save(figure, out)


def critical_difference_diagram(
    ranks: pd.DataFrame, titles: dict[str, str], out: Path, *, simulated: bool
) -> None:
    """Mean ranks of `ranks.csv` on a line, 1 is best; a bar ties models whose ranks differ by less than
    Nemenyi's critical difference (Demšar 2006, J. Mach. Learn. Res. 7:1, figure 1)."""
    ranks = ranks.sort_values("mean_rank", kind="stable", ignore_index=True)
    mean, n, difference = ranks["mean_rank"], len(ranks), float(ranks["critical_difference"].iloc[0])
    ties, half = tied(mean.to_numpy(), difference), -(-n // 2)
    first = 0.9 + 0.5 * len(ties)  # height of the uppermost name, below the line
    lowest = first + half - 0.5
    figure = new_figure("page", 0.3 + 0.2 * (lowest + 2.6))
    axes = figure.subplots()
    pad, gap = 0.55 * (n - 1), 0.03 * (n - 1)
    axes.set(xlim=(1 - pad, n + pad), ylim=(-lowest, 2.6))
    axes.set_axis_off()
    axes.plot([1, n], [0, 0], color=INK, linewidth=1)
    for rank in range(1, n + 1):
        axes.plot([rank, rank], [0, 0.2], color=INK, linewidth=0.8)
        axes.text(rank, 0.3, str(rank), ha="center", va="bottom", fontsize=6.5)
    axes.plot([1, 1 + difference], [1.6, 1.6], color=INK, linewidth=1.5)
    n_tasks = ranks["n_tasks"].iloc[0]
    words = f"critical difference {difference:.2f}: mean ranks over {n_tasks} tasks, {n} models, level 0.05"
    axes.text(1, 1.75, words, va="bottom", fontsize=6.5)
    for place, (start, end) in enumerate(ties):
        y = -0.5 * (place + 1)
        axes.plot([mean[start] - gap / 4, mean[end] + gap / 4], [y, y], color=PALETTE[0], linewidth=2.5)
    room = 0.2 * WIDTHS["page"]
    for place, (model, rank) in enumerate(zip(ranks["model"], mean, strict=True)):
        left = place < half
        y = -first - (place if left else n - 1 - place)
        edge, side = (1 - gap, "right") if left else (n + gap, "left")
        axes.plot([rank, rank, edge], [0, y, y], color=MUTED, linewidth=0.7)
        title = wrapped(f"{titles[model]} ({rank:.2f})", room)
        axes.text(edge - gap / 2 if left else edge + gap / 2, y, title, ha=side, va="center", fontsize=6.5)
    mark_simulated(figure, simulated)
    save(figure, out)


def tied(ranks: np.ndarray, difference: float) -> list[tuple[int, int]]:
    """First and last place of the widest runs of rising mean ranks `(k,)` within less than `difference`."""
    found: list[tuple[int, int]] = []
    for start in range(len(ranks)):
        end = int(np.searchsorted(ranks, ranks[start] + difference, side="left")) - 1
        if end > start and (not found or end > found[-1][1]):
            found.append((start, end))
    return found
