"""One look for all figures: colours, type, the simulated mark, and files with the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from usfmae.record import atomic

#: Okabe and Ito's palette, which colour-blind readers can tell apart, without its yellow (too light).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
#: A second code beside colour, for print in grey.
LINES = ("-", "--", "-.", ":")
INK, MUTED, RULE, WARNING = "#1d2733", "#5b6673", "#d5dbe1", "#B23A00"
#: Covers masked patches: a tint, so that nobody takes them for grey tissue.
MASKED = "#c9d9ea"
#: 2 pixels for each CSS pixel where a figure of 10 inches is shown 1,000 pixels wide.
DPI = 200

# Set once for the process: matplotlib reads some of these only when it draws.
matplotlib.use("Agg")
matplotlib.rcParams.update(
    {
        "font.family": "DejaVu Sans",  # ships with matplotlib, so figures agree between machines
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "lines.linewidth": 1.6,
        "image.cmap": "gray",
        "image.interpolation": "nearest",
    }
)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches that arranges its parts itself."""
    return Figure(figsize=(width, height), layout="constrained")


def colour(position: int) -> str:
    """Colour of the model at this place in the study's list, the same in every figure."""
    return PALETTE[position % len(PALETTE)]


def line(position: int) -> str:
    """Line style that goes with `colour`."""
    return LINES[position % len(LINES)]


def whole_numbers() -> MaxNLocator:
    """Ticks for an axis that counts epochs."""
    return MaxNLocator(integer=True, nbins=6)


def mark_simulated(figure: Figure, simulated: bool) -> None:
    """Writes below the figure that its data are simulated, where all or some of them are."""
    if simulated:
        text = "SIMULATED DATA: all or part of this comes from a simulator, not from patients"
        figure.text(0.005, -0.01, text, va="top", ha="left", fontsize=8, color=WARNING, weight="bold")


def save(figure: Figure, path: Path) -> None:
    """Writes `<path>.png` and `<path>.pdf`; `path` has no ending. The same figure gives the same bytes."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # arranged once, not again for each file
    no_date = {"png": {"Software": None}, "pdf": {"Creator": None, "Producer": None, "CreationDate": None}}
    for ending, metadata in no_date.items():
        with atomic(path.with_name(f"{path.name}.{ending}")) as temporary:
            figure.savefig(temporary, dpi=DPI, bbox_inches="tight", pad_inches=0.06, metadata=metadata)
