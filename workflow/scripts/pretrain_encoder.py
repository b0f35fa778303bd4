"""Door to `usfmae.training.pretrain.pretrain`."""

from pathlib import Path

import torch

from usfmae.progress import logged
from usfmae.settings import settings_from
from usfmae.training.pretrain import pretrain

with logged(snakemake.log[0]):
    torch.set_num_threads(snakemake.threads)
    settings, name = settings_from(snakemake.config), snakemake.wildcards.recipe
    recipe = settings.recipes.pretrain[name]
    datasets = settings.members(recipe.corpus)
    pretrain(
        name,
        recipe,
        settings.encoders[recipe.encoder],
        corpus=Path(snakemake.input.groups).parent,
        datasets=datasets,
        evaluation_datasets=settings.evaluation_datasets(datasets),
        simulated=bool(settings.simulated(datasets)),
        folds=Path(snakemake.input.folds[0]) if snakemake.input.folds else None,
        out=Path(snakemake.output.record).parent,
        checkpoints=Path(snakemake.params.checkpoints),
    )
