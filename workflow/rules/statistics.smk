# Metrics with intervals, and every model against the reference, from saved predictions alone.
rule compare_models:
    input:
        lambda w: [f"{run}/predictions.parquet" for run in main_runs(settings, w.task)],
    output:
        expand("results/statistics/{{task}}/{name}", name=STATISTICS),
    log:
        "logs/statistics/{task}.log",
    benchmark:
        "logs/statistics/{task}.tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        task=lambda w: settings.tasks[w.task].effective(),
        statistics=settings.statistics.effective(),
        reference=study.reference,
        fraction=max(study.fractions),
        version=STAGE_VERSION["statistics"],
    message:
        "Comparing the models on {wildcards.task}"
    script:
        "../scripts/compare_models.py"
