"""Door to `usfmae.evaluation.label_efficiency`."""

from pathlib import Path

from usfmae.evaluation.label_efficiency import label_efficiency
from usfmae.progress import logged
from usfmae.record import write_table
from usfmae.settings import settings_from

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    task = settings_from(snakemake.config).tasks[snakemake.wildcards.task]
    folders = [Path(path).parent for path in snakemake.input]
    table = label_efficiency(folders, classes=list(task.classes), positive=task.positive, primary=task.metric)
    write_table(snakemake.output[0], table)
