# Makes each dataset's release available, and says what is there.
from usfmae.corpus.download import listing_digest


rule fetch_dataset:
    output:
        "resources/{dataset}/fetched.json",
    log:
        "logs/download/{dataset}.log",
    benchmark:
        "logs/download/{dataset}.tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=1000,
        runtime=600,
    params:
        access=lambda w: settings.datasets[w.dataset].access.effective(),
        # A person's own folder: its listing, so that files placed there make this dataset alone stale.
        listing=lambda w: listing_digest(settings.datasets[w.dataset]),
        version=STAGE_VERSION["download"],
    message:
        "Fetching {wildcards.dataset}"
    script:
        "../scripts/fetch_dataset.py"
