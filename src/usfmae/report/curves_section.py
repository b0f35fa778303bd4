"""A task's curves on the page, and the areas under them."""

from __future__ import annotations

import pandas as pd

from usfmae.report import figures_curves
from usfmae.report.exhibits import Exhibits, Picture, Table, embedded
from usfmae.report.products import Products
from usfmae.report.words import of_which_predictions


def curves_parts(
    name: str, found: dict[str, pd.DataFrame], products: Products, exhibits: Exhibits
) -> list[Table | Picture]:
    """ROC curves, precision-recall curves, and a table of their areas; `found` holds the task's tables."""
    task, titles, out = products.settings.tasks[name], products.titles, exhibits.figures
    reference, simulated = products.study.reference, bool(products.simulated(task.datasets))
    parts: list[Table | Picture] = []
    said = "with pointwise 95 % bands over resampled subjects."
    if "roc" in found and found["roc"]["model"].nunique() > figures_curves.FEW:
        said = (
            f"with a pointwise 95 % band over resampled subjects, drawn for {titles[reference]} alone; the "
            "other models' bands are in `results/statistics`."
        )
    if len(task.classes) > 2:
        said += " Each panel sets one class against the rest."
    averaged = of_which_predictions(found["roc"]) if "roc" in found else ""
    if "roc" in found:
        figures_curves.roc_curves(found["roc"], titles, reference, out / f"{name}_roc", simulated=simulated)
        alt = "ROC curves; their areas are in the table below."
        parts.append(embedded(out / f"{name}_roc", alt, f"ROC curves {said}{averaged}"))
    if "pr" in found:
        file = out / f"{name}_precision_recall"
        figures_curves.precision_recall_curves(found["pr"], titles, reference, file, simulated=simulated)
        alt = "Precision by recall; the average precisions are in the table below."
        caption = f"Precision-recall curves {said} Dotted: the share of the frames that are of the class."
        if len(task.classes) == 2:
            caption += " In brackets: average precision."
        parts.append(embedded(file, alt, caption))
    if "roc" in found:
        table = figures_curves.areas_table(found["roc"], found.get("pr"), titles)
        caption = "Area under the ROC curve" + (" / average precision." if "pr" in found else ".")
        caption += averaged
        parts.append(exhibits.table(f"{name}_areas", table, caption, {"Class", "On"}))
    return parts
