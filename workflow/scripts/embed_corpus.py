"""Door to `usfmae.training.embedding.embed_corpus`."""

from pathlib import Path

import torch

from usfmae.progress import logged
from usfmae.settings import settings_from
from usfmae.training.embedding import embed_corpus

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    torch.set_num_threads(snakemake.threads)
    settings = settings_from(snakemake.config)
    recipe = settings.recipes.pretrain[snakemake.wildcards.recipe]
    corpus = Path("results/corpus") / recipe.corpus
    embed_corpus(
        [corpus / name for name in settings.members(recipe.corpus)],
        recipe,
        settings.encoders[recipe.encoder],
        Path(snakemake.input.encoder),
        settings.study.embedding,
        table=Path(snakemake.output.table),
        facts=Path(snakemake.output.facts),
    )
