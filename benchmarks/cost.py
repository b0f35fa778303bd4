"""What a whole study costs on GPUs: frames trained on, operations, hours and gigabytes, by stage.

    python -m benchmarks.cost [config/paper.yaml …] [--seeds 5] [--matmul-tflops 790] [--share 0.4]

Operations are counted from the networks themselves (matrix products and convolutions, forward and backward).
Hours are operations over the share of the device's matrix products that training is assumed to reach: they
are computed, not measured; the default device is an H200. Every epoch of a recipe counts, although early
stopping leaves some out.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import table
from usfmae.models.classifiers import build_classifier
from usfmae.settings import load
from usfmae.settings.tasks import Task
from usfmae.settings.whole import Settings
from usfmae.training.diagnostics import operations
from usfmae.training.pretrain import build_autoencoder

CONFIG = Path(__file__).resolve().parents[1] / "config"
DEFAULTS = ("datasets", "openus46", "models", "recipes", "tasks", "claims", "config")
#: Shares of a fold's frames that train: of k folds one tests, and of the rest a part validates.
TRAINED = 0.8
HOUR = 3600


@dataclass(frozen=True)
class Stage:
    """What one stage needs."""

    name: str
    runs: int
    frames: float  # that pass through a network, all runs and epochs together
    operations: float
    stored: float  # bytes


def read(overlays: list[Path], seeds: int) -> Settings:
    """The settings of the study, with so many seeds."""
    settings = load(*(CONFIG / f"{name}.yaml" for name in DEFAULTS), *overlays)
    study = settings.study.model_copy(update={"seeds": list(range(seeds))})
    return settings.model_copy(update={"study": study})


def corpus(settings: Settings, held: int) -> Stage:
    """Curated frames: a byte a pixel and channel, and one for the mask."""
    corpora = [settings.corpora[name] for name in settings.study_corpora()]
    stored = sum(held * entry.size**2 * (entry.channels + 1) for entry in corpora)
    return Stage("corpus", len(corpora), held * len(corpora), 0, stored)


def pretraining(settings: Settings, held: int) -> Stage:
    """All recipes, and the folds of their grids, on `held` frames each."""
    runs = 0
    frames = work = 0.0
    for name in settings.pretrain_recipes():
        recipe = settings.recipes.pretrain[name]
        encoder = settings.encoders[recipe.encoder]
        entry = settings.corpora[recipe.corpus]
        with torch.device("meta"):
            model = build_autoencoder(recipe, encoder, entry.size, recipe.channels or entry.channels)
        seen = held * recipe.training.epochs
        folds = len(recipe.grid.settings()) * recipe.grid.folds if recipe.grid else 0
        share = 1 - 1 / recipe.grid.folds if recipe.grid else 0.0
        runs += folds + 1
        frames += seen * (1 + folds * share)
        work += seen * (1 + folds * share) * operations(model)
    return Stage("pretrain", runs, frames, work, runs * 1e9)


def finetuning(settings: Settings) -> Stage:
    """All folds of all models and tasks, at every share of the training subjects."""
    runs = 0
    frames = work = stored = 0.0
    for task_name in settings.study.tasks:
        task = settings.tasks[task_name]
        held = TRAINED * sum(settings.datasets[name].counts.files or 0 for name in task.datasets)
        for name in settings.study.models:
            recipe = settings.recipes.finetune[settings.recipe_of(name)]
            if recipe.training is None:
                continue
            model, one = _classifier(settings, name, task)
            with FlopCounterMode(display=False) as counter:
                model(one).sum().backward()
            fits = 1 + (len(recipe.search.candidates()) if recipe.search else 0)
            here = len(settings.study.seeds) * task.split.folds
            runs += here * len(settings.study.fractions)
            seen = here * fits * recipe.training.epochs * held * sum(settings.study.fractions)
            frames += seen
            work += seen * counter.get_total_flops() / 2
            weights = sum(value.numel() for value in model.parameters()) * 4
            stored += here * len(settings.study.fractions) * weights
    return Stage("finetune", runs, frames, work, stored)


def explaining(settings: Settings) -> Stage:
    """A pass a channel of each frame by Score-CAM: of the model, and of the same with shuffled weights."""
    recipe = settings.recipes.explain[settings.study.explain.recipe]
    runs = 0
    frames = work = stored = 0.0
    for task_name in settings.study.tasks:
        task = settings.tasks[task_name]
        for name in settings.study.explain.models:
            model, one = _classifier(settings, name, task)
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                model(one)
            held = recipe.frames_per_class * len(task.classes)
            passes = 2 * held * (recipe.clusters or model.num_features)
            runs += 1
            frames += passes
            work += passes * counter.get_total_flops() / 2
            stored += held * one[0, 0].numel() * 4  # a map in float32
    return Stage("explain", runs, frames, work, stored)


def _classifier(settings: Settings, name: str, task: Task) -> tuple[torch.nn.Module, torch.Tensor]:
    """The model without memory, and two frames `(2, C, S, S)` for it."""
    entry = settings.corpora[task.corpus]
    with torch.device("meta"):
        model = build_classifier(
            settings.models[name].model_copy(update={"weights": "scratch"}),
            settings.encoder_of(name),
            classes=len(task.classes),
            size=entry.size,
            channels=entry.channels,
        )
        return model, torch.zeros(2, entry.channels, entry.size, entry.size)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overlays", nargs="*", type=Path, default=[CONFIG / "paper.yaml"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--matmul-tflops", type=float, default=790, help="of the device, in bf16")
    parser.add_argument("--share", type=float, default=0.4, help="of it that pretraining is assumed to reach")
    parser.add_argument("--share-finetune", type=float, default=0.2, help="the same of fine-tuning")
    parser.add_argument("--frames", type=int, default=370_000, help="of a whole corpus; as published")
    wanted = parser.parse_args()
    settings = read(wanted.overlays, wanted.seeds)
    stages = [
        (corpus(settings, wanted.frames), wanted.share),
        (pretraining(settings, wanted.frames), wanted.share),
        (finetuning(settings), wanted.share_finetune),
        (explaining(settings), wanted.share_finetune),
    ]
    rows = []
    for stage, share in stages:
        hours = stage.operations / (wanted.matmul_tflops * 1e12 * share * HOUR)
        counts = [f"{stage.runs:,}", f"{stage.frames / 1e6:,.1f}", f"{stage.operations / 1e18:,.1f}"]
        rows.append([stage.name, *counts, f"{hours:,.0f}", f"{stage.stored / 1e9:,.0f}"])
    print(table(["stage", "runs", "million frames", "EFLOP", "GPU hours", "GB stored"], rows))
    known = {n: settings.datasets[n].bytes for c in settings.study_corpora() for n in settings.members(c)}
    stated = [size for size in known.values() if size]
    print(f"\n{sum(stated) / 1e9:,.0f} GB of downloads, {len(stated)} of {len(known)} releases counted")


if __name__ == "__main__":
    main()
