"""Door to `usfmae.explain.run.explain` and its panels."""

from pathlib import Path

import torch

from usfmae.explain.run import explain
from usfmae.progress import logged
from usfmae.report.panels import scorecam_panels
from usfmae.settings.models import Encoder, Model
from usfmae.settings.recipes import ExplainRecipe
from usfmae.settings.tasks import Task

with logged(snakemake.log[0]):
    torch.set_num_threads(snakemake.threads)
    task, model = Task.model_validate(snakemake.params.task), Model.model_validate(snakemake.params.model)
    out, encoder = Path(snakemake.output[0]).parent, snakemake.params.encoder
    explain(
        task,
        model,
        ExplainRecipe.model_validate(snakemake.params.recipe),
        wildcards=dict(snakemake.wildcards.items()),
        encoder=Encoder.model_validate(encoder) if encoder else None,
        corpus=Path("results/corpus") / task.corpus,
        run=Path(snakemake.input.weights).parent,
        seed=snakemake.params.seed,
        simulated=snakemake.params.simulated,
        out=out,
    )
    title = f"{model.title}: {task.title}"
    scorecam_panels(out, out / "panels", simulated=snakemake.params.simulated, title=title)
