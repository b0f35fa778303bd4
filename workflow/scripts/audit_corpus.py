"""Door to `usfmae.corpus.duplicates` and the corpus figures."""

from pathlib import Path

from usfmae.corpus.audit import audit
from usfmae.progress import logged
from usfmae.report.figures_corpus import corpus_samples, duplicate_pairs
from usfmae.settings.study import Corpus

with logged(snakemake.log[0]):
    folder = Path(snakemake.output.groups).parent
    corpus = Corpus.model_validate(snakemake.params.corpus)
    audit(corpus, folder)
    corpus_samples(folder, corpus.datasets, set(snakemake.params.simulated), folder / "samples")
    duplicate_pairs(folder, corpus.datasets, set(snakemake.params.simulated), folder / "duplicates")
