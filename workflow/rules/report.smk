# One page from everything above.
rule write_report:
    input:
        download_files(settings),
        corpus_files(settings),
        pretrain_files(settings),
        finetune_files(settings),
        statistics_files(settings),
        explain_files(settings),
    output:
        REPORT[0],
        directory(REPORT[1]),
        directory(REPORT[2]),
        REPORT[3],
    log:
        "logs/report/report.log",
    benchmark:
        "logs/report/report.tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings.model_dump(mode="json"),
        version=STAGE_VERSION["report"],
    message:
        "Writing the report"
    script:
        "../scripts/write_report.py"
