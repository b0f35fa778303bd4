"""Door to `usfmae.corpus.download.fetch.fetch`."""

from pathlib import Path

from usfmae.corpus.download.fetch import fetch
from usfmae.progress import logged
from usfmae.settings import settings_from

with logged(snakemake.log[0]):
    name = snakemake.wildcards.dataset
    settings = settings_from(snakemake.config)
    fetched = fetch(
        name,
        settings.datasets[name],
        Path(snakemake.output[0]).parent,
        settings.download,
        # Beside the workflow, not a parameter: a pin makes nothing stale.
        lock=Path(snakemake.scriptdir).resolve().parents[1] / "config/checksums.lock",
    )
    if fetched["status"] == "unavailable":
        print(f"{name} is unavailable: {fetched['reason']}")
