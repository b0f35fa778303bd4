"""Door to `usfmae.report.page.write_report`."""

from pathlib import Path

from usfmae.progress import logged
from usfmae.report.page import write_report
from usfmae.settings import settings_from

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    results = Path("results")
    write_report(
        settings_from(snakemake.config),
        results,
        Path(snakemake.output[0]),
        figures=results / "figures",
        tables=results / "tables",
    )
