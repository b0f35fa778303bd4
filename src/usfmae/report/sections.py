"""The page's sections beside corpora and tasks: overview, pretraining, methods."""

from __future__ import annotations

from typing import Any

import pandas as pd
import yaml

from usfmae.corpus.registry import bibtex
from usfmae.record import flatten
from usfmae.report import figures_training, headline, tables, tables_corpus
from usfmae.report.exhibits import Exhibits, Picture, Table, embedded
from usfmae.report.products import Products
from usfmae.report.words import duration


def overview_section(products: Products, exhibits: Exhibits) -> dict[str, Any]:
    """A headline for each task, what the study is made of, and how long it took."""
    frames = subjects = 0
    for corpus in products.corpora:
        for table in products.frames(corpus).values():
            kept = table[table["drop_reason"].isna()]
            frames, subjects = frames + len(kept), subjects + kept["subject"].nunique()
    ran = [
        model for model in products.titles if any(products.ran(task, model) for task in products.study.tasks)
    ]
    runs = products.runs()
    stages = None
    if runs:
        caption = "Time and largest memory of each stage, from the run records."
        stages = exhibits.table("stages", tables.stage_table(runs), caption, {"Stage"})
    return {
        "headlines": [_headline(name, products) for name in products.study.tasks],
        "facts": {
            "datasets": f"{len(products.datasets):,}",
            "frames": f"{frames:,}",
            "subjects": f"{subjects:,}",
            "models ran": f"{len(ran)} of {len(products.titles)}",
            "recorded runs": f"{len(runs):,}",
            "computing, summed over runs": duration(sum(run["seconds"] for run in runs)),
        },
        "stages": stages,
    }


def _headline(name: str, products: Products) -> dict[str, Any]:
    task, found = products.settings.tasks[name], products.statistics(name)
    sentences = ["No result yet."]
    if "summary" in found:
        sentences = [headline.best_model(found["summary"], task.metric, products.titles)]
    if "comparisons" in found:
        sentences.append(
            headline.foundation_against_scratch(products.settings, found["comparisons"], task.metric)
        )
    return {
        "key": name,
        "title": task.title,
        "simulated": bool(products.simulated(task.datasets)),
        "sentences": [sentence for sentence in sentences if sentence],
    }


def pretraining_section(name: str, products: Products, exhibits: Exhibits) -> dict[str, Any]:
    """Loss, reconstructions and settings of a recipe."""
    recipe = products.settings.recipes.pretrain[name]
    folder, out = products.results / "pretrain" / name, exhibits.figures
    simulated = bool(products.simulated(products.settings.members(recipe.corpus)))
    parts: list[Table | Picture] = []
    history, run = products.table("pretrain", name, "history.parquet"), products.json(folder / "run.json")
    if history is not None:
        figures_training.loss_curve(history, out / f"{name}_loss", simulated=simulated)
        train, validation = history[["train_loss", "validation_loss"]].iloc[-1]
        alt = f"Loss by epoch; the last is {train:.4g} in training and {validation:.4g} in validation."
        parts.append(embedded(out / f"{name}_loss", alt, "Loss over the masked patches."))
    pictures = folder / "reconstructions.npz"
    if pictures.exists():
        figures_training.reconstructions(pictures, out / f"{name}_reconstructions", simulated=simulated)
        alt = "Validation frames: original, with masked patches tinted, and reconstructed."
        caption = (
            f"Validation frames. {recipe.mask_ratio:.0%} of the patches are hidden (tinted); the third row "
            "shows what the model fills in."
        )
        parts.append(embedded(out / f"{name}_reconstructions", alt, caption))
    encoder = products.settings.encoders[recipe.encoder]
    values = flatten(recipe.model_dump(exclude={"title"}) | {"encoder": encoder.model_dump()})
    frame = pd.DataFrame({"Setting": list(values), "Value": [str(value) for value in values.values()]})
    return {
        "title": recipe.title,
        "simulated": simulated,
        "counts": run["counts"] if run else {},
        "duration": duration(run["seconds"]) if run else "",
        "parts": parts,
        "settings": exhibits.table(f"{name}_settings", frame, "Settings of the recipe.", set(frame)),
    }


def methods_section(products: Products, exhibits: Exhibits) -> dict[str, Any]:
    """Seeds, versions, licences and citations, configuration."""
    settings, runs = products.settings, products.runs()
    seeds = {
        "training": ", ".join(map(str, products.study.seeds)),
        "statistics": settings.statistics.seed,
        **{f"pretraining {name}": settings.recipes.pretrain[name].seed for name in products.recipes},
        **{f"split of {name}": settings.tasks[name].split.seed for name in products.study.tasks},
    }
    versions = None
    if runs:
        caption = "Versions and machines, from the run records."
        versions = exhibits.table("versions", tables.versions_table(runs), caption, {"What", "Version"})
    used = products.used()
    licences = tables_corpus.licence_table(used, settings)
    caption = "Licences and citations of the datasets of which frames were used."
    return {
        "seeds": seeds,
        "resamples": f"{settings.statistics.resamples:,}",
        "recipe": settings.recipes.finetune[products.study.recipe].title,
        "versions": versions,
        "licences": exhibits.table("licences", licences, caption, set(licences)),
        "bibtex": exhibits.text("citations.bib", bibtex({name: settings.datasets[name] for name in used})),
        "configuration": yaml.safe_dump(
            settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True
        ),
    }
