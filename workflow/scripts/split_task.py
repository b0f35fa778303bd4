"""Door to `usfmae.evaluation.folds.split_task`."""

from pathlib import Path

from usfmae.evaluation.folds import split_task
from usfmae.progress import logged
from usfmae.settings.tasks import Task

with logged(snakemake.log[0]):
    split_task(
        snakemake.wildcards.task,
        Task.model_validate(snakemake.params.task),
        corpus=Path(snakemake.input.groups).parent,
        out=Path(snakemake.output.folds).parent,
    )
