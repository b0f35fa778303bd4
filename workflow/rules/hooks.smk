# What happens once, before the first job and after the last. Snakemake knows one of each kind: they all stand here.
from usfmae.attempts import forget
from usfmae.corpus.download.hosts import LOCAL
from usfmae.finished import remove_finished


onstart:
    forget(Path("logs"))
    # Before the first byte: how much is needed, how much is free, and what does not fit.
    wanted = {
        d: settings.datasets[d]
        for d in datasets_of(settings)
        if not Path("resources", d, "fetched.json").exists()
    }
    if any(dataset.access.host not in LOCAL for dataset in wanted.values()):
        from usfmae.corpus.download.space import space_text

        print(space_text(wanted, Path("resources")), flush=True)


# By now Snakemake has noted which jobs are done.
onsuccess:
    remove_finished(Path("checkpoints"))


onerror:
    remove_finished(Path("checkpoints"))
