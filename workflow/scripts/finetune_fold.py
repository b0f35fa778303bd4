"""Door to `usfmae.training.finetune.finetune`."""

from pathlib import Path

import torch

from usfmae.progress import logged
from usfmae.settings import settings_from
from usfmae.training.finetune import finetune

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    torch.set_num_threads(snakemake.threads)
    settings, names = settings_from(snakemake.config), snakemake.wildcards
    task = settings.tasks[names.task]
    weights = snakemake.input.get("weights")  # absent or empty: from scratch
    features = snakemake.input.get("features")  # absent or empty: all weights are trained
    finetune(
        task,
        settings.models[names.model],
        settings.recipes.finetune[names.recipe],
        wildcards=dict(names.items()),
        encoder=settings.encoder_of(names.model),
        corpus=Path("results/corpus") / task.corpus,
        folds=Path(snakemake.input.folds),
        weights=Path(str(weights)) if weights else None,
        simulated=bool(settings.simulated(task.datasets)),
        out=Path(snakemake.output.record).parent,
        features=Path(str(features)) if features else None,
        checkpoints=Path(snakemake.params.checkpoints),
        gpus=int(snakemake.resources.get("gpu", 0)),
    )
