"""What the stages left in `results/` for this study; whatever is not there is None or empty."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from usfmae.evaluation.comparison.pairs import REFERENCE
from usfmae.record import read_table
from usfmae.settings import Settings


class Products:
    """Reads the products of the study's own tasks, models and recipes; runs of others are passed over."""

    def __init__(self, settings: Settings, results: Path) -> None:
        self.settings, self.study, self.results = settings, settings.study, results
        self.titles = {model: settings.models[model].title for model in self.study.models}
        self.recipes, self.corpora = settings.pretrain_recipes(), settings.study_corpora()
        self.datasets = list(
            dict.fromkeys(name for corpus in self.corpora for name in settings.members(corpus))
        )

    def simulated(self, datasets: list[str]) -> set[str]:
        return {name for name in datasets if self.settings.datasets[name].simulated}

    def frames(self, corpus: str) -> dict[str, pd.DataFrame]:
        """`frames.parquet` of each dataset of a corpus that was curated."""
        tables = {}
        for name in self.settings.members(corpus):
            table = self.table("corpus", corpus, name, "frames.parquet")
            if table is not None:
                tables[name] = table
        return tables

    def used(self) -> list[str]:
        """Datasets of the study's corpora of which a frame is used, each once."""
        return list(
            dict.fromkeys(
                name
                for corpus in self.corpora
                for name, table in self.frames(corpus).items()
                if table["drop_reason"].isna().any()
            )
        )

    def statistics(self, task: str) -> dict[str, pd.DataFrame]:
        """The task's tables by name, with the study's models only, in its order; empty before the
        statistics stage."""
        found, order = {}, list(self.titles)
        for file in self._statistics_files(task):
            table = self.table("statistics", task, file)
            if table is not None:
                column = "model_b" if file == "comparisons.csv" else "model"
                if file == "comparisons.csv":  # the other pairs: comparison_section.py
                    table = table[table["family"] == REFERENCE]
                table = table[table[column].isin(order)]
                found[Path(file).stem] = table.sort_values(
                    column, key=lambda names: names.map(order.index), kind="stable", ignore_index=True
                )
        return found

    def _statistics_files(self, task: str) -> list[str]:
        """Those that this study asks for: what an earlier one left beside them is passed over."""
        files = [
            "summary.csv",
            "summary_subjects.csv",
            "fold_metrics.csv",
            "comparisons.csv",
            "confusion.csv",
        ]
        files += ["roc.parquet", "pr.parquet", "calibration.csv", "reliability.csv"]
        files += ["label_efficiency.csv"] if len(self.study.fractions) > 1 else []
        files += ["subgroups.csv"] if self.settings.tasks[task].subgroup else []
        return files + (["shortcuts.csv"] if self.study.shortcuts else [])

    def finetune_folders(self, task: str, model: str, fraction: float) -> list[Path]:
        """The folders of the study's runs of a model, seeds and folds in order. What other settings left
        beside them is passed over."""
        recipe = self.settings.recipe_of(model)
        folder = self.results / "finetune" / task / model / recipe / f"fraction-{fraction:g}"
        folds = range(self.settings.tasks[task].split.folds)
        return [folder / f"seed-{seed}" / f"fold-{fold}" for seed in self.study.seeds for fold in folds]

    def ran(self, task: str, model: str) -> bool:
        """Whether any run of the model on the task has predictions."""
        folders = [
            f for fraction in self.study.fractions for f in self.finetune_folders(task, model, fraction)
        ]
        return any((folder / "predictions.parquet").exists() for folder in folders)

    def histories(self, task: str) -> dict[str, list[pd.DataFrame]]:
        """`history.parquet` of each model's runs with the most training subjects, of models trained by
        epochs: a linear probe and nearest neighbours have none."""
        found = {}
        recipes = self.settings.recipes.finetune
        for model in self.titles:
            if recipes[self.settings.recipe_of(model)].training is None:
                continue
            folders = self.finetune_folders(task, model, max(self.study.fractions))
            files = [folder / "history.parquet" for folder in folders]
            tables = [pd.read_parquet(file) for file in files if file.exists()]
            if tables:
                found[model] = tables
        return found

    def pretrain_folders(self, recipe: str) -> list[Path]:
        """The folders of a recipe's runs: those of its grid, and the final one."""
        folder, grid = self.results / "pretrain" / recipe, self.settings.recipes.pretrain[recipe].grid
        settings, folds = (grid.settings(), grid.folds) if grid else ([], 0)
        return [
            *(folder / "grid" / name / f"fold-{fold}" for name in settings for fold in range(folds)),
            folder,
        ]

    def chosen_setting(self, recipe: str) -> dict[str, Any] | None:
        """What a grid chose for a recipe (`grid.json`): its own, or that of the recipe it names."""
        owner = self.settings.grid_of(recipe)
        return self.json(self.results / "pretrain" / owner / "grid.json") if owner else None

    def runs(self) -> list[dict[str, Any]]:
        """The run records of the study, pretraining first."""
        folders = [folder for recipe in self.recipes for folder in self.pretrain_folders(recipe)]
        for task in self.study.tasks:
            for model in self.titles:
                for fraction in self.study.fractions:
                    folders += self.finetune_folders(task, model, fraction)
        for task in self.study.tasks:
            folders += [self.results / "explain" / task / model for model in self.study.explain.models]
        records = [self.json(folder / "run.json") for folder in folders]
        return [record for record in records if record is not None]

    def table(self, *parts: str) -> pd.DataFrame | None:
        """A Parquet or CSV table below `results/`, None where there is none."""
        return read_table(self.results.joinpath(*parts))

    def json(self, path: Path) -> dict[str, Any] | None:
        if not path.exists():
            return None
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content
