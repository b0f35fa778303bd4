"""Figures that compare models: differences against the reference, and average ranks over tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from usfmae.report.layout import wrapped
from usfmae.report.style import INK, MUTED, PALETTE, WIDTHS, mark_simulated, new_figure, save
from usfmae.report.words import number, p_value, role_name

#: Tests whose intervals are drawn, by the beginning of their names.
DRAWN = ("corrected resampled t", "subject-cluster bootstrap")
#: A critical-difference diagram needs so many tasks: with fewer, Friedman's chi-square and the ranks say little.
TASKS = 5


def forest_rows(comparisons: pd.DataFrame, reference: str, metric: str) -> pd.DataFrame:
    """The rows of `comparisons.csv` that the forest plot shows: the reference against each other model in one
    metric, by the tests of `DRAWN`, where there is an interval."""
    drawn = comparisons["test"].str.startswith(DRAWN)
    against = (comparisons["model_a"] == reference) & (comparisons["metric"] == metric)
    return comparisons[drawn & against & comparisons["lower"].notna()]


def paired_differences(
    rows: pd.DataFrame, metric: str, titles: dict[str, str], out: Path, *, simulated: bool
) -> None:
    """Forest plot of `forest_rows` (at least one): a block a test and role, a row a model, with the difference,
    its 95 % interval and Holm's p. `metric` is its name in words."""
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
                row.difference, y, xerr=bounds, fmt="s", color=shade, capsize=2, markersize=3.5, linewidth=1
            )
            names.append(f"minus {titles[row.model_b]}")
            heights.append(y)
            values = [number(v, 3, sign=True) for v in (row.difference, row.lower, row.upper)]
            words = f"{values[0]} ({values[1]} to {values[2]})  p {p_value(row.p_holm)}"
            axes.annotate(words, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=6.5)
        y -= 1.3
    axes.set_yticks(heights, names, color=INK)
    head = "difference (95 % interval)  Holm's p"
    axes.annotate(head, (1.01, 0), xycoords=("axes fraction", "data"), va="center", fontsize=6.5)
    reference = titles[rows["model_a"].iloc[0]]
    axes.set(ylim=(y + 0.7, 0.8), xlabel=f"{metric}: {reference} minus the other model")
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    mark_simulated(figure, simulated)
    save(figure, out)


def average_ranks(values: pd.DataFrame) -> pd.Series:
    """Mean rank of each model over tasks `(tasks, models)` of a metric of which more is better: 1 is best, equal
    values share their ranks."""
    return values.rank(axis=1, ascending=False).mean().sort_values(kind="stable")


def critical_difference(models: int, tasks: int, level: float = 0.05) -> float:
    """Nemenyi's critical difference of two mean ranks (Demšar 2006, JMLR 7:1, section 3.2.2): q √(k (k + 1) / 6N),
    where q is the studentized range's quantile of k models and infinite degrees, over √2."""
    q = float(stats.studentized_range.ppf(1 - level, models, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(models * (models + 1) / (6 * tasks)))


def why_no_ranks(values: pd.DataFrame) -> str:
    """Why there is no critical-difference diagram of `values (tasks, models)`; empty where there may be one."""
    tasks, models = values.shape
    if tasks < TASKS:
        return (
            f"No critical-difference diagram: {tasks} of at least {TASKS} tasks have a result of the same "
            f"{models} models, too few to rank them."
        )
    if models < 3:
        return "No critical-difference diagram: with two models there is one difference, shown above."
    return ""


def critical_difference_diagram(
    ranks: pd.Series, tasks: int, titles: dict[str, str], out: Path, *, simulated: bool
) -> None:
    """Mean ranks of `average_ranks` on a line; a bar ties models whose ranks differ by less than the critical
    difference (Demšar 2006, figure 1)."""
    difference, order = critical_difference(len(ranks), tasks), list(ranks.index)
    half = -(-len(order) // 2)
    ties = tied(ranks.to_numpy(), difference)
    height, step = 0.75 + 0.17 * half + 0.09 * len(ties), 1.0
    figure = new_figure("page", height + 0.2)
    axes = figure.subplots()
    low, high = 1, len(order)
    pad = 0.55 * (high - low)
    axes.set(xlim=(low - pad, high + pad), ylim=(-(half + 1.3 + 0.55 * len(ties)), 2.2))
    axes.set_axis_off()
    axes.plot([low, high], [0, 0], color=INK, linewidth=1)
    for rank in range(low, high + 1):
        axes.plot([rank, rank], [0, 0.25], color=INK, linewidth=0.8)
        axes.text(rank, 0.4, str(rank), ha="center", va="bottom", fontsize=6.5)
    axes.plot([low, low + difference], [1.6, 1.6], color=INK, linewidth=1.5)
    words = f"critical difference {difference:.2f} (Nemenyi, {tasks} tasks, level 0.05)"
    axes.text(low, 1.75, words, ha="left", va="bottom", fontsize=6.5)
    first = 0.9 + 0.55 * len(ties)
    for place, (start, end) in enumerate(ties):
        y = -0.55 * (place + 1)
        axes.plot([ranks.iloc[start] - 0.03, ranks.iloc[end] + 0.03], [y, y], color=PALETTE[0], linewidth=2.5)
    room = 0.25 * WIDTHS["page"]
    for place, model in enumerate(order):
        left = place < half
        y = -(first + step * (place if left else len(order) - 1 - place))
        edge = low - 0.04 * (high - low) if left else high + 0.04 * (high - low)
        axes.plot([ranks[model], ranks[model], edge], [0, y, y], color=MUTED, linewidth=0.7)
        words = f"{wrapped(titles[model], room)}  {ranks[model]:.2f}"
        side = "right" if left else "left"
        axes.text(edge - 0.01 * (high - low) * (1 if left else -1), y, words, ha=side, va="center", fontsize=6.5)
    mark_simulated(figure, simulated)
    save(figure, out)


def tied(ranks: np.ndarray, difference: float) -> list[tuple[int, int]]:
    """First and last place of each widest run of rising mean ranks `(k,)` that differ by less than `difference`."""
    found: list[tuple[int, int]] = []
    for start in range(len(ranks)):
        end = int(np.searchsorted(ranks, ranks[start] + difference, side="left")) - 1
        if end > start and (not found or end > found[-1][1]):
            found.append((start, end))
    return found
