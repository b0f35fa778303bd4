"""Maps of a corpus as a pretrained encoder sees it: the same points, coloured by dataset and by class."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from usfmae.report.layout import LETTER, wrapped
from usfmae.report.style import (
    MUTED,
    RULE,
    WIDTHS,
    colour,
    mark_simulated,
    marker,
    new_figure,
    save,
)


def embedding_maps(table: pd.DataFrame, panels: dict[str, pd.Series], out: Path, *, simulated: bool) -> None:
    """A panel for each of `panels`: its title → the name of each row of `table` (`embedding.parquet`), a
    categorical, by which the row's point is coloured; a row without a name is a pale dot."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    width = WIDTHS["page"] / columns
    lines = max(_legend_lines(_found(names), width)[1] for names in panels.values())
    figure = new_figure("page" if columns > 1 else "column", rows * (width + 0.13 * lines + 0.3))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, names) in zip(grid.flat, panels.items(), strict=False):
        _panel(axes, table, names, width)
        axes.set_title(wrapped(title, width - 0.2, bold=True), fontsize=6.5)
    mark_simulated(figure, simulated)
    save(figure, out)


def _panel(axes: Axes, table: pd.DataFrame, names: pd.Series, width: float) -> None:
    nameless = table[names.isna()]
    axes.scatter(nameless["x"], nameless["y"], s=1.5, color=RULE, linewidth=0, rasterized=True)
    found = _found(names)
    for place, name in enumerate(found):
        points = table[names == name]
        axes.scatter(
            *(points["x"], points["y"]),
            s=6,
            marker=marker(place),
            color=colour(place),
            linewidth=0,
            alpha=0.8,
            label=name,
        )
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(MUTED)
    across, _ = _legend_lines(found, width)
    if found:
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(0, -0.01),
            borderaxespad=0.2,
            ncols=across,
            handletextpad=0.1,
            columnspacing=1,
            markerscale=1.4,
        )


def _found(names: pd.Series) -> list[str]:
    """The categories that occur, in order."""
    return [name for name in names.cat.categories if (names == name).any()]


def _legend_lines(names: list[str], width: float) -> tuple[int, int]:
    """Columns and lines of a legend of these names below a panel so many inches wide."""
    needed = 0.45 + LETTER * max(map(len, names), default=1)
    across = max(1, min(len(names), int((width - 0.2) / needed)))
    return across, -(-len(names) // across)
