"""Door to `usfmae.training.launch.run`: the final run of a recipe, or one fold of its grid."""

from pathlib import Path

import torch

from usfmae.progress import logged
from usfmae.training.launch import run

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    torch.set_num_threads(snakemake.threads)
    given, nodes = snakemake.input, int(snakemake.resources.get("nodes", 1))
    gpus = int(snakemake.resources.get("gpu", 0)) // nodes  # of each node
    one = {key: str(given[key]) for key in ("folds", "initial_weights", "chosen") if given.get(key)}
    asked = {
        **one,
        **dict(snakemake.wildcards.items()),
        "wildcards": dict(snakemake.wildcards.items()),
        "corpus": str(Path(given.groups).parent),
        "out": str(Path(snakemake.output.record).parent),
        "checkpoints": snakemake.params.checkpoints,
        "gpus": gpus,
    }
    run(snakemake.config, asked, processes=gpus, nodes=nodes, threads=snakemake.threads)
