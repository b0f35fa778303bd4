"""Door to `usfmae.evaluation.claims` and `usfmae.evaluation.arithmetic`."""

from pathlib import Path

from usfmae.evaluation.arithmetic import arithmetic
from usfmae.evaluation.claims import ledger
from usfmae.progress import logged
from usfmae.record import write_table
from usfmae.settings import settings_from

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    settings = settings_from(snakemake.config)
    write_table(snakemake.output.claims, ledger(settings, Path("results")))
    write_table(snakemake.output.arithmetic, arithmetic(settings))
