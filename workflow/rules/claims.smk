# Every published claim beside what this study found, and what published figures allow by arithmetic alone.
rule settle_claims:
    input:
        lambda w: claim_inputs(at_hand(settings)),
    output:
        claims=CLAIMS[0],
        arithmetic=CLAIMS[1],
    log:
        "logs/statistics/claims.log",
    benchmark:
        "logs/statistics/claims.tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=claim_settings(settings),
        version=STAGE_VERSION["statistics"],
    message:
        "Setting the published claims beside this study"
    script:
        "../scripts/settle_claims.py"
