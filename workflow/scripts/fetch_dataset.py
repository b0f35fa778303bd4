"""Door to `usfmae.corpus.download.fetch`."""

from pathlib import Path

from usfmae.corpus.download import fetch
from usfmae.progress import logged
from usfmae.settings.datasets import Dataset

with logged(snakemake.log[0]):
    dataset = Dataset.model_validate(snakemake.params.dataset)
    fetched = fetch(snakemake.wildcards.dataset, dataset, Path(snakemake.output[0]).parent)
    if fetched["status"] == "unavailable":
        print(f"{snakemake.wildcards.dataset} is unavailable: {fetched['reason']}")
