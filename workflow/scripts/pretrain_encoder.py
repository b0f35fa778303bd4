"""Door to `usfmae.training.pretrain.pretrain`."""

from pathlib import Path

import torch

from usfmae.progress import logged
from usfmae.settings.models import Encoder
from usfmae.settings.recipes import PretrainRecipe
from usfmae.training.pretrain import pretrain

with logged(snakemake.log[0]):
    torch.set_num_threads(snakemake.threads)
    pretrain(
        snakemake.wildcards.recipe,
        PretrainRecipe.model_validate(snakemake.params.recipe),
        Encoder.model_validate(snakemake.params.encoder),
        corpus=Path(snakemake.input.groups).parent,
        datasets=snakemake.params.datasets,
        evaluation_datasets=snakemake.params.evaluation_datasets,
        simulated=snakemake.params.simulated,
        folds=Path(snakemake.input.folds[0]) if snakemake.input.folds else None,
        out=Path(snakemake.output.record).parent,
        checkpoints=Path(snakemake.params.checkpoints),
    )
