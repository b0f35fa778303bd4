"""What of a study can be run with the weights and the releases that are on this machine.

Light to import: Snakemake loads it at each start.
"""

from __future__ import annotations

from collections.abc import Collection

from usfmae.settings.whole import Settings


def study_weights(settings: Settings) -> list[str]:
    """Checkpoints that a model or a pretraining recipe of the study starts from, each once."""
    needed = [model_weights(settings, model) for model in settings.study.models]
    needed += [_of_recipe(settings, recipe) for recipe in settings.study.pretrain]
    return list(dict.fromkeys(name for names in needed for name in names))


def without_missing(settings: Settings, weights: Collection[str], datasets: Collection[str] = ()) -> Settings:
    """The settings whose study has those tasks, models and pretraining recipes that need none of the missing
    `weights` (checkpoints) and `datasets`."""
    study, recipes = settings.study, settings.recipes.pretrain
    tasks = [task for task in study.tasks if not set(settings.tasks[task].datasets) & set(datasets)]
    models = [model for model in study.models if not set(model_weights(settings, model)) & set(weights)]
    left_out = {name: recipe.leave_out.task for name, recipe in recipes.items() if recipe.leave_out}
    pretrain = [
        recipe
        for recipe in study.pretrain
        if not set(_of_recipe(settings, recipe)) & set(weights)
        and left_out.get(recipe) not in set(study.tasks) - set(tasks)
    ]
    explained = [model for model in study.explain.models if model in models]
    explain = study.explain.model_copy(update={"models": explained})
    changed = {"tasks": tasks, "models": models, "pretrain": pretrain, "explain": explain}
    return settings.model_copy(update={"study": study.model_copy(update=changed)})


def model_weights(settings: Settings, model: str) -> list[str]:
    """The checkpoint that a model starts from, and those that its encoders' pretraining starts from."""
    folds = range(max((settings.tasks[task].split.folds for task in settings.study.tasks), default=0))
    recipes = dict.fromkeys(recipe for fold in folds for recipe in settings.pretrain_of(model, fold))
    own = settings.models[model].checkpoint
    return [*([own] if own else []), *(name for recipe in recipes for name in _of_recipe(settings, recipe))]


def _of_recipe(settings: Settings, recipe: str) -> list[str]:
    """The checkpoints that a recipe starts from, and the recipe whose grid chooses its setting."""
    starts = (
        settings.recipes.pretrain[name].initial_weights for name in (recipe, settings.grid_of(recipe)) if name
    )
    return [name for name in starts if name]
