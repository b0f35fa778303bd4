"""Door to `usfmae.tracking.sync`."""

import os
from pathlib import Path

from usfmae.progress import logged, progress
from usfmae.record import write_json
from usfmae.settings.study import Tracking
from usfmae.tracking import sync

with logged(snakemake.log[0]):
    tracking = Tracking.model_validate(snakemake.params.tracking)
    counts = sync(
        Path("results"),
        os.environ.get("MLFLOW_TRACKING_URI"),
        log_weights=tracking.log_weights,
        runs=set(snakemake.params.runs),
        progress=progress,
    )
    write_json(snakemake.output[0], counts)
    print("MLflow:", ", ".join(f"{count} {what}" for what, count in counts.items()))
