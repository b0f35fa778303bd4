"""Door to `usfmae.evaluation.tables`."""

from pathlib import Path

from usfmae.evaluation.predictions import read_predictions
from usfmae.evaluation.tables import statistics_tables
from usfmae.progress import logged
from usfmae.record import write_table
from usfmae.settings.study import Statistics
from usfmae.settings.tasks import Task

with logged(snakemake.log[0]):
    task = Task.model_validate(snakemake.params.task)
    statistics = Statistics.model_validate(snakemake.params.statistics)
    tables = statistics_tables(
        read_predictions([Path(path) for path in snakemake.input]),
        classes=list(task.classes),
        positive=task.positive,
        primary=task.metric,
        resamples=statistics.resamples,
        seed=statistics.seed,
        reference=snakemake.params.reference,
        fraction=snakemake.params.fraction,
    )
    for path in map(Path, snakemake.output):
        write_table(path, tables[path.stem])
