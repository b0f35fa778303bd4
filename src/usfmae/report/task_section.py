"""The page's section of one task: data, results, comparisons, explanations."""

from __future__ import annotations

from typing import Any

import pandas as pd

from usfmae.report import (
    checks_section,
    comparison_section,
    curves_section,
    figures_comparisons,
    figures_results,
    figures_training,
    headline,
    tables,
)
from usfmae.report.exhibits import Exhibits, Picture, Table, embedded
from usfmae.report.explain_section import explanations
from usfmae.report.products import Products
from usfmae.report.seen import seen_sentences
from usfmae.report.words import (
    NOT_RUN,
    estimate_name,
    metric_name,
    of_which_predictions,
    sample,
    shown_estimates,
)

Parts = list[Table | Picture]


def task_section(name: str, products: Products, exhibits: Exhibits) -> dict[str, Any]:
    """Everything about one task, for the template."""
    task, found = products.settings.tasks[name], products.statistics(name)
    missing = _missing_data(name, products)
    folds = products.table("finetune", name, "folds.parquet")
    facts = products.json(products.results / "finetune" / name / "folds.json") or {}
    details: Parts = []
    if folds is not None:
        shown = tables.split_table(folds, list(task.classes))
        caption = "Subjects and frames of each part, frames also by class."
        details.append(exhibits.table(f"{name}_split", shown, caption, {"Fold", "Part"}))
    summary = found.get("summary")
    results: Parts = []
    if summary is not None and len(summary):
        results = _summary(name, summary, products, exhibits)
        details += _all_metrics(name, summary, products, exhibits)
    results += _curves_and_counts(name, found, products, exhibits)
    if summary is not None and "fold_metrics" in found:
        results += _folds(name, found["fold_metrics"], summary, products, exhibits)
    if "label_efficiency" in found:
        results += checks_section.label_efficiency_parts(name, found["label_efficiency"], products, exhibits)
    if "subgroups" in found:
        results += checks_section.subgroup_parts(name, found["subgroups"], products, exhibits)
    if "shortcuts" in found:
        results += checks_section.shortcut_parts(name, found["shortcuts"], products, exhibits)
    if "summary_subjects" in found:
        details += checks_section.subjects_parts(name, found["summary_subjects"], products, exhibits)
    if "calibration" in found:
        tables_of = found["calibration"], found["reliability"]
        details += checks_section.calibration_parts(name, *tables_of, products, exhibits)
    details += _training(name, products, exhibits)
    tests = comparison_section.main_tests(found.get("comparisons", pd.DataFrame()))
    return {
        "key": name,
        "title": task.title,
        "metric": metric_name(task.metric),
        "classes": {each: ", ".join(labels) for each, labels in task.classes.items()},
        "notes": task.notes,
        "simulated": bool(products.simulated(task.datasets)),
        "datasets": [products.settings.datasets[each].title for each in task.datasets],
        "unlabelled": facts.get("unlabelled", 0),
        "seen": [] if folds is None else seen_sentences(name, folds, products),
        "leaks": facts.get("leaks", 0),
        "not_run": missing
        or [
            f"{title}: {NOT_RUN}" for model, title in products.titles.items() if not products.ran(name, model)
        ],
        "results": results,
        "comparison": _comparison(name, tests, products, exhibits) if len(tests) else [],
        "hypotheses": headline.hypotheses(tests) if len(tests) else [],
        "explanations": [] if missing else explanations(name, products, exhibits),
        "details": details,
    }


def _missing_data(name: str, products: Products) -> list[str]:
    """Which of a task's releases could not be had, and why: then it was not run."""
    task = products.settings.tasks[name]
    found = products.table("corpus", task.corpus, "availability.csv")
    if found is None:
        return []
    gone = found[found["dataset"].isin(task.datasets) & (found["status"] == "unavailable")]
    return [
        f"not run (data missing): {products.settings.datasets[row.dataset].title}, {row.reason}"
        for row in gone.itertuples()
    ]


def _summary(name: str, summary: pd.DataFrame, products: Products, exhibits: Exhibits) -> Parts:
    """The primary metric of all estimates, and the main metrics of the estimate that counts most."""
    metric, titles = products.settings.tasks[name].metric, products.titles
    sizes = _sizes(summary)
    folds = summary["n_folds"].max()
    ways = [f"{estimate_name(*key, folds)}: {n}, {interval}" for key, (n, interval) in sizes.items()]
    caption = f"{metric_name(metric)} with 95 % intervals. {'; '.join(ways)}."
    primary = exhibits.table(
        f"{name}_summary", tables.primary_table(summary, metric, titles), caption, {"Model"}
    )
    main = ("holdout", "mean of fold models")
    if main not in sizes:
        main = ("test", "pooled")
    shown = tables.metrics_table(summary, *main, titles, only=tables.MAIN_METRICS)
    caption = f"{estimate_name(*main, folds)}: {sizes[main][0]}, 95 % intervals."
    return [primary, exhibits.table(f"{name}_metrics", shown, caption, {"Metric"})]


def _all_metrics(name: str, summary: pd.DataFrame, products: Products, exhibits: Exhibits) -> Parts:
    parts: Parts = []
    for (role, estimate), (n, _) in _sizes(summary).items():
        shown = tables.metrics_table(summary, role, estimate, products.titles)
        file = f"{name}_metrics_{role}_{estimate.replace(' ', '_')}"
        named = estimate_name(role, estimate, summary["n_folds"].max())
        caption = f"All metrics. {named}: {n}, 95 % intervals."
        parts.append(exhibits.table(file, shown, caption, {"Metric"}))
    return parts


def _sizes(summary: pd.DataFrame) -> dict[tuple[str, str], tuple[str, str]]:
    """(role, estimate) -> (its n in words, the kind of its interval)."""
    first = summary.drop_duplicates(["role", "estimate"]).set_index(["role", "estimate"])
    return {
        key: (
            sample(row["n_frames"], row["n_subjects"]),
            str(row["interval"]).removeprefix("95 %, "),
        )
        for key, row in ((key, first.loc[key]) for key in shown_estimates(summary))
    }


def _curves_and_counts(
    name: str, found: dict[str, pd.DataFrame], products: Products, exhibits: Exhibits
) -> Parts:
    task, titles, out = products.settings.tasks[name], products.titles, exhibits.figures
    simulated = bool(products.simulated(task.datasets))
    parts: Parts = [*curves_section.curves_parts(name, found, products, exhibits)]
    if "confusion" in found:
        figures_results.confusion_matrices(
            found["confusion"], list(task.classes), titles, out / f"{name}_confusion", simulated=simulated
        )
        caption = "Frames by label and prediction; the shade is the share of the label's frames."
        if len(task.classes) > figures_results.FEW_CLASSES:
            caption += " The numbers are that share in per cent."
        if len(task.classes) == 2:
            caption += " The threshold was chosen on each fold's validation part."
        caption += of_which_predictions(found["confusion"])
        parts.append(embedded(out / f"{name}_confusion", "Confusion matrices, a panel a model.", caption))
    return parts


def _folds(
    name: str, values: pd.DataFrame, summary: pd.DataFrame, products: Products, exhibits: Exhibits
) -> Parts:
    task, titles, out = products.settings.tasks[name], products.titles, exhibits.figures / f"{name}_folds"
    metric, simulated = metric_name(task.metric), bool(products.simulated(task.datasets))
    shown = tables.folds_table(values, summary, task.metric, titles)
    caption = f"{metric} of each test fold, the mean over seeds."
    table = exhibits.table(f"{name}_folds", shown, caption, {"Model"})
    figures_results.fold_values(values, summary, task.metric, metric, titles, out, simulated=simulated)
    caption = (
        f"{metric} by fold: a dot a fold, lines tie the same fold; diamonds are means with 95 % intervals."
    )
    return [table, embedded(out, f"{metric} of each fold and model, as in the table above.", caption)]


def _training(name: str, products: Products, exhibits: Exhibits) -> Parts:
    task, out = products.settings.tasks[name], exhibits.figures / f"{name}_training"
    histories = products.histories(name)
    if not histories:
        return []
    metric, simulated = metric_name(task.metric), bool(products.simulated(task.datasets))
    figures_training.finetune_curves(histories, products.titles, metric, out, simulated=simulated)
    caption = "Validation score while fine-tuning: a thin line a fold and seed, their mean in bold."
    return [embedded(out, "Validation score by epoch, a panel a model.", caption)]


def _comparison(name: str, tests: pd.DataFrame, products: Products, exhibits: Exhibits) -> Parts:
    task, titles, out = (
        products.settings.tasks[name],
        products.titles,
        exhibits.figures / f"{name}_differences",
    )
    metric, reference = metric_name(task.metric), titles[products.study.reference]
    shown = tables.comparisons_table(tests, titles)
    caption = f"{metric}: {reference} minus the model named in the row."
    caption += comparison_section.write_all_tests(name, products, exhibits)
    parts: Parts = [exhibits.table(f"{name}_comparisons", shown, caption, {"Against", "On", "Test"})]
    rows = figures_comparisons.forest_rows(tests, products.study.reference, task.metric)
    if len(rows):
        simulated = bool(products.simulated(task.datasets))
        figures_comparisons.paired_differences(rows, metric, titles, out, simulated=simulated)
        caption = (
            f"{metric}: {reference} minus each other model, with 95 % intervals, by the test that gave them. "
            "Right of zero the first model has the higher value. The corrected t asks about training again "
            "on other subjects, the bootstrap about these trained models on new subjects."
        )
        parts.append(
            embedded(out, "Differences between models with intervals, also in the table above.", caption)
        )
    return parts
