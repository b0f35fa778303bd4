"""Door to `usfmae.corpus.curation.frames.curate`."""

from pathlib import Path

from usfmae.corpus.curation.frames import curate
from usfmae.progress import logged
from usfmae.settings import settings_from

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    settings, name = settings_from(snakemake.config), snakemake.wildcards.dataset
    table = curate(
        name,
        settings.datasets[name],
        settings.corpora[snakemake.wildcards.corpus],
        Path(snakemake.input[0]),
        Path(snakemake.output.table).parent,
        workers=snakemake.threads,
        checkpoints=Path(snakemake.params.checkpoints),
    )
    dropped = table["drop_reason"].dropna()
    print(f"{name}: {len(table) - len(dropped)} frames kept, {len(dropped)} dropped")
    for source, reason in zip(table.loc[dropped.index, "source"], dropped, strict=True):
        print(f"  {source}: {reason}")
