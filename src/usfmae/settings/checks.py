"""What no single file of config/ can be wrong about: names without an entry, licences, and leaks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from usfmae.settings.claims import metrics_of
from usfmae.settings.whole import Settings


def broken_references(s: Settings) -> Iterator[tuple[list[str], str, str, list[str]]]:
    """(path of the key, kind of thing, name, known names) for each name without an entry."""
    references: list[tuple[list[str], str, str, Any]] = []

    def add(path: list[str], kind: str, names: str | list[str] | None, known: Any) -> None:
        for name in [names] if isinstance(names, str) else names or []:
            references.append((path, kind, name, known))

    with_weights = [key for key, model in s.models.items() if model.checkpoint]
    for key, corpus in s.corpora.items():
        add(["corpora", key, "datasets"], "dataset", corpus.datasets, s.datasets)
        kind = "model with `weights: checkpoint` called"
        add(["corpora", key, "duplicates", "model"], kind, corpus.duplicates.model, with_weights)
    folds = max((s.tasks[task].split.folds for task in s.study.tasks if task in s.tasks), default=0)
    used = set(s.study.pretrain)
    for key, model in s.models.items():
        add(["models", key, "encoder"], "encoder", model.encoder, s.encoders)
        if model.pretrain and key in s.study.models:
            names = dict.fromkeys(model.pretrain.replace("{fold}", str(fold)) for fold in range(folds))
            used |= set(names)
            add(["models", key, "pretrain"], "pretraining recipe", list(names), s.recipes.pretrain)
        add(["models", key, "recipe"], "fine-tuning recipe", model.recipe, s.recipes.finetune)
        add(["models", key, "checkpoint"], "checkpoint", model.checkpoint, s.checkpoints)
    started = {s.models[name].checkpoint for name in s.study.models if name in s.models}
    started |= {s.recipes.pretrain[name].initial_weights for name in used if name in s.recipes.pretrain}
    for key, checkpoint in s.checkpoints.items():
        if key in started:  # the datasets of another may be in another study's files
            add(["checkpoints", key, "seen"], "dataset", checkpoint.seen, s.datasets)
    whole = [key for key, checkpoint in s.checkpoints.items() if checkpoint.contents == "mae"]
    with_grid = [name for name, recipe in s.recipes.pretrain.items() if recipe.grid is not None]
    for key, recipe in s.recipes.pretrain.items():
        if key not in used:  # its corpus may be another study's
            continue
        add(["recipes", "pretrain", key, "encoder"], "encoder", recipe.encoder, s.encoders)
        add(["recipes", "pretrain", key, "corpus"], "corpus", recipe.corpus, s.corpora)
        kind = "checkpoint with a decoder (`contents: mae`) called"
        add(["recipes", "pretrain", key, "initial_weights"], kind, recipe.initial_weights, whole)
        add(["recipes", "pretrain", key, "setting_of"], "recipe with a grid", recipe.setting_of, with_grid)
        members = s.corpora[recipe.corpus].datasets if recipe.corpus in s.corpora else []
        kind = f"dataset in corpus {recipe.corpus!r} called"
        add(["recipes", "pretrain", key, "leave_out_datasets"], kind, recipe.leave_out_datasets, members)
        if recipe.leave_out is not None:
            add(["recipes", "pretrain", key, "leave_out", "task"], "task", recipe.leave_out.task, s.tasks)
    for key, task in s.tasks.items():
        if key in s.study.tasks:
            add(["tasks", key, "corpus"], "corpus", task.corpus, s.corpora)
            members = s.corpora[task.corpus].datasets if task.corpus in s.corpora else []
            kind = f"dataset in corpus {task.corpus!r} called"
            add(["tasks", key, "datasets"], kind, task.datasets, members)
    for key, claimed in s.claimed_models.items():
        add(["claimed_models", key, "published"], "model", claimed.published, s.models)
        add(["claimed_models", key, "corrected"], "model", claimed.corrected, s.models)
    for key, claim in s.claims.items():
        add(["claims", key, "paper"], "paper", claim.paper, s.papers)
        add(["claims", key, "task"], "task", claim.task, s.tasks)
        add(["claims", key, "task_corrected"], "task", claim.task_corrected, s.tasks)
        add(["claims", key, "model"], "claimed model", claim.model, s.claimed_models)
        add(["claims", key, "baselines"], "claimed model", claim.baselines, s.claimed_models)
        add(["claims", key, "metrics"], "metric", claim.metrics, metrics_of(s.tasks.get(claim.task or "")))
    add(["study", "corpora"], "corpus", s.study.corpora, s.corpora)
    add(["study", "pretrain"], "pretraining recipe", s.study.pretrain, s.recipes.pretrain)
    add(["study", "tasks"], "task", s.study.tasks, s.tasks)
    add(["study", "declared", "datasets"], "dataset", list(s.study.declared.datasets), s.datasets)
    add(["study", "models"], "model", s.study.models, s.models)
    add(["study", "reference"], "model in study.models called", s.study.reference, s.study.models)
    add(["study", "recipe"], "fine-tuning recipe", s.study.recipe, s.recipes.finetune)
    add(["study", "explain", "recipe"], "explain recipe", s.study.explain.recipe, s.recipes.explain)
    add(
        ["study", "explain", "models"], "model in study.models called", s.study.explain.models, s.study.models
    )
    for path, kind, name, known in references:
        if name not in known:
            yield path, kind, name, list(known)


def closed_by_licence(s: Settings) -> Iterator[str]:
    """A sentence for each dataset of a task whose licence its corpus does not use."""
    for name in s.study.tasks:
        task = s.tasks[name]
        for dataset in set(task.datasets) - set(s.members(task.corpus)):
            use = s.datasets[dataset].licence.use
            yield (
                f"tasks.{name}.datasets: the licence of {dataset} is {use!r}, which "
                f"corpora.{task.corpus}.licences does not name: add it there if you may use the images"
            )


def without_a_network(s: Settings) -> Iterator[str]:
    """A sentence for each model to be explained and exported whose protocol leaves no network for it."""
    for name in s.study.explain.models:
        protocol = s.recipes.finetune[s.recipe_of(name)].protocol
        if protocol in ("knn", "attentive_probe"):
            yield (
                f"study.explain.models: {name} is fine-tuned by `protocol: {protocol}`, which reads cached "
                "features and leaves no network to explain or export: take it out of the list"
            )


def pretrained_on_its_test(s: Settings) -> Iterator[str]:
    """A sentence for each task, model and fold whose encoder has seen the fold's test frames."""
    for task_name in s.study.tasks:
        task = s.tasks[task_name]
        for model in s.study.models:
            for fold in range(task.split.folds):
                for name in s.pretrain_of(model, fold):
                    recipe = s.recipes.pretrain[name]
                    shared = set(s.members(recipe.corpus)) & set(task.datasets)
                    left_out = recipe.leave_out
                    safe = left_out is not None and (left_out.task, left_out.fold) == (task_name, fold)
                    if recipe.evaluation_frames == "include" and shared and not safe:
                        yield (
                            f"recipes.pretrain.{name} includes evaluation frames and {model} starts from it "
                            f"on {task_name}, fold {fold}: it needs leave_out with that task and fold"
                        )
