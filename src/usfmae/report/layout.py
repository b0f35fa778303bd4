"""Panels that fit a page: as many side by side as can be read, the rest below."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import product
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from usfmae.report.style import WIDTHS, new_figure

#: Inches that one letter takes on average at 6.5 points; bold ones more.
LETTER, BOLD_LETTER = 0.052, 0.061

Panels = dict[tuple[str, str], Axes]


def panel_grid(
    roles: Sequence[str], items: Sequence[str], *, aspect: float = 1.0, extra: float = 0.6, most: int = 4
) -> tuple[Figure, Panels]:
    """A figure with a panel for each pair of `roles` and `items`, all on the same axes.

    At most `most` stand side by side. Each role begins a row of its own, unless there is one item alone.
    `aspect` is height by width of a panel's share of the page, `extra` the inches for legend and labels. Only
    the lowest panel of a column has tick labels below it.
    """
    lines = -(-len(items) // most)  # of one role
    columns = -(-len(items) // lines)
    places = {
        (role, item): (lines * i + j // columns, j % columns)
        for (i, role), (j, item) in product(enumerate(roles), enumerate(items))
    }
    if len(items) == 1:
        lines, columns = 1, len(roles)
        places = {(role, items[0]): (0, i) for i, role in enumerate(roles)}
    rows = 1 + max(row for row, _ in places.values())
    width: Literal["column", "page"] = "page" if columns > 1 else "column"
    figure = new_figure(width, rows * aspect * WIDTHS[width] / columns + extra)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    used = set(places.values())
    for place, axes in [(place, grid[place]) for place in product(range(rows), range(columns))]:
        if place not in used:
            axes.set_axis_off()
        elif (place[0] + 1, place[1]) not in used:
            axes.tick_params(labelbottom=True)
    return figure, {key: grid[place] for key, place in places.items()}


def room_of(panels: Panels, *, left: float = 0.3) -> float:
    """Inches of the page that each panel is wide, where tick labels and gaps take `left` of each."""
    axes = next(iter(panels.values()))
    place, figure = axes.get_subplotspec(), axes.get_figure(root=True)
    assert place is not None and figure is not None
    return float(figure.get_figwidth() / place.get_gridspec().ncols - left)


def lowest(panels: Panels) -> list[Axes]:
    """The lowest panel of each column."""
    below: dict[int, Axes] = {}
    for axes in panels.values():
        place = axes.get_subplotspec()
        assert place is not None
        known = below.get(place.colspan.start)
        if known is None or known.get_subplotspec().rowspan.start < place.rowspan.start:  # type: ignore[union-attr]
            below[place.colspan.start] = axes
    return list(below.values())


def leftmost(panels: Panels) -> list[Axes]:
    """The first panel of each row."""
    return [axes for axes in panels.values() if axes.get_subplotspec().is_first_col()]  # type: ignore[union-attr]


def legend_columns(titles: Sequence[str], figure: Figure) -> int:
    """Columns of a legend of these titles that the figure's width has room for."""
    needed = 0.45 + LETTER * max(map(len, titles), default=1)
    return max(1, min(len(titles), int(figure.get_figwidth() / needed)))


def legend_height(titles: Sequence[str], width: float = WIDTHS["page"]) -> float:
    """Inches that such a legend takes."""
    needed = 0.45 + LETTER * max(map(len, titles), default=1)
    columns = max(1, min(len(titles), int(width / needed)))
    return 0.13 * -(-len(titles) // columns)


def wrapped(title: str, inches: float, *, bold: bool = False) -> str:
    """A title on as many lines as it takes to stay within so many inches."""
    letters = max(8, int(inches / (BOLD_LETTER if bold else LETTER)))
    return textwrap.fill(title, letters, break_long_words=False, break_on_hyphens=False)
