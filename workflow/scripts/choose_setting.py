"""Door to `usfmae.training.grid.choose`."""

from pathlib import Path

from usfmae.progress import logged
from usfmae.settings import settings_from
from usfmae.training.grid import choose

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    recipe = settings_from(snakemake.config).recipes.pretrain[snakemake.wildcards.recipe]
    table, chosen = Path(snakemake.output.table), Path(snakemake.output.chosen)
    choose(recipe.grid, table.parent / "grid", table, chosen)
    print(chosen.read_text(encoding="utf-8"))
