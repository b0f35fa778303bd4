"""Door to `usfmae.corpus.download.pins.gather`."""

from pathlib import Path

from usfmae.corpus.download.pins import gather
from usfmae.progress import logged

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    lock = Path(snakemake.scriptdir).resolve().parents[1] / "config/checksums.lock"
    gather(Path("resources"), lock)
    print(f"{gather(Path('resources/weights'), lock)} checksums in {lock}: commit it")
