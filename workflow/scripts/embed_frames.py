"""Door to `usfmae.training.embedding.embed_frames`."""

from pathlib import Path

import torch

from usfmae.progress import logged
from usfmae.settings import settings_from
from usfmae.training.embedding import embed_frames
from usfmae.training.processes import check_gpus

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    torch.set_num_threads(snakemake.threads)
    check_gpus(int(snakemake.resources.get("gpu", 0)))
    settings, name = settings_from(snakemake.config), snakemake.wildcards.corpus
    model = settings.corpora[name].duplicates.model
    embed_frames(
        [Path("results/corpus", name, dataset) for dataset in settings.members(name)],
        settings.models[model],
        settings.encoder_of(model),
        Path(str(snakemake.input.weights)),
        Path(snakemake.output[0]),
    )
