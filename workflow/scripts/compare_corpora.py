"""Door to `usfmae.corpus.audit.seen.seen_frames`."""

from pathlib import Path

from usfmae.corpus.audit.seen import seen_frames
from usfmae.progress import logged
from usfmae.record import write_table
from usfmae.settings import settings_from

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    settings = settings_from(snakemake.config)
    names = [snakemake.wildcards.corpus, snakemake.wildcards.pretraining]
    ours, theirs = (settings.corpora[n].model_copy(update={"datasets": settings.members(n)}) for n in names)
    found = seen_frames(ours, Path("results/corpus") / names[0], theirs, Path("results/corpus") / names[1])
    write_table(snakemake.output[0], found)
    print(f"{found['frame'].nunique()} frames of {names[0]} have a copy in {names[1]}")
