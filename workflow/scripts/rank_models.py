"""Door to `usfmae.evaluation.comparison.ranks`."""

from pathlib import Path

import pandas as pd

from usfmae.evaluation.comparison.ranks import rank_models, task_values
from usfmae.progress import logged
from usfmae.record import write_table

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    values, datasets = {}, {}
    for file in map(Path, snakemake.input):
        task = file.parent.name
        datasets[task] = snakemake.params.datasets[task]
        values[task] = task_values(pd.read_csv(file), snakemake.params.metrics[task])
    write_table(snakemake.output[0], rank_models(values, datasets))
