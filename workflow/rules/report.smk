# One page from everything above.
rule write_report:
    input:
        download_files(settings),
        corpus_files(settings),
        pretrain_files(settings),
        finetune_records(settings),
        statistics_files(settings),
        explain_files(settings),
    output:
        report(REPORT[0], caption="../report/page.rst", category="Report"),
        report(
            directory(REPORT[1]),
            patterns=["{name}.png"],
            caption="../report/figure.rst",
            category="Figures",
            subcategory=lambda w: subject_of(w.name),
            labels=figure_labels,
        ),
        report(
            directory(REPORT[2]),
            patterns=["{name}.csv"],
            caption="../report/table.rst",
            category="Tables",
            subcategory=lambda w: subject_of(w.name),
            labels=table_labels,
        ),
        report(REPORT[3], caption="../report/claims.rst", category="Report"),
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
