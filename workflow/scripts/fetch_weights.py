"""Door to `usfmae.models.weights.fetch_weights`."""

from pathlib import Path

from usfmae.models.weights import fetch_weights
from usfmae.progress import logged
from usfmae.settings import settings_from

with logged(snakemake.log[0]):
    name = snakemake.wildcards.checkpoint
    settings = settings_from(snakemake.config)
    fetched = fetch_weights(
        name,
        settings.checkpoints[name],
        Path(snakemake.output[0]).parent,
        settings.download,
        # Beside the workflow, not a parameter: a pin makes nothing stale.
        lock=Path(snakemake.scriptdir).parents[1] / "config/checksums.lock",
    )
    if fetched["status"] == "unavailable":
        print(f"{name} is unavailable: {fetched['reason']}")
