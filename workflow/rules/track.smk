# Fills MLflow from the run records. The store itself is a side path: it may be deleted at any time.
# The rule is the target itself, so `--forcerun track` fills it again after a change that Snakemake does not see:
# a moved results folder, another server.
# MLFLOW_TRACKING_URI, which may hold a password, is read by the script: it is no parameter and reaches no log.
rule track:
    input:
        corpus_files(settings),
        pretrain_files(settings),
        finetune_records(settings),
        statistics_files(settings),
        explain_files(settings),
        REPORT,
    output:
        SYNCED,
    log:
        "logs/track/track.log",
    benchmark:
        "logs/track/track.tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        tracking=settings.tracking.effective(),
        runs=lambda w: [
            run.removeprefix("results/")
            for task in study.tasks
            for run in runs_of(settings, task, study.fractions)
        ],
        version=STAGE_VERSION["track"],
    message:
        "Filling MLflow from the run records"
    script:
        "../scripts/sync_mlflow.py"
