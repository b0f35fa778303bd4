"""The sections of the page: each gathers its figures, tables and sentences for the template."""

from __future__ import annotations

from typing import Any

import pandas as pd
import yaml

from usfmae.record import flatten
from usfmae.report import figures_results, figures_training, headline, tables
from usfmae.report.exhibits import Exhibits, Picture, Table, embedded
from usfmae.report.products import Products
from usfmae.report.words import ESTIMATES, NOT_RUN, count, duration, estimate_name, metric_name

Section = dict[str, Any]


def overview(products: Products, exhibits: Exhibits) -> Section:
    """A headline for each task, what the study is made of, and how long it took."""
    runs = products.runs()
    kept = {
        name: table[table["drop_reason"].isna()]
        for corpus in products.corpora
        for name, table in products.frames(corpus).items()
    }
    frames = sum(len(table) for table in kept.values())
    subjects = sum(table["subject"].nunique() for table in kept.values())
    ran = [
        model
        for model in products.titles
        if any(products.finetune_folder(task, model) for task in products.study.tasks)
    ]
    headlines = []
    for name in products.study.tasks:
        task, found = products.settings.tasks[name], products.statistics(name)
        sentences = ["No result yet."]
        if "summary" in found:
            sentences = [headline.best_model(found["summary"], task.metric, products.titles)]
        if "comparisons" in found:
            sentences.append(
                headline.foundation_against_scratch(products.settings, found["comparisons"], task.metric)
            )
        headlines.append(
            {
                "key": name,
                "title": task.title,
                "simulated": bool(products.simulated(task.datasets)),
                "sentences": [sentence for sentence in sentences if sentence],
            }
        )
    return {
        "headlines": headlines,
        "facts": [
            (f"{len(kept):,}", "datasets"),
            (f"{frames:,}", "frames"),
            (f"{subjects:,}", "subjects"),
            (f"{len(ran)} of {len(products.titles)}", "models ran"),
            (f"{len(runs):,}", "recorded runs"),
            (duration(sum(run["seconds"] for run in runs)), "computing, summed over runs"),
        ],
        "stages": exhibits.table(
            "stages", tables.stage_table(runs), "Time and memory of each stage, from the run records.", {"Stage"}
        )
        if runs
        else None,
    }


def corpus(name: str, products: Products, exhibits: Exhibits) -> Section:
    """Counts, samples, what was dropped and why, duplicates."""
    folder, settings = products.results / "corpus" / name, products.settings.corpora[name]
    frames, found, pairs = (
        products.frames(name),
        products.table("corpus", name, "curation.csv"),
        products.table("corpus", name, "duplicates.parquet"),
    )
    parts: list[Table | Picture] = []
    if frames:
        counts = tables.dataset_table(frames, products.settings)
        prose = {"Dataset", "Source", "Labels (frames)"}
        parts.append(exhibits.table(f"{name}_datasets", counts, "Frames and subjects by dataset.", prose))
    if (folder / "samples.png").exists():
        alt = f"A row of sample frames for each of the datasets {', '.join(settings.datasets)}."
        parts.append(embedded(folder / "samples", alt, "Sample frames after curation, with the release's labels."))
    if found is not None:
        shown = found.astype(str).rename(columns=str.capitalize)
        caption = "What curation kept, dropped and flagged, and why."
        parts.append(exhibits.table(f"{name}_curation", shown, caption, {"Dataset", "Finding"}))
    if pairs is not None and len(pairs):
        across = int(pairs["across_subjects"].sum())
        caption = (
            f"{count(len(pairs), 'pair')} of frames that show the same picture, {across} of them across subjects. "
            "All frames of both subjects then stay on one side of every split. The first 30 are listed."
        )
        prose = {"Frame", "The same picture as", "Kind", "Across subjects", "Labels differ"}
        parts.append(exhibits.table(f"{name}_duplicates", tables.duplicates_table(pairs), caption, prose))
        if (folder / "duplicates.png").exists():
            alt = f"Contact sheet of {len(pairs)} pairs of duplicate frames."
            parts.append(embedded(folder / "duplicates", alt, "The pairs side by side."))
    return {
        "title": name,
        "size": settings.size,
        "simulated": bool(products.simulated(settings.datasets)),
        "no_duplicates": pairs is not None and pairs.empty,
        "parts": parts,
    }


def pretraining(name: str, products: Products, exhibits: Exhibits) -> Section:
    """Loss, reconstructions and settings of a recipe."""
    recipe = products.settings.recipes.pretrain[name]
    folder, out = products.results / "pretrain" / name, exhibits.figures
    simulated = bool(products.simulated(products.settings.corpora[recipe.corpus].datasets))
    parts: list[Table | Picture] = []
    history, run = products.table("pretrain", name, "history.parquet"), products.json(folder / "run.json")
    if history is not None:
        figures_training.loss_curve(history, out / f"{name}_loss", simulated=simulated)
        last = history.iloc[-1]
        alt = f"Loss by epoch, at the end {last['train_loss']:.4g} in training, {last['validation_loss']:.4g} in validation."
        parts.append(embedded(out / f"{name}_loss", alt, "Loss over the masked patches."))
    if (folder / "reconstructions.npz").exists():
        figures_training.reconstructions(
            folder / "reconstructions.npz", out / f"{name}_reconstructions", simulated=simulated
        )
        alt = "Validation frames: original, with masked patches tinted, and reconstructed."
        caption = (
            f"Validation frames. {recipe.mask_ratio:.0%} of the patches are hidden (tinted); the third row shows "
            "what the model fills in."
        )
        parts.append(embedded(out / f"{name}_reconstructions", alt, caption))
    encoder = products.settings.encoders[recipe.encoder]
    values = flatten(recipe.model_dump(exclude={"title"}) | {"encoder": encoder.model_dump()})
    frame = pd.DataFrame({"Setting": list(values), "Value": [str(value) for value in values.values()]})
    table = exhibits.table(f"{name}_settings", frame, "Settings of the recipe.", {"Setting", "Value"})
    return {
        "key": name,
        "title": recipe.title,
        "simulated": simulated,
        "counts": run["counts"] if run else None,
        "seconds": duration(run["seconds"]) if run else None,
        "parts": parts,
        "settings": table,
    }


def task(name: str, products: Products, exhibits: Exhibits) -> Section:
    """Everything about one task."""
    settings, titles = products.settings.tasks[name], products.titles
    found = products.statistics(name)
    folds = products.table("finetune", name, "folds.parquet")
    facts = products.json(products.results / "finetune" / name / "folds.json") or {}
    split = None
    if folds is not None:
        shown = tables.split_table(folds, list(settings.classes))
        split = exhibits.table(f"{name}_split", shown, "Subjects and frames of each part.", {"Fold", "Part"})
    return {
        "key": name,
        "title": settings.title,
        "metric": metric_name(settings.metric),
        "classes": {each: ", ".join(labels) for each, labels in settings.classes.items()},
        "notes": settings.notes,
        "simulated": bool(products.simulated(settings.datasets)),
        "datasets": [products.settings.datasets[each].title for each in settings.datasets],
        "unlabelled": facts.get("unlabelled", 0),
        "leaks": facts.get("leaks", 0),
        "missing": [titles[model] for model in titles if products.finetune_folder(name, model) is None],
        "not_run": NOT_RUN,
        "split": split,
        **_results(name, found, products, exhibits),
        "explanations": _explanations(name, products, exhibits),
    }


def _results(
    name: str, found: dict[str, pd.DataFrame], products: Products, exhibits: Exhibits
) -> dict[str, list[Any]]:
    """`results`, `details`, `comparison`: tables and pictures; `hypotheses`: sentences."""
    settings, titles, out = products.settings.tasks[name], products.titles, exhibits.figures
    metric, simulated = metric_name(settings.metric), bool(products.simulated(settings.datasets))
    results: list[Table | Picture] = []
    details: list[Table | Picture] = []
    comparison: list[Table | Picture] = []
    summary, values = found.get("summary"), found.get("fold_metrics")
    if summary is not None and len(summary):
        shown = tables.primary_table(summary, settings.metric, titles)
        ways = "; ".join(f"{_estimate(row)}: {row['interval']}" for row in _ways(summary))
        caption = f"{metric} with 95 % intervals. {ways}."
        results.append(exhibits.table(f"{name}_summary", shown, caption, {"Model"}))
        ran = {(row["role"], row["estimate"]): row for row in _ways(summary)}
        best = ("holdout", "mean of fold models")
        main = best if best in ran else ("test", "pooled")
        for key in [key for key in ESTIMATES if key in ran]:
            n = f"{count(ran[key]['n_frames'], 'frame')} of {count(ran[key]['n_subjects'], 'subject')}"
            caption = f"{estimate_name(*key)}: {n}, 95 % intervals."
            if key == main:
                shown = tables.metrics_table(summary, *key, titles, only=tables.MAIN_METRICS)
                results.append(exhibits.table(f"{name}_metrics", shown, caption, {"Metric"}))
            shown = tables.metrics_table(summary, *key, titles)
            file = f"{name}_metrics_{key[0]}_{key[1].replace(' ', '_')}"
            details.append(exhibits.table(file, shown, caption, {"Metric"}))
    if (roc := found.get("roc")) is not None and len(roc):
        figures_results.roc_curves(roc, titles, out / f"{name}_roc", simulated=simulated)
        areas = roc.drop_duplicates(["model", "role", "class"])
        words = "; ".join(f"{titles[r.model]}, {r.role}, {r._3}: {r.auc:.2f}" for r in areas[["model", "role", "class", "auc"]].itertuples())
        caption = "ROC curves with pointwise 95 % bands over resampled subjects."
        if len(settings.classes) > 2:
            caption += " Each panel sets one class against the rest."
        results.append(embedded(out / f"{name}_roc", f"ROC curves. Areas: {words}.", caption))
    if (confusion := found.get("confusion")) is not None and len(confusion):
        figures_results.confusion_matrices(
            confusion, list(settings.classes), titles, out / f"{name}_confusion", simulated=simulated
        )
        caption = "Frames by label and prediction; the shade is the share of the label's frames."
        if len(settings.classes) == 2:
            caption += " The threshold was chosen on each fold's validation part."
        results.append(embedded(out / f"{name}_confusion", "Confusion matrices, a panel a model.", caption))
    if values is not None and summary is not None and len(values):
        shown = tables.folds_table(values, summary, settings.metric, titles)
        caption = f"{metric} of each test fold, the mean over seeds."
        results.append(exhibits.table(f"{name}_folds", shown, caption, {"Model"}))
        figures_results.fold_values(
            values, summary, settings.metric, metric, titles, out / f"{name}_folds", simulated=simulated
        )
        caption = f"{metric} by fold: a dot a fold, lines tie the same fold; diamonds are means with 95 % intervals."
        results.append(embedded(out / f"{name}_folds", f"{metric} of each fold and model.", caption))
    histories = products.histories(name)
    if histories:
        figures_training.finetune_curves(
            histories, titles, metric, out / f"{name}_training", simulated=simulated
        )
        caption = "Validation score while fine-tuning: a thin line a fold and seed, their mean in bold."
        details.append(embedded(out / f"{name}_training", "Validation score by epoch, a panel a model.", caption))
    tests = found.get("comparisons")
    if tests is not None and len(tests):
        reference = titles[products.study.reference]
        caption = f"{metric}: {reference} minus the model named in the row."
        prose = {"Against", "On", "Test"}
        comparison.append(
            exhibits.table(f"{name}_comparisons", tables.comparisons_table(tests, titles), caption, prose)
        )
        if tests["lower"].notna().any():
            figures_results.paired_differences(
                tests, metric, titles, out / f"{name}_differences", simulated=simulated
            )
            caption = "The same differences with 95 % intervals. Right of zero the reference is better."
            comparison.append(embedded(out / f"{name}_differences", "Differences between models.", caption))
    return {
        "results": results,
        "details": details,
        "comparison": comparison,
        "hypotheses": headline.hypotheses(tests) if tests is not None else [],
    }


def _ways(summary: pd.DataFrame) -> list[Any]:
    """A row of each estimate, for its n and the kind of its interval."""
    return [row for _, row in summary.drop_duplicates(["role", "estimate"]).iterrows()]


def _estimate(row: Any) -> str:
    return estimate_name(row["role"], row["estimate"])


def _explanations(name: str, products: Products, exhibits: Exhibits) -> list[Section]:
    """Score-CAM panels and the faithfulness table of each explained model."""
    sections = []
    for model in products.study.explain.models:
        folder, title = products.results / "explain" / name / model, products.titles[model]
        parts: list[Table | Picture] = []
        if (folder / "panels.png").exists():
            alt = f"Score-CAM panels of {title}: input, map, overlay and mask outline."
            caption = "Chosen by rule for each label: the surest and the median correct frame, the surest wrong one."
            parts.append(embedded(folder / "panels", alt, caption))
        measures = products.table("explain", name, model, "faithfulness.csv")
        if measures is not None:
            shown = tables.faithfulness_table(measures)
            caption = "Does the map show what the model uses? A map is worth little unless it beats the centred blob."
            prose = {"Measure", "How to read it"}
            parts.append(exhibits.table(f"{name}_{model}_faithfulness", shown, caption, prose))
        sections.append({"title": title, "parts": parts, "missing": not parts})
    return sections


def methods(products: Products, exhibits: Exhibits) -> Section:
    """Seeds, versions, configuration, licences."""
    settings, runs = products.settings, products.runs()
    seeds = {
        "training": ", ".join(map(str, products.study.seeds)),
        "statistics": str(settings.statistics.seed),
        **{f"pretraining {name}": str(settings.recipes.pretrain[name].seed) for name in products.study.pretrain},
        **{f"split of {name}": str(settings.tasks[name].split.seed) for name in products.study.tasks},
    }
    licences = tables.licence_table(products.datasets, settings)
    return {
        "seeds": seeds,
        "resamples": f"{settings.statistics.resamples:,}",
        "recipe": settings.recipes.finetune[products.study.recipe].title,
        "versions": exhibits.table(
            "versions", tables.versions_table(runs), "Versions, from the run records.", {"What", "Version"}
        )
        if runs
        else None,
        "licences": exhibits.table(
            "licences", licences, "Licences and citations of the datasets.", set(licences.columns)
        ),
        "configuration": yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
    }
