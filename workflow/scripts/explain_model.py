"""Door to `usfmae.explain.run.explain` and its panels."""

from pathlib import Path

import torch

from usfmae.explain.run import explain
from usfmae.progress import logged
from usfmae.report.panels import draw_contact_sheet, draw_panels
from usfmae.settings import settings_from
from usfmae.training.processes import check_gpus

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    torch.set_num_threads(snakemake.threads)
    check_gpus(int(snakemake.resources.get("gpu", 0)))
    settings, out = settings_from(snakemake.config), Path(snakemake.output[0]).parent
    task, model = settings.tasks[snakemake.wildcards.task], settings.models[snakemake.wildcards.model]
    simulated = bool(settings.simulated(task.datasets))
    explain(
        task,
        model,
        settings.recipes.explain[settings.study.explain.recipe],
        wildcards=dict(snakemake.wildcards.items()),
        encoder=settings.encoder_of(snakemake.wildcards.model),
        corpus=Path("results/corpus") / task.corpus,
        run=Path(snakemake.input.weights).parent,
        seed=settings.study.seeds[0],
        simulated=simulated,
        out=out,
    )
    draw_panels(out, out / "panels", simulated=simulated, title=snakemake.params.title)
    draw_contact_sheet(out, out / "contact_sheet", simulated=simulated, title=snakemake.params.title)
