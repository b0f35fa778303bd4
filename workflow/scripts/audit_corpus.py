"""Door to `usfmae.corpus.duplicates` and the corpus figures."""

from pathlib import Path

from usfmae.corpus.audit import audit
from usfmae.progress import logged
from usfmae.report.figures_corpus import corpus_samples, duplicate_pairs
from usfmae.settings import settings_from

with logged(snakemake.log[0]):
    settings = settings_from(snakemake.config)
    corpus = settings.corpora[snakemake.wildcards.corpus]
    simulated = set(settings.simulated(corpus.datasets))
    folder = Path(snakemake.output.groups).parent
    audit(corpus, folder)
    corpus_samples(folder, corpus.datasets, simulated, folder / "samples")
    duplicate_pairs(folder, corpus.datasets, simulated, folder / "duplicates")
