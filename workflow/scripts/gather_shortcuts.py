"""Puts the models' tables of `measure_shortcuts` below each other."""

import pandas as pd

from usfmae.progress import logged
from usfmae.record import write_table

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    write_table(snakemake.output[0], pd.concat(map(pd.read_csv, snakemake.input), ignore_index=True))
