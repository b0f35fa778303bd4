"""Door to `usfmae.training.finetune.finetune`."""

from pathlib import Path

import torch

from usfmae.progress import logged
from usfmae.settings.models import Encoder, Model
from usfmae.settings.recipes import FinetuneRecipe
from usfmae.settings.tasks import Task
from usfmae.training.finetune import finetune

with logged(snakemake.log[0]):
    torch.set_num_threads(snakemake.threads)
    task = Task.model_validate(snakemake.params.task)
    encoder, weights = snakemake.params.encoder, snakemake.input.weights
    finetune(
        task,
        Model.model_validate(snakemake.params.model),
        FinetuneRecipe.model_validate(snakemake.params.recipe),
        wildcards=dict(snakemake.wildcards.items()),
        encoder=Encoder.model_validate(encoder) if encoder else None,
        corpus=Path("results/corpus") / task.corpus,
        folds=Path(snakemake.input.folds),
        weights=Path(weights[0])
        if isinstance(weights, list) and weights
        else Path(weights)
        if weights
        else None,
        simulated=snakemake.params.simulated,
        out=Path(snakemake.output.record).parent,
    )
