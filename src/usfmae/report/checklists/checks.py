"""What a run can show of its checks: reads of the test parts, robustness, explanations, errors. Each fact is
read from the file that shows it."""

from __future__ import annotations

import pandas as pd

from usfmae.report.checklists.evidence import Evidence, found, of_runs, of_tasks
from usfmae.report.products import Products
from usfmae.report.words import count, method_name


def selection(products: Products) -> Evidence | None:
    """How the final model was chosen, and how often a test part was read: predicted by the runs, and again
    for shortcut tests and maps."""
    said, again = [], []
    for task in products.study.tasks:
        split = products.table("finetune", task, "folds.parquet")
        if split is None:
            continue
        reads = sum(
            (folder / "predictions.parquet").exists()
            for model in products.titles
            for fraction in products.study.fractions
            for folder in products.finetune_folders(task, model, fraction)
        )
        line = f"{task}: {chosen_on(split)}; test parts predicted by {count(reads, 'run')}"
        changed = changed_frames(products, task)
        if len(changed):
            again.append(f"statistics/{task}/shortcuts.csv")
            line += f"; read again for the shortcut tests of {count(changed['model'].nunique(), 'model')}"
        for model, frames in explained(products, task, "selection.parquet").items():
            again.append(f"explain/{task}/{model}/selection.parquet")
            line += f"; {count(len(frames), 'frame')} read again for maps of {products.titles[model]}"
        said.append(line)
    files = of_tasks(products, "statistics", "decisions.csv") or of_runs(products, "run.json")
    return found((*files, *again) if files else (), "; ".join(said))


def chosen_on(split: pd.DataFrame) -> str:
    """Which rows chose the epoch, from `folds.parquet`: those of validation, if a fold has its own."""
    for _, fold in split.groupby("fold"):
        own = set(fold.loc[fold["role"] == "validation", "frame_id"])
        tested = set(fold.loc[fold["role"].isin(["test", "holdout"]), "frame_id"])
        if not own or own & tested:
            return "the best epoch was chosen on the test fold"
    return "the best epoch was chosen on the validation part of each fold, before its test part was read"


def changed_frames(products: Products, task: str) -> pd.DataFrame:
    """Rows of `shortcuts.csv` of models that judged changed test frames, empty where none did: a model may
    keep no network, and a task may have no masks."""
    table = products.statistics(task).get("shortcuts")
    if table is None:
        return pd.DataFrame(columns=["model", "shown"])
    return table[table["value"].notna() & table["shown"].notna() & (table["shown"] != "whole frame")]


def explained(products: Products, task: str, file: str) -> dict[str, pd.DataFrame]:
    """A table of the explain stage by model, of the study's explained models that have it."""
    tables = {model: products.table("explain", task, model, file) for model in products.study.explain.models}
    return {model: table for model, table in tables.items() if table is not None}


def robustness(products: Products) -> Evidence | None:
    """Several seeds, fewer labels and frames without the lesion, each where a table has figures of it."""
    said, files = [], []
    for task in products.study.tasks:
        tables = products.statistics(task)
        seeds = tables["fold_metrics"]["seed"].nunique() if "fold_metrics" in tables else 0
        if seeds > 1:
            files.append(f"statistics/{task}/fold_metrics.csv")
            said.append(f"{task}: {count(seeds, 'seed')} on the same folds")
        if "label_efficiency" in tables:
            given = tables["label_efficiency"].dropna(subset="value")["fraction"].unique()
            if len(given) > 1:
                files.append(f"statistics/{task}/label_efficiency.csv")
                said.append(
                    f"{task}: shares of training subjects {', '.join(f'{f:g}' for f in sorted(given))}"
                )
        changed = changed_frames(products, task)
        if len(changed):
            files.append(f"statistics/{task}/shortcuts.csv")
            models = count(changed["model"].nunique(), "model")
            said.append(f"{task}: frames {', '.join(changed['shown'].unique())}, {models}")
    return found(tuple(files), "; ".join(said))


def explanation(products: Products) -> Evidence | None:
    """The methods that were measured; how Score-CAM was set only where it is one of them."""
    files, methods, blob = [], dict[str, None](), False
    for task in products.study.tasks:
        for model, table in explained(products, task, "faithfulness.csv").items():
            measured = table.dropna(subset="measure")  # a method that does not apply has a row without
            if len(measured):
                files.append(f"explain/{task}/{model}/faithfulness.csv")
                methods |= dict.fromkeys(measured["method"])
                blob = blob or bool(measured["baseline"].notna().any())
    said = ", ".join(method_name(method) for method in methods)
    if "score_cam" in methods:
        recipe = products.settings.recipes.explain[products.study.explain.recipe]
        said += f"; score {recipe.score} and baseline {recipe.baseline} of Score-CAM"
    return found(tuple(files), f"{said}; measured beside a centred blob" if blob else said)


def errors(products: Products) -> Evidence | None:
    """Confusion matrices, and wrong frames with maps as far as some are drawn."""
    files, said = of_tasks(products, "statistics", "confusion.csv"), ["confusion matrices"]
    for task in products.study.tasks if files else []:
        for model, frames in explained(products, task, "selection.parquet").items():
            wrong = int((frames["outcome"] == "wrong").sum())
            sheet = f"explain/{task}/{model}/contact_sheet.png"
            if wrong and (products.results / sheet).exists():
                files += (sheet,)
                said.append(f"{task}: {count(wrong, 'wrong frame')} with maps of {products.titles[model]}")
    return found(files, "; ".join(said))
