"""Door to `usfmae.corpus.download.pins.gather`."""

from pathlib import Path

from usfmae.corpus.download.pins import gather
from usfmae.progress import logged

with logged(snakemake.log[0]):
    lock = Path(snakemake.scriptdir).resolve().parents[1] / "config/checksums.lock"
    print(f"{gather(Path('resources'), lock)} checksums in {lock}: commit it")
