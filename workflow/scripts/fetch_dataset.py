"""Door to `usfmae.corpus.download.fetch`."""

from pathlib import Path

from usfmae.corpus.download import fetch
from usfmae.progress import logged
from usfmae.settings import settings_from

with logged(snakemake.log[0]):
    name = snakemake.wildcards.dataset
    dataset = settings_from(snakemake.config).datasets[name]
    fetched = fetch(name, dataset, Path(snakemake.output[0]).parent)
    if fetched["status"] == "unavailable":
        print(f"{name} is unavailable: {fetched['reason']}")
