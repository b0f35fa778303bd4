"""Door to `usfmae.corpus.audit.run` and the corpus figures."""

from pathlib import Path

from usfmae.corpus.audit.availability import availability
from usfmae.corpus.audit.run import audit
from usfmae.progress import logged
from usfmae.record import write_table
from usfmae.report.figures_corpus import corpus_samples, duplicate_pairs
from usfmae.settings import settings_from

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    settings, name = settings_from(snakemake.config), snakemake.wildcards.corpus
    members = settings.members(name)
    simulated = set(settings.simulated(members))
    folder = Path(snakemake.output.groups).parent
    embeddings = snakemake.input.get("embeddings")
    audit(
        settings.corpora[name].model_copy(update={"datasets": members}),
        folder,
        Path(str(embeddings)) if embeddings else None,
    )
    write_table(folder / "availability.csv", availability(members, folder, Path("resources")))
    corpus_samples(folder, members, simulated, folder / "samples")
    duplicate_pairs(folder, members, simulated, folder / "duplicates")
