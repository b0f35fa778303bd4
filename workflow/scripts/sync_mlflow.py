"""Door to `usfmae.tracking.sync`."""

import os
from pathlib import Path

from usfmae.progress import logged, progress
from usfmae.record import write_json
from usfmae.settings import settings_from
from usfmae.tracking import sync

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    counts = sync(
        Path("results"),
        os.environ.get("MLFLOW_TRACKING_URI"),
        log_weights=settings_from(snakemake.config).tracking.log_weights,
        runs=set(snakemake.params.runs),
        progress=progress,
    )
    write_json(snakemake.output[0], counts)
    print("MLflow:", ", ".join(f"{counts[what]} {what}" for what in ("written", "unchanged", "deleted")))
