"""A pretraining recipe's map of the corpus on the page, with what holds in all dimensions beside it."""

from __future__ import annotations

import pandas as pd

from usfmae.report import figures_embedding
from usfmae.report.exhibits import Exhibits, Picture, Table, embedded
from usfmae.report.products import Products
from usfmae.report.words import class_name, count
from usfmae.settings.tasks import Task

#: More datasets than these cannot be told apart by colour: their anatomies are shown instead.
MOST_DATASETS = 14


def embedding_parts(name: str, products: Products, exhibits: Exhibits) -> list[Table | Picture]:
    """The map by dataset, and by class for each task of the study of whose datasets it holds frames."""
    table = products.table("pretrain", name, "embedding.parquet")
    facts = products.json(products.results / "pretrain" / name / "embedding.json")
    if table is None or facts is None:
        return []
    settings, what, source = products.settings, "dataset", table["dataset"]
    if source.nunique() > MOST_DATASETS:
        what, source = "anatomy", source.map(lambda each: settings.datasets[each].anatomy)
    panels = {f"by {what}": source.astype(pd.CategoricalDtype(list(dict.fromkeys(source))))}
    for task in products.study.tasks:
        names = task_classes(table, settings.tasks[task])
        if names.notna().any():
            panels[f"by class: {settings.tasks[task].title}"] = names
    panels = {title: names.cat.rename_categories(class_name) for title, names in panels.items()}
    out = exhibits.figures / f"{name}_embedding"
    simulated = bool(products.simulated(list(table["dataset"].unique())))
    figures_embedding.embedding_maps(table, panels, out, simulated=simulated)
    shares = []
    for title, names in panels.items():
        same, chance = agreement(table, names)
        shares.append(f"{title.removeprefix('by ')} {same:.0%} (by chance {chance:.0%})")
    caption = (
        f"t-SNE of the mean patch token: {count(len(table), 'frame')}, at most {facts['frames_per_dataset']} "
        f"of a dataset, perplexity {facts['perplexity']:.3g}, seed {facts['seed']}. Points that touch are "
        "alike; how far apart, how large and how dense clusters are means little, and another seed draws "
        f"them elsewhere. In all {facts['dimensions']} dimensions, the nearest frame of another subject, "
        f"where it is coloured too, is of the same {'; '.join(shares)}."
    )
    return [embedded(out, "Frames as points, near where the encoder's features are alike.", caption)]


def task_classes(table: pd.DataFrame, task: Task) -> pd.Series:
    """The task's class of each row of `embedding.parquet`, a categorical; missing where it has none."""
    class_of = {label: name for name, labels in task.classes.items() for label in labels}
    found: pd.Series = table["label"].map(class_of).where(table["dataset"].isin(task.datasets))
    return found.astype(pd.CategoricalDtype(list(task.classes)))


def agreement(table: pd.DataFrame, names: pd.Series) -> tuple[float, float]:
    """Of the rows with a name whose `nearest` has one too: the share that have the same one, and the share by
    chance, where the nearest is any row of another subject with a name."""
    rows = table.assign(name=names.astype(object))
    name_of = rows.set_index("frame_id")["name"]
    rows = rows[rows["name"].notna()].assign(near=lambda each: each["nearest"].map(name_of))
    alike = rows.groupby("name")["name"].transform("size")
    own = rows.groupby(["subject", "name"])["name"].transform("size")
    others = len(rows) - rows.groupby("subject")["name"].transform("size")
    judged = rows["near"].notna()
    same = rows["near"] == rows["name"]
    return float(same[judged].mean()), float(((alike - own) / others)[judged].mean())
