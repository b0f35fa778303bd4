"""The page's first and last section: overview and methods."""

from __future__ import annotations

from typing import Any

import yaml

from usfmae.corpus.registry import bibtex
from usfmae.report import headline, tables, tables_corpus
from usfmae.report.exhibits import Exhibits
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


def methods_section(products: Products, exhibits: Exhibits) -> dict[str, Any]:
    """Seeds, versions, licences and citations, configuration."""
    settings, runs = products.settings, products.runs()
    seeds = {
        "training": ", ".join(map(str, products.study.seeds)),
        "statistics": settings.statistics.seed,
        **{f"pretraining {name}": settings.recipes.pretrain[name].seed for name in products.recipes},
        **{f"split of {name}": settings.tasks[name].split.seed for name in products.study.tasks},
    }
    recipes: dict[str, list[str]] = {}
    for model, title in products.titles.items():
        recipes.setdefault(settings.recipes.finetune[settings.recipe_of(model)].title, []).append(title)
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
        "recipes": recipes,
        "versions": versions,
        "licences": exhibits.table("licences", licences, caption, set(licences)),
        "bibtex": exhibits.text("citations.bib", bibtex({name: settings.datasets[name] for name in used})),
        "configuration": yaml.safe_dump(
            settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True
        ),
    }
