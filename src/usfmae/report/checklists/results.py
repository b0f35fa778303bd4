"""What a run can show of its results: performance with n and interval, external data, warnings."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from usfmae.report.checklists.evidence import (
    METHODS,
    Evidence,
    found,
    level,
    of_runs,
    of_tasks,
    ran,
    there,
)
from usfmae.report.products import Products
from usfmae.report.words import count, estimate_name, metric_name, sample, with_interval
from usfmae.settings.claims import METRICS

FEW_FOLDS, FEW_SUBJECTS = 5, 100


def external_sources(
    tested: Collection[str], trained: Collection[str], pretrained: Collection[str] | None
) -> list[str]:
    """Datasets tested on and seen nowhere else; none where it is not known what was pretrained on."""
    if pretrained is None:
        return []
    return sorted(set(tested) - set(trained) - set(pretrained))


def external(products: Products) -> Evidence | None:
    """Only where the source of a test is in no training part and in no pretraining corpus."""
    outside: dict[str, list[str]] = {}
    for task in products.study.tasks:
        split = products.table("finetune", task, "folds.parquet")
        if split is not None:
            source = split["frame_id"].str.split("/").str[0]
            trained = source[split["role"].isin(["train", "validation"])]
            tested = source[split["role"].isin(["test", "holdout"])]
            outside[task] = external_sources(set(tested), set(trained), pretrained_on(products, task))
    said = "; ".join(f"{task}: {', '.join(names)}" for task, names in outside.items() if names)
    return (
        found(of_tasks(products, "finetune", "folds.parquet"), f"external sources, {said}") if said else None
    )


def pretrained_on(products: Products, task: str) -> set[str] | None:
    """Datasets that an encoder of the study was pretrained on; None where published weights do not tell."""
    settings, names = products.settings, set[str]()
    for model in products.titles:
        recipes = [settings.recipes.pretrain[recipe] for recipe in settings.pretrain_of(model, 0)]
        for recipe in recipes:
            names |= set(settings.members(recipe.corpus))
        starts = [settings.models[model].checkpoint, *(recipe.initial_weights for recipe in recipes)]
        for start in filter(None, starts):
            seen = settings.checkpoints[start].seen
            if seen is None and products.ran(task, model):
                return None
            names |= set(seen or [])
    return names


def performance(products: Products) -> Evidence | None:
    """The primary metric of each model, each with n, unit, interval and method; none without an interval."""
    said: list[str] = []
    for task in products.study.tasks:
        summary = products.statistics(task).get("summary")
        if summary is not None:
            of = summary, products.settings.tasks[task].metric, products.titles, level(products, task)
            said += [f"{task}: {line}" for line in sentences(*of)]
    return found(of_tasks(products, "statistics", "summary.csv", "summary_subjects.csv"), "; ".join(said))


def sentences(summary: pd.DataFrame, metric: str, titles: dict[str, str], unit: str) -> list[str]:
    """A line an estimate with the same n and kind of interval: metric, unit, n, interval, then each model's
    value. A value without an interval is not given; the line says so."""
    rows = summary[
        (summary["metric"] == metric) & summary["estimate"].isin(["pooled", "mean of fold models"])
    ]
    lines = []
    keys = ["role", "estimate", "n_frames", "n_subjects", "interval"]
    for (role, estimate, n_frames, n_subjects, interval), part in rows.groupby(
        keys, sort=False, dropna=False
    ):
        n = f"n = {sample(n_frames, n_subjects)} ({unit})"
        given = part[part["lower"].notna()]
        values = [
            f"{titles[row['model']]} {with_interval(row['value'], row['lower'], row['upper'])}"
            for _, row in given.iterrows()
        ]
        values += [f"{titles[model]} not given, no interval" for model in part["model"][part["lower"].isna()]]
        what = f"{metric_name(metric)}, {estimate_name(role, estimate, part['n_folds'].max())}"
        lines.append(f"{what}, {n}, interval {interval}: {', '.join(values)}")
    return lines


def precision(products: Products) -> Evidence | None:
    """The size of the test part and the width of the interval that it gave."""
    said = []
    for task in products.study.tasks:
        summary = products.statistics(task).get("summary")
        if summary is None:
            continue
        rows = summary[
            (summary["metric"] == products.settings.tasks[task].metric) & (summary["estimate"] == "pooled")
        ]
        if len(rows):
            widths = rows["upper"] - rows["lower"]
            first = rows.iloc[0]
            n = sample(first["n_frames"], first["n_subjects"])
            said.append(f"{task}: {n}, intervals {widths.min():.2f} to {widths.max():.2f} wide")
    return found(of_tasks(products, "statistics", "summary.csv"), "; ".join(said)) if said else None


def partitions(products: Products) -> Evidence | None:
    files = of_tasks(products, "finetune", "folds.parquet")
    return found(files, "frames of each class and subjects, by fold and part")


def metrics(products: Products) -> Evidence | None:
    names: dict[str, None] = {}
    for task in products.study.tasks:
        table = products.statistics(task).get("summary")
        names |= dict.fromkeys([] if table is None else table["metric"].dropna())
    shown = ", ".join(metric_name(name) for name in names if name in (*METRICS, "f1"))
    return found(of_tasks(products, "statistics", "summary.csv"), shown) if names else None


def uncertainty(products: Products) -> Evidence | None:
    tests: dict[str, None] = {}
    for task in products.study.tasks:
        table = products.statistics(task).get("comparisons")
        if table is not None:
            tests |= dict.fromkeys(table.loc[table["method"] != "not made", "test"])
    resamples = f"{products.settings.statistics.resamples:,} bootstrap resamples of subjects"
    return found(
        of_tasks(products, "statistics", "comparisons.csv"), f"{resamples}; {', '.join(tests)}; Holm"
    )


def folds(products: Products) -> Evidence | None:
    return found(
        of_tasks(products, "statistics", "fold_metrics.csv"), "every metric of each test fold and seed"
    )


def calibration(products: Products) -> Evidence | None:
    files = of_tasks(products, "statistics", "calibration.csv", "reliability.csv", "roc.parquet")
    return found(
        files, "ROC curves; calibration before and after one temperature a run, fitted on validation"
    )


def ensembles(products: Products) -> Evidence | None:
    holdout = [
        task
        for task in products.study.tasks
        if (table := products.statistics(task).get("summary")) is not None
        and (table["estimate"] == "averaged probability").any()
    ]
    if not ran(products):
        return None
    if not holdout:
        return Evidence(not_applicable="no models were combined")
    return Evidence(
        of_tasks(products, "statistics", "summary.csv"),
        f"{', '.join(holdout)}: fold models, equal weights, on the hold-out",
    )


def updating(products: Products) -> Evidence | None:
    files = of_tasks(products, "statistics", "decisions.csv")
    return found(
        files, "one temperature and, of two classes, a threshold a run, fitted on its validation part"
    )


def thresholds(products: Products) -> Evidence | None:
    files = of_tasks(products, "statistics", "decisions.csv")
    return found(
        files,
        "probabilities; of two classes the threshold with the best Youden index on validation",
    )


def predictions(products: Products) -> Evidence | None:
    return found(of_runs(products, "predictions.parquet", "run.json"), "weights by sha256 in each run.json")


def refusals(products: Products) -> Evidence | None:
    names = [
        f"export/{t}/{m}/model.json" for t in products.study.tasks for m in products.study.explain.models
    ]
    return found(
        there(products, *names), "what `usfmae predict` refuses and flags stands beside the exported model"
    )


def warnings(products: Products) -> Evidence | None:
    """What the run itself says against its results."""
    said = []
    for task in products.study.tasks:
        facts = products.json(products.results / "finetune" / task / "folds.json")
        if facts is None:
            continue
        entry = products.settings.tasks[task]
        if products.simulated(entry.datasets):
            said.append(f"{task}: simulated data")
        if "patients unknown" in level(products, task):
            said.append(f"{task}: image level, patients unknown")
        if facts.get("leaks"):
            said.append(f"{task}: the official split cuts {facts['leaks']:,} groups")
        if entry.split.folds < FEW_FOLDS:
            said.append(f"{task}: {count(entry.split.folds, 'fold')} only")
        summary = products.statistics(task).get("summary")
        if summary is not None and summary["n_subjects"].max() < FEW_SUBJECTS:
            said.append(f"{task}: {summary['n_subjects'].max():,.0f} subjects only")
        if entry.notes:
            said.append(f"{task}: {entry.notes}")
    if said and external(products) is None:
        said.append("no test on a source outside training and pretraining")
    return found((METHODS,) if said else (), "; ".join(said))
