"""Door to `usfmae.corpus.frames.curate`."""

from pathlib import Path

from usfmae.corpus.frames import curate
from usfmae.progress import logged
from usfmae.settings.datasets import Dataset
from usfmae.settings.study import Corpus

with logged(snakemake.log[0]):
    table = curate(
        snakemake.wildcards.dataset,
        Dataset.model_validate(snakemake.params.dataset),
        Corpus.model_validate(snakemake.params.corpus),
        Path(snakemake.input[0]),
        Path(snakemake.output.table).parent,
    )
    dropped = table["drop_reason"].dropna()
    print(f"{snakemake.wildcards.dataset}: {len(table) - len(dropped)} frames kept, {len(dropped)} dropped")
    for source, reason in zip(table.loc[dropped.index, "source"], dropped, strict=True):
        print(f"  {source}: {reason}")
