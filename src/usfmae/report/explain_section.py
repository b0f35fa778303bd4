"""The part of a task's section that shows what the models look at, and how far the maps can be believed."""

from __future__ import annotations

from typing import Any

import pandas as pd

from usfmae.report import figures_explain
from usfmae.report.exhibits import Exhibits, Picture, Table, embedded
from usfmae.report.panels import read_maps
from usfmae.report.products import Products
from usfmae.report.words import NOT_RUN, method_name, number, subjects, with_interval

Parts = list[Table | Picture]
_GAUSSIAN = "centred_gaussian"
_RELATION = "energy inside and probability of the label"
_PROSE = {"Method", "Measure", "Verdict", "How to read it"}


def explanations(name: str, products: Products, exhibits: Exhibits) -> list[dict[str, Any]]:
    """Of each explained model: `title`, `parts` and `absent`, which says why there are none; then what sets
    all of them side by side."""
    models = products.study.explain.models
    shown = [_one_model(name, model, products, exhibits) for model in models]
    tables = {model: products.table("explain", name, model, "measures.parquet") for model in models}
    measured = {model: table for model, table in tables.items() if table is not None}
    if measured:
        parts = _all_models(name, measured, products, exhibits)
        shown.append({"title": "All models", "parts": parts, "absent": ""})
    return shown


def _one_model(name: str, model: str, products: Products, exhibits: Exhibits) -> dict[str, Any]:
    folder, title = products.results / "explain" / name / model, products.titles[model]
    simulated = bool(products.simulated(products.settings.tasks[name].datasets))
    parts: Parts = []
    if (folder / "panels.png").exists():
        alt = f"Panels of {title}: input, map, overlay and mask outline of the frames chosen by rule."
        caption = (
            "Chosen by rule, for each label: the surest and the median correct frame, the surest wrong one."
        )
        parts.append(embedded(folder / "panels", alt, caption))
    faithfulness = products.table("explain", name, model, "faithfulness.csv")
    if faithfulness is not None:
        caption = (
            "Does the map show what the model uses? With 95 % intervals over subjects. The verdict says on "
            "which side of a blob in the centre the map lies (interval of the paired difference; not "
            "corrected for the number of rows); where it is no better, the map says little."
        )
        shown = faithfulness_table(faithfulness)
        parts.append(exhibits.table(f"{name}_{model}_faithfulness", shown, caption, _PROSE))
    if (folder / "maps.npz").exists() and len((found := read_maps(folder)).maps) > 1:
        out = exhibits.figures / f"{name}_{model}_methods"
        figures_explain.maps_by_method(found, out, simulated=simulated)
        caption = f"The same frames by each method.{_not_applicable(faithfulness)}"
        parts.append(embedded(out, f"Maps of {title}: a row a frame, a column a method.", caption))
    if (folder / "contact_sheet.png").exists():
        caption = "All explained frames: the input, and beside it the map and the outline of the mask."
        alt = f"Contact sheet of {title}: every explained frame with its map."
        parts.append(embedded(folder / "contact_sheet", alt, caption))
    absent = "no maps yet" if products.ran(name, model) else NOT_RUN
    return {"title": title, "parts": parts, "absent": "" if parts else absent}


def _all_models(
    name: str, measured: dict[str, pd.DataFrame], products: Products, exhibits: Exhibits
) -> Parts:
    """The scatter of place against answer and the curves, a panel a model."""
    simulated = bool(products.simulated(products.settings.tasks[name].datasets))
    parts: Parts = []
    first = {
        model: table[table["method"] == table.loc[table["method"] != _GAUSSIAN, "method"].iloc[0]]
        for model, table in measured.items()
        if (table["method"] != _GAUSSIAN).any() and table["energy inside the mask"].notna().any()
    }
    if first:
        out = exhibits.figures / f"{name}_localisation"
        relations = {model: _relation(name, model, products) for model in first}
        figures_explain.localisation_scatter(first, relations, products.titles, out, simulated=simulated)
        caption = (
            "A dot a frame: do maps that lie on the finding go with right answers? Spearman's correlation "
            "with its 95 % interval over subjects."
        )
        alt = "Energy of the map inside the mask against the probability of the right class, a panel a model."
        parts.append(embedded(out, alt, caption))
    tables = {model: products.table("explain", name, model, "curves.csv") for model in measured}
    curves = {model: table for model, table in tables.items() if table is not None}
    if curves:
        out = exhibits.figures / f"{name}_perturbation"
        figures_explain.perturbation_curves(curves, products.titles, out, simulated=simulated)
        caption = (
            "Deletion and insertion: mean over the explained frames. A good map falls early on the left and "
            "rises early on the right, earlier than the dotted blob in the centre."
        )
        parts.append(embedded(out, "Deletion and insertion curves, a row a model, a line a method.", caption))
    return parts


def _relation(name: str, model: str, products: Products) -> tuple[float, float, float]:
    """Spearman's correlation of the first method and its interval."""
    table = products.table("explain", name, model, "faithfulness.csv")
    assert table is not None
    row = table[table["measure"] == _RELATION].iloc[0]
    return float(row["value"]), float(row["lower"]), float(row["upper"])


def faithfulness_table(faithfulness: pd.DataFrame) -> pd.DataFrame:
    """A row a method and measure, beside the same measure of a blob in the image's middle. What does not
    apply stands under the figure."""
    measured = faithfulness.dropna(subset="measure")
    return pd.DataFrame(
        [
            {
                "Method": method_name(row["method"]),
                "Measure": row["measure"],
                "Value (95 % interval)": with_interval(row["value"], row["lower"], row["upper"]),
                "Centred blob": number(row["baseline"]),
                "Verdict": row["verdict"],
                "Frames": f"{row['n_frames']:,.0f}",
                "Subjects": subjects(row["n_subjects"]),
                "How to read it": row["note"],
            }
            for _, row in measured.iterrows()
        ]
    )


def _not_applicable(faithfulness: pd.DataFrame | None) -> str:
    """A sentence for each method without maps."""
    if faithfulness is None:
        return ""
    absent = faithfulness[faithfulness["measure"].isna()]
    return "".join(f" {method_name(row['method'])} is {row['note']}." for _, row in absent.iterrows())
