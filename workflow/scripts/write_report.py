"""Door to `usfmae.report.page.write_report`."""

from pathlib import Path

from usfmae.progress import logged
from usfmae.report.page import write_report
from usfmae.settings import Settings

with logged(snakemake.log[0]):
    results = Path("results")
    write_report(
        Settings.model_validate(snakemake.params.settings),
        results,
        Path(snakemake.output[0]),
        figures=results / "figures",
        tables=results / "tables",
    )
