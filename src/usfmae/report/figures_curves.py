"""ROC and precision-recall curves of a task's models, with bands."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes

from usfmae.report.layout import leftmost, legend_columns, legend_height, lowest, panel_grid, room_of, wrapped
from usfmae.report.style import MUTED, WIDTHS, colour, line, mark_simulated, save
from usfmae.report.words import class_name, role_name

#: Up to so many models each has its band, and its area in every panel of a ROC curve; with more only the
#: reference has a band, because they would hide each other. A table has all areas.
FEW = 4


def roc_curves(
    roc: pd.DataFrame, titles: dict[str, str], reference: str, out: Path, *, simulated: bool
) -> None:
    """ROC curves with pointwise 95 % bands from `roc.parquet`: a line a model, a panel a class and role.

    `titles` maps each model to its title, in the study's order.
    """
    curves = roc.rename(columns={"specificity_complement": "x", "sensitivity": "y", "auc": "area"})
    _curves(curves, titles, reference, out, "1 − specificity", "sensitivity", simulated)


def precision_recall_curves(
    pr: pd.DataFrame, titles: dict[str, str], reference: str, out: Path, *, simulated: bool
) -> None:
    """Precision by recall with pointwise 95 % bands from `pr.parquet`, as in `roc_curves`; the dotted line is
    the share of the frames that are of the class."""
    curves = pr.rename(columns={"recall": "x", "precision": "y", "average_precision": "area"})
    _curves(curves, titles, reference, out, "recall (sensitivity)", "precision", simulated)


def areas_table(roc: pd.DataFrame, pr: pd.DataFrame | None, titles: dict[str, str]) -> pd.DataFrame:
    """A row a class and role, a column a model: area under the ROC curve / average precision."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    keys = ["role", "class", "model"]
    areas = roc.groupby(keys, sort=False)["auc"].first()
    precisions = None if pr is None else pr.groupby(keys, sort=False)["average_precision"].first()
    for role, name, model in areas.index:
        value = f"{areas[role, name, model]:.2f}"
        if precisions is not None:
            value += f" / {precisions[role, name, model]:.2f}"
        found.setdefault((role, name), {})[titles[model]] = value
    rows = [
        {"Class": class_name(name), "On": role_name(role)}
        | {title: found[role, name].get(title, "–") for title in titles.values()}
        for role in ("test", "holdout")
        for name in dict.fromkeys(roc["class"])
        if (role, name) in found
    ]
    table = pd.DataFrame(rows)
    return table.loc[:, (table != "–").any()]  # without the models that were not run


def _curves(
    curves: pd.DataFrame,
    titles: dict[str, str],
    reference: str,
    out: Path,
    x: str,
    y: str,
    simulated: bool,
) -> None:
    roles = [role for role in ("test", "holdout") if role in set(curves["role"])]
    classes = list(dict.fromkeys(curves["class"]))
    ran = [model for model in titles if model in set(curves["model"])]
    few = len(ran) <= FEW
    shown = [titles[model] for model in ran]
    roc = "prevalence" not in curves
    step: Literal["pre"] | None = (
        None if roc else "pre"
    )  # precision holds for the recalls up to the next threshold
    width = WIDTHS["page" if len(roles) * len(classes) > 1 else "column"]
    figure, panels = panel_grid(roles, classes, extra=0.4 + legend_height(shown, width))
    room = room_of(panels)
    for (role, name), axes in panels.items():
        panel = curves[(curves["role"] == role) & (curves["class"] == name)]
        for model in reversed(ran):  # the study's first models lie on top
            place, curve = list(titles).index(model), panel[panel["model"] == model]
            if few or model == reference:
                bounds = curve["lower"], curve["upper"]
                axes.fill_between(
                    curve["x"], *bounds, color=colour(place), alpha=0.13, linewidth=0, step=step
                )
            (drawn,) = axes.plot(curve["x"], curve["y"], line(place), color=colour(place), gid=model)
            drawn.set_drawstyle("default" if roc else "steps-pre")
        _chance(axes, panel)
        title = f"{role_name(role)}: {class_name(name)}" if len(roles) > 1 else class_name(name)
        axes.set_title(wrapped(title, room, bold=True), fontsize=6.5)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.set(xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        if few and roc:  # below the diagonal there is room, around precision there is none
            lines = {each.get_gid(): each for each in axes.get_lines()}
            handles, values = [lines[model] for model in ran], [_area(panel, model) for model in ran]
            axes.legend(handles, values, title="AUC", loc="lower right", labelspacing=0.25)
    axes = next(iter(panels.values()))
    lines = {each.get_gid(): each for each in axes.get_lines()}
    if len(panels) == 1 and not (few and roc):
        shown = [f"{titles[model]} ({_area(curves, model)})" for model in ran]
    handles, columns = [lines[model] for model in ran], legend_columns(shown, figure)
    figure.legend(handles, shown, loc="outside upper left", ncols=columns)
    for axes in lowest(panels):
        axes.set_xlabel(x)
    for axes in leftmost(panels):
        axes.set_ylabel(y)
    mark_simulated(figure, simulated)
    save(figure, out)


def _area(panel: pd.DataFrame, model: str) -> str:
    return f"{panel.loc[panel['model'] == model, 'area'].iloc[0]:.2f}"


def _chance(axes: Axes, panel: pd.DataFrame) -> None:
    """What guessing gives: the diagonal of a ROC curve, the prevalence as precision."""
    start = panel["prevalence"].iloc[0] if "prevalence" in panel else 0
    end = start if "prevalence" in panel else 1
    axes.plot([0, 1], [start, end], color=MUTED, linewidth=0.7, linestyle=(0, (1, 2)), zorder=1)
