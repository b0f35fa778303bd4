"""What a run can show of its data and its methods, item by item: where it stands, and the facts in short."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from usfmae.report.products import Products
from usfmae.report.words import class_name, count, metric_name


@dataclass(frozen=True)
class Evidence:
    """Files below `results/` that show an item, and what they say; `not_applicable` is a reason instead."""

    files: tuple[str, ...] = ()
    facts: str = ""
    not_applicable: str = ""


Show = Callable[[Products], Evidence | None]
#: Where the resolved settings, seeds, versions and licences stand.
METHODS = "report/report.html#methods"


def there(products: Products, *names: str) -> tuple[str, ...]:
    """Those of the names, paths below `results/`, that exist."""
    return tuple(name for name in names if (products.results / name).exists())


def of_tasks(products: Products, stage: str, *names: str) -> tuple[str, ...]:
    """Files of a stage of each task of the study that exist."""
    return there(products, *(f"{stage}/{task}/{name}" for task in products.study.tasks for name in names))


def of_corpora(products: Products, *names: str) -> tuple[str, ...]:
    return there(products, *(f"corpus/{corpus}/{name}" for corpus in products.corpora for name in names))


def of_runs(products: Products, *names: str) -> tuple[str, ...]:
    """Files of the first run of each task and model."""
    folders = []
    for task in products.study.tasks:
        for model in products.titles:
            folders += products.finetune_folders(task, model, max(products.study.fractions))[:1]
    runs = [str(folder.relative_to(products.results)) for folder in folders]
    return there(products, *(f"{run}/{name}" for run in runs for name in names))


def found(files: tuple[str, ...], facts: str) -> Evidence | None:
    """The evidence of files; None where none is there."""
    return Evidence(files, facts) if files else None


def ran(products: Products) -> list[str]:
    """Models of the study of which a run has predictions."""
    return [m for m in products.titles if any(products.ran(task, m) for task in products.study.tasks)]


def models(products: Products) -> Evidence | None:
    names = [products.titles[model] for model in ran(products)]
    pretrained = " after pretraining as masked autoencoders" if products.recipes else ""
    return found(
        of_runs(products, "run.json"), f"deep learning, image classification{pretrained}: {', '.join(names)}"
    )


def sources(products: Products) -> Evidence | None:
    said = []
    for name in products.used():
        entry = products.settings.datasets[name]
        simulated = ", simulated" if entry.simulated else ""
        doi = f", doi {entry.doi}" if entry.doi else ""
        said.append(f"{entry.title} (licence {entry.licence.name}{doi}{simulated})")
    files = of_corpora(products, "availability.csv", "curation.csv")
    return found((METHODS, *files), "; ".join(said)) if said else None


def flow(products: Products) -> Evidence | None:
    said = []
    for corpus in products.corpora:
        table = products.table("corpus", corpus, "curation.csv")
        if table is not None:
            sums = table.groupby("finding", sort=False)["frames"].sum()
            said.append(f"{corpus}: " + ", ".join(f"{what} {n:,}" for what, n in sums.items()))
    files = of_corpora(products, "curation.csv") + of_tasks(products, "finetune", "folds.json")
    return found(files, "; ".join(said)) if said else None


def preprocessing(products: Products) -> Evidence | None:
    said = []
    for name in products.corpora:
        corpus = products.settings.corpora[name]
        said.append(
            f"{name}: {corpus.size} px, channels {corpus.channels}, {corpus.resize}, {corpus.interpolation}, "
            f"{'cropped' if corpus.crop else 'not cropped'}, cleaning {corpus.cleaning}"
        )
    return found(of_corpora(products, "curation.csv", "samples.png"), "; ".join(said))


def frames(products: Products) -> Evidence | None:
    said = []
    for name in products.used():
        entry = products.settings.datasets[name]
        if entry.media != "image":
            sampling = ", ".join(
                f"{key} {value}" for key, value in entry.sampling.model_dump().items() if value
            )
            said.append(f"{entry.title}: {entry.media}, {sampling}")
    used = products.used()
    files = there(products, *(f"corpus/{c}/{d}/frames.parquet" for c in products.corpora for d in used))
    return found(files, "; ".join(said) or "whole stills; the crop of each frame is in the table")


def overlays(products: Products) -> Evidence | None:
    """Burnt-in text, which may name a person: how much of the frames it covers."""
    shares = [
        table["overlay_fraction"]
        for corpus in products.corpora
        for table in products.frames(corpus).values()
        if "overlay_fraction" in table
    ]
    if not shares:
        return None
    with_any = int((pd.concat(shares) > 0).sum())
    facts = f"{with_any:,} frames with burnt-in text or graphics; names were not looked for"
    return found(of_corpora(products, "curation.csv"), facts)


def missing(products: Products) -> Evidence | None:
    said = []
    for task in products.study.tasks:
        facts = products.json(products.results / "finetune" / task / "folds.json")
        if facts is not None:
            said.append(f"{task}: {facts.get('unlabelled', 0):,} frames without a usable label left out")
    return found(of_tasks(products, "finetune", "folds.json"), "; ".join(said))


def nothing(products: Products) -> Evidence | None:
    """The workflow reads nothing that shows it: how labels were obtained, rater agreement, dates."""
    return None


def labels(products: Products) -> Evidence | None:
    said = []
    for name in products.study.tasks:
        task = products.settings.tasks[name]
        classes = ", ".join(f"{class_name(c)} ({', '.join(of)})" for c, of in task.classes.items())
        said.append(f"{task.title}: {classes}; one prediction a frame")
    return found(of_tasks(products, "finetune", "folds.json"), "; ".join(said))


def level(products: Products, task: str) -> str:
    """At which level the parts of a task do not overlap: of patients only where the release tells them."""
    entry = products.settings.tasks[task]
    if products.simulated(entry.datasets):
        return "subject level, simulated subjects"
    told = products.table("corpus", entry.corpus, "availability.csv")
    known = None if told is None else told.set_index("dataset")["subjects"].reindex(entry.datasets)
    if known is None or known.isna().any():
        return "image level, patients unknown"
    return f"patient level by the release's column of subjects, {known.sum():,.0f} of them"


def levels(products: Products) -> Evidence | None:
    said = []
    for task in products.study.tasks:
        facts = products.json(products.results / "finetune" / task / "folds.json")
        if facts is not None:
            leaks = facts.get("leaks", 0)
            cut = f", but the official split cuts {leaks:,} groups" if leaks else ", no group on two sides"
            said.append(f"{task}: {level(products, task)}{cut}")
    files = of_tasks(products, "finetune", "folds.parquet") + of_corpora(
        products, "duplicates.parquet", "groups.parquet"
    )
    return found(files, "; ".join(said)) if said else None


def split(products: Products) -> Evidence | None:
    said = []
    for name in products.study.tasks:
        way = products.settings.tasks[name].split
        holdout = getattr(way, "holdout", 0) or getattr(way, "holdout_split", None)
        said.append(
            f"{name}: {way.kind} split, {count(way.folds, 'fold')}, hold-out {holdout or 'none'}, "
            f"validation {way.validation:g} of the rest, seed {way.seed}"
        )
    return found(of_tasks(products, "finetune", "folds.parquet"), "; ".join(said))


def inputs(products: Products) -> Evidence | None:
    sizes = {products.settings.tasks[task].corpus for task in products.study.tasks}
    said = [
        f"{products.settings.corpora[c].size} px, {products.settings.corpora[c].channels} channel(s)"
        for c in sorted(sizes)
    ]
    return found(
        of_runs(products, "run.json"),
        f"pixels only, {'; '.join(said)}; no other variable; masks are never an input",
    )


def architecture(products: Products) -> Evidence | None:
    said = []
    for name in ran(products):
        model, encoder = products.settings.models[name], products.settings.encoder_of(name)
        shape = f"timm {model.timm}"
        if encoder is not None:
            shape = f"ViT, width {encoder.width}, depth {encoder.depth}, patch {encoder.patch_size}"
        said.append(f"{model.title}: {shape}")
    return found(of_runs(products, "model.safetensors", "run.json"), "; ".join(said))


def software(products: Products) -> Evidence | None:
    runs = products.runs()
    if not runs:
        return None
    place = runs[0]["environment"]
    packages = ", ".join(f"{name} {version}" for name, version in place["packages"].items())
    facts = f"Python {place['python']}, {packages}; {place['processor']}, {place['device']}"
    return Evidence((METHODS, "tables/versions.csv"), facts)


def weights(products: Products) -> Evidence | None:
    said = []
    for name in ran(products):
        model = products.settings.models[name]
        start = {
            "scratch": f"random, seeds {', '.join(map(str, products.study.seeds))}",
            "pretrain": f"pretrained here, recipe {model.pretrain}",
            "checkpoint": f"published weights, {model.checkpoint}",
        }
        said.append(f"{model.title}: {start[model.weights]}")
    return found(of_runs(products, "run.json"), "; ".join(said))


def training(products: Products) -> Evidence | None:
    names = dict.fromkeys(products.settings.recipe_of(model) for model in ran(products))
    recipes = "; ".join(products.settings.recipes.finetune[name].title for name in names)
    return found(
        (METHODS, *files) if (files := of_runs(products, "history.parquet", "run.json")) else (), recipes
    )


def balance(products: Products) -> Evidence | None:
    names = dict.fromkeys(products.settings.recipe_of(model) for model in ran(products))
    said = []
    for name in names:
        recipe = products.settings.recipes.finetune[name]
        weighted = "loss weighted by class" if recipe.class_weights else "loss not weighted"
        said.append(f"{recipe.title}: {weighted}, {recipe.sampling} sampling")
    files = of_runs(products, "run.json") + of_tasks(products, "finetune", "folds.json")
    return found(files if said else (), "; ".join(said))


def plan(products: Products) -> Evidence | None:
    commits = dict.fromkeys(run["git"]["commit"][:12] for run in products.runs())
    said = ", ".join(
        f"{task}: {metric_name(products.settings.tasks[task].metric)}" for task in products.study.tasks
    )
    reference = products.titles[products.study.reference]
    facts = f"primary metric of the configuration ({said}); {reference} against every other model"
    return found((METHODS,) if commits else (), f"{facts}; commit {', '.join(commits)}")


def repository(products: Products) -> Evidence | None:
    commits = dict.fromkeys(run["git"]["commit"] for run in products.runs())
    return found(
        (METHODS,) if commits else (), f"commit {', '.join(commits)}; the whole configuration is printed"
    )


def access(products: Products) -> Evidence | None:
    files = of_runs(products, "model.safetensors", "run.json")
    licences = sources(products)
    facts = "digests of weights and data in each run.json; code MIT"
    return found(
        (METHODS, *files) if files and licences else (), f"{facts}; {licences.facts if licences else ''}"
    )
