"""Door to `usfmae.deployment.export`."""

from pathlib import Path

import torch

from usfmae.deployment.export import export
from usfmae.progress import logged
from usfmae.settings import settings_from

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    torch.set_num_threads(snakemake.threads)
    export(
        Path(snakemake.input.weights).parent,
        settings_from(snakemake.config),
        wildcards=dict(snakemake.wildcards.items()),
        summary=Path(snakemake.input.summary),
        out=Path(snakemake.output[0]).parent,
    )
