"""Door to `usfmae.training.features.extract_features`."""

from pathlib import Path

import torch

from usfmae.progress import logged
from usfmae.settings import settings_from
from usfmae.training.features import extract_features
from usfmae.training.processes import check_gpus

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    torch.set_num_threads(snakemake.threads)
    check_gpus(int(snakemake.resources.get("gpu", 0)))
    settings, names = settings_from(snakemake.config), snakemake.wildcards
    task = settings.tasks[names.task]
    weights = snakemake.input.get("weights")  # absent or empty: from scratch
    extract_features(
        task,
        settings.models[names.model],
        encoder=settings.encoder_of(names.model),
        corpus=Path("results/corpus") / task.corpus,
        folds=Path(snakemake.input.folds),
        weights=Path(str(weights)) if weights else None,
        seed=int(names.seed),
        kind=names.kind,
        out=Path(snakemake.output.features),
    )
