"""Door to `usfmae.explain.shortcuts`."""

from pathlib import Path

import pandas as pd
import torch

from usfmae.explain.shortcuts import COLUMNS, shortcuts
from usfmae.progress import logged
from usfmae.record import write_table
from usfmae.settings import settings_from
from usfmae.training.processes import check_gpus

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    torch.set_num_threads(snakemake.threads)
    check_gpus(int(snakemake.resources.get("gpu", 0)))
    settings = settings_from(snakemake.config)
    task, name = settings.tasks[snakemake.wildcards.task], snakemake.wildcards.model
    protocol = settings.recipes.finetune[settings.recipe_of(name)].protocol
    if protocol in ("knn", "attentive_probe"):
        note = f"not tested: {protocol} keeps what reads cached features, not a network"
        table = pd.DataFrame([{"model": name, "note": note}], columns=COLUMNS)
    else:
        table = shortcuts(
            name,
            task,
            settings.models[name],
            settings.encoder_of(name),
            corpus=Path("results/corpus") / task.corpus,
            runs=list(dict.fromkeys(Path(path).parent for path in snakemake.input.runs)),
            resamples=settings.statistics.resamples,
            seed=settings.statistics.seed,
        )
    write_table(snakemake.output[0], table)
