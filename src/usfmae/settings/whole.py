"""All configuration files together, and what follows from several of them."""

from __future__ import annotations

from typing import Any

from usfmae.settings.claims import ClaimsFile
from usfmae.settings.datasets import DatasetsFile
from usfmae.settings.models import Encoder, ModelsFile
from usfmae.settings.recipes import RecipesFile
from usfmae.settings.study import StudyFile
from usfmae.settings.tasks import TasksFile


class Settings(StudyFile, DatasetsFile, ModelsFile, RecipesFile, TasksFile, ClaimsFile):
    """All configuration files together."""

    def members(self, corpus: str) -> list[str]:
        """The datasets of a corpus whose kind of licence it uses."""
        allowed = self.corpora[corpus].licences
        return [name for name in self.corpora[corpus].datasets if self.datasets[name].licence.use in allowed]

    def study_corpora(self) -> list[str]:
        """Corpora that the study's tasks and pretraining recipes use, and those it names itself."""
        names = [self.tasks[task].corpus for task in self.study.tasks]
        names += [self.recipes.pretrain[recipe].corpus for recipe in self.pretrain_recipes()]
        return list(dict.fromkeys([*names, *self.study.corpora]))

    def audited(self, corpus: str) -> dict[str, Any]:
        """A corpus's settings with the datasets whose licence it uses: what its audit depends on."""
        return {**self.corpora[corpus].effective(), "datasets": self.members(corpus)}

    def pretraining_corpora(self, task: str) -> list[str]:
        """Corpora other than the task's own that an encoder of a model of the study is pretrained on."""
        folds = range(self.tasks[task].split.folds)
        recipes = [r for model in self.study.models for fold in folds for r in self.pretrain_of(model, fold)]
        corpora = dict.fromkeys(self.recipes.pretrain[recipe].corpus for recipe in recipes)
        return [corpus for corpus in corpora if corpus != self.tasks[task].corpus]

    def simulated(self, datasets: list[str]) -> list[str]:
        """Those of the datasets that are simulated."""
        return [name for name in datasets if self.datasets[name].simulated]

    def encoder_of(self, model: str) -> Encoder | None:
        """The shape of a model's vision transformer; None where the model is one of timm's."""
        name = self.models[model].encoder
        return self.encoders[name] if name else None

    def recipe_of(self, model: str) -> str:
        """The fine-tuning recipe of a model: its own, or the study's."""
        return self.models[model].recipe or self.study.recipe

    def pretrain_of(self, model: str, fold: int) -> list[str]:
        """The pretraining recipe that a model starts from in a fold, as a list: empty where from scratch."""
        name = self.models[model].pretrain
        return [name.replace("{fold}", str(fold))] if name else []

    def pretrain_recipes(self) -> list[str]:
        """Pretraining recipes asked for, and those whose encoder a model of the study starts from."""
        recipes = list(self.study.pretrain)
        for task in self.study.tasks:
            for model in self.study.models:
                for fold in range(self.tasks[task].split.folds):
                    recipes += self.pretrain_of(model, fold)
        return list(dict.fromkeys(recipes))

    def grid_of(self, recipe: str) -> str | None:
        """The recipe whose grid chooses this one's setting: itself, another, or none."""
        entry = self.recipes.pretrain[recipe]
        return recipe if entry.grid is not None else entry.setting_of

    def pretraining(self, recipe: str) -> dict[str, Any]:
        """All settings that a pretraining recipe's weights depend on."""
        entry = self.recipes.pretrain[recipe]
        datasets = self.members(entry.corpus)
        return {
            "recipe": entry.effective(),
            "encoder": self.encoders[entry.encoder].effective(),
            "datasets": datasets,
            "evaluation_datasets": self.evaluation_datasets(datasets),
            "simulated": bool(self.simulated(datasets)),
        }

    def evaluation_datasets(self, datasets: list[str]) -> list[str]:
        """Those of the datasets that are evaluation sets, or that a task of the study is tested on."""
        tested = {name for task in self.study.tasks for name in self.tasks[task].datasets}
        return [name for name in datasets if self.datasets[name].evaluation or name in tested]
