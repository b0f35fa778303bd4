# Makes each dataset's release available, and says what is there.
from usfmae.corpus.download.fetch import listing_digest


# A checkpoint: which tasks can be run is known when their releases are here, or could not be had.
checkpoint fetch_dataset:
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
        # What a person has put there: its listing, so that files placed there make this dataset alone stale.
        listing=lambda w: listing_digest(settings.datasets[w.dataset], Path("resources", w.dataset)),
        version=STAGE_VERSION["download"],
    message:
        "Fetching {wildcards.dataset}"
    script:
        "../scripts/fetch_dataset.py"


# Without an output or a benchmark, so that they run each time they are asked for.
rule verify:
    log:
        "logs/download/verify.log",
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=1000,
        runtime=600,
    message:
        "Checking everything in resources/ against its checksums, offline"
    script:
        "../scripts/verify_downloads.py"


rule retry:
    log:
        "logs/download/retry.log",
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=1000,
        runtime=600,
    message:
        "Trying again what could not be fetched"
    script:
        "../scripts/retry_downloads.py"


rule pin:
    log:
        "logs/download/pin.log",
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    message:
        "Gathering the checksums of all downloads into config/checksums.lock"
    script:
        "../scripts/pin_downloads.py"
