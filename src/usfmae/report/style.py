"""One look for all figures: width, colours, type, the simulated mark, the same bytes every time."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import matplotlib
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from usfmae.record import atomic

#: Okabe and Ito's palette, which colour-blind readers can tell apart, without its yellow (too light).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
#: A second code beside colour, for print in grey.
LINES = ("-", "--", "-.", ":")
#: The same for scattered points.
MARKERS = ("o", "^", "s", "D", "v", "P", "X")
INK, MUTED, RULE, WARNING = "#1d2733", "#5b6673", "#d5dbe1", "#B23A00"
#: Covers masked patches: a tint, so that nobody takes them for grey tissue.
MASKED = "#c9d9ea"
#: Dots an inch, of PNG files: what journals ask of figures.
DPI = 300

MILLIMETRES = 25.4
#: Widths of a figure in inches, as journals print them: one column, or the page.
WIDTHS = {"column": 85 / MILLIMETRES, "page": 180 / MILLIMETRES}
#: No letter is smaller in print, in points: an inch has 72.
SMALLEST = 6.0
#: Height of the line that says "simulated", in inches.
_MARK = 0.16

# Set once for the process: matplotlib reads some of these only when it draws.
matplotlib.use("Agg")
matplotlib.rcParams.update(
    {
        "font.family": "DejaVu Sans",  # ships with matplotlib, so figures agree between machines
        "font.size": 7,
        "axes.titlesize": 7,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 4,
        "axes.labelsize": 7,
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": RULE,
        "grid.linewidth": 0.4,
        "axes.axisbelow": True,
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelsize": 6.5,
        "ytick.labelsize": 6.5,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "figure.labelsize": 7,
        "figure.titlesize": 8,
        "figure.titleweight": "bold",
        "legend.frameon": False,
        "legend.fontsize": 6.5,
        "legend.title_fontsize": 6.5,
        "legend.handlelength": 2.4,
        "lines.linewidth": 1.1,
        "lines.markersize": 4,
        "image.cmap": "gray",
        "image.interpolation": "nearest",
        "pdf.fonttype": 42,  # TrueType, whole: journals refuse matplotlib's default, Type 3
    }
)


def new_figure(width: Literal["column", "page"], height: float) -> Figure:
    """An empty figure, a column (85 mm) or a page (180 mm) wide and `height` inches high, that arranges its
    parts itself."""
    return Figure(figsize=(WIDTHS[width], height), layout="constrained")


def colour(position: int) -> str:
    """Colour of the model at this place in the study's list, the same in every figure."""
    return PALETTE[position % len(PALETTE)]


def line(position: int) -> str:
    """Line style that goes with `colour`: 28 models differ in one or the other."""
    return LINES[position % len(LINES)]


def marker(position: int) -> str:
    """Marker that goes with `colour` among more things than the palette holds: 49 differ in one of them."""
    return MARKERS[(position + position // len(PALETTE)) % len(MARKERS)]


def whole_numbers() -> MaxNLocator:
    """Ticks for an axis that counts epochs."""
    return MaxNLocator(integer=True, nbins=6)


def mark_simulated(figure: Figure, simulated: bool) -> None:
    """Writes below the figure that its data are simulated, where all or some of them are."""
    if simulated:
        share = _MARK / figure.get_figheight()
        engine = figure.get_layout_engine()
        if isinstance(engine, ConstrainedLayoutEngine):
            engine.set(rect=(0, share, 1, 1 - share))
        text = "SIMULATED DATA, all or in part: not from patients"
        figure.text(0.01, 0.2 * share, text, va="bottom", ha="left", size=6.5, color=WARNING, weight="bold")


def save(figure: Figure, path: Path) -> None:
    """Writes `<path>.png` and `<path>.pdf`; `path` has no ending. The same figure gives the same bytes."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # arranged once, not again for each file
    no_date = {"png": {"Software": None}, "pdf": {"Creator": None, "Producer": None, "CreationDate": None}}
    for ending, metadata in no_date.items():
        with atomic(path.with_name(f"{path.name}.{ending}")) as temporary:
            figure.savefig(temporary, dpi=DPI, metadata=metadata)
