# Makes published weights available, and says what is there.
from usfmae.models.weights import weights_listing


rule fetch_weights:
    output:
        "resources/weights/{checkpoint}/fetched.json",
    log:
        "logs/download/weights/{checkpoint}.log",
    benchmark:
        "logs/download/weights/{checkpoint}.tsv"
    wildcard_constraints:
        checkpoint=one_of(settings.checkpoints),
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        access=lambda w: settings.checkpoints[w.checkpoint].access.effective(),
        # What a person has put there, so that a file placed there makes this checkpoint alone stale.
        listing=lambda w: weights_listing(
            settings.checkpoints[w.checkpoint], Path("resources/weights", w.checkpoint)
        ),
        version=STAGE_VERSION["download"],
    message:
        "Fetching the weights {wildcards.checkpoint}"
    script:
        "../scripts/fetch_weights.py"
