"""Door to `usfmae.corpus.download.fetch.retry`."""

from pathlib import Path

from usfmae.corpus.download.fetch import retry
from usfmae.models.weights import as_release
from usfmae.progress import logged
from usfmae.settings import settings_from

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    settings = settings_from(snakemake.config)
    lock = Path(snakemake.scriptdir).resolve().parents[1] / "config/checksums.lock"
    weights = {name: as_release(checkpoint) for name, checkpoint in settings.checkpoints.items()}
    tried = retry(settings.datasets, Path("resources"), settings.download, lock)
    tried |= retry(weights, Path("resources/weights"), settings.download, lock)
    for name, reason in tried.items():
        print(f"{name} is here now" if reason is None else f"{name} is still unavailable: {reason}")
    here = sum(reason is None for reason in tried.values())
    print(f"{here} of {len(tried)} that were unavailable are here now; the next command takes them up.")
