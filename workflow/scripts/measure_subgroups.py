"""Door to `usfmae.evaluation.subgroups`."""

import json
from pathlib import Path

import pandas as pd

from usfmae.corpus.releases.layout import column_of
from usfmae.evaluation.predictions import read_predictions
from usfmae.evaluation.subgroups import subgroup_table
from usfmae.progress import logged
from usfmae.record import write_table
from usfmae.settings import settings_from

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    settings = settings_from(snakemake.config)
    task = settings.tasks[snakemake.wildcards.task]
    groups = []
    for name, fetched, frames in zip(
        task.datasets, snakemake.input.fetched, snakemake.input.frames, strict=True
    ):
        root = Path(fetched).parent / json.loads(Path(fetched).read_text(encoding="utf-8"))["root"]
        values = column_of(name, settings.datasets[name], root, task.subgroup)
        groups.append(pd.read_parquet(frames).set_index("frame_id")["source"].map(values))
    table = subgroup_table(
        read_predictions([Path(path) for path in snakemake.input.predictions]),
        pd.concat(groups),
        classes=list(task.classes),
        positive=task.positive,
        resamples=settings.statistics.resamples,
        seed=settings.statistics.seed,
    )
    write_table(snakemake.output[0], table)
