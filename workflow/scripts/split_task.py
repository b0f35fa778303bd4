"""Door to `usfmae.evaluation.folds.split_task`."""

from pathlib import Path

from usfmae.evaluation.folds import split_task
from usfmae.progress import logged
from usfmae.settings import settings_from

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    split_task(
        snakemake.wildcards.task,
        settings_from(snakemake.config).tasks[snakemake.wildcards.task],
        corpus=Path(snakemake.input.groups).parent,
        out=Path(snakemake.output.folds).parent,
    )
