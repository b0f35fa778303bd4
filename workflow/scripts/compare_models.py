"""Door to `usfmae.evaluation.tables`."""

from pathlib import Path

from usfmae.evaluation.predictions import read_predictions
from usfmae.evaluation.tables import statistics_tables
from usfmae.progress import logged
from usfmae.record import write_table
from usfmae.settings import settings_from

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    settings = settings_from(snakemake.config)
    task = settings.tasks[snakemake.wildcards.task]
    tables = statistics_tables(
        read_predictions([Path(path) for path in snakemake.input]),
        classes=list(task.classes),
        positive=task.positive,
        primary=task.metric,
        resamples=settings.statistics.resamples,
        seed=settings.statistics.seed,
        rope=settings.statistics.rope,
        reference=settings.study.reference,
        fraction=max(settings.study.fractions),
        models=settings.study.models,
    )
    for path in map(Path, snakemake.output):
        write_table(path, tables[path.stem])
