"""A fine-tuning so small that tests run it many times: a tiny ViT on 80 subjects, two folds, a hold-out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fake_corpus import ENCODER, UNCHANGED, make_corpus, task, training

from usfmae.evaluation.folds import split_task
from usfmae.settings.models import Model
from usfmae.settings.recipes import FinetuneRecipe
from usfmae.settings.tasks import Task
from usfmae.training.features import extract_features
from usfmae.training.finetune import finetune

SCRATCH = Model(title="tiny, from scratch", encoder="tiny")
PRETRAINED = Model(title="tiny", encoder="tiny", weights="pretrain", pretrain="tiny")
PROBABILITIES = ["probability_normal", "probability_cystic"]


def recipe(epochs: int = 30, **changes: Any) -> FinetuneRecipe:
    loop = training(epochs=epochs, learning_rate=1e-2, minimum_learning_rate=0.0)
    return FinetuneRecipe(**{"title": "tiny", "training": loop, "augmentation": UNCHANGED} | changes)


def probe_recipe(protocol: str, **changes: Any) -> FinetuneRecipe:
    return FinetuneRecipe(**{"title": protocol, "protocol": protocol} | changes)


def split_corpus(folder: Path) -> Path:
    """160 frames of 80 subjects, split into 2 folds and a hold-out."""
    corpus = make_corpus(folder, ["neck"], subjects=80)
    split_task("neck", task(), corpus=corpus, out=corpus.parents[1] / "finetune" / "neck")
    return corpus


def folds_of(corpus: Path) -> Path:
    return corpus.parents[1] / "finetune" / "neck" / "folds.parquet"


def run(
    corpus: Path,
    *,
    model: Model = SCRATCH,
    how: FinetuneRecipe | None = None,
    what: Task | None = None,
    folds: Path | None = None,
    fold: int = 0,
    seed: int = 0,
    fraction: float = 1,
    out: str = "model",
    **files: Any,
) -> Path:
    """The folder of a run; `files` are `weights`, `features` and `checkpoints`; `gpus` too."""
    folder = corpus.parents[1] / "finetune" / "neck" / out / f"fraction-{fraction}" / f"seed-{seed}"
    finetune(
        what or task(),
        model,
        how or recipe(),
        wildcards={"task": "neck", "model": out, "fraction": fraction, "seed": seed, "fold": fold},
        encoder=None if model.timm else ENCODER,
        corpus=corpus,
        folds=folds or folds_of(corpus),
        simulated=True,
        out=folder / f"fold-{fold}",
        **{"weights": None} | files,
    )
    return folder / f"fold-{fold}"


def extract(
    corpus: Path, out: Path, *, model: Model = SCRATCH, kind: Any = "pooled", seed: int = 0, **files: Path
) -> Path:
    """Features of the task's frames in `out`."""
    extract_features(
        task(),
        model,
        encoder=None if model.timm else ENCODER,
        corpus=corpus,
        folds=folds_of(corpus),
        seed=seed,
        kind=kind,
        out=out,
        **{"weights": None} | files,
    )
    return out
