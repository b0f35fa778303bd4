# The explained fold of each task and model as a folder that travels; not part of `all`.
localrules:
    export,


rule export:
    input:
        export_files(settings),
    message:
        "The explained models are in results/export"


rule export_model:
    input:
        weights=lambda w: f"{explained_run(settings, w.task, w.model)}/model.safetensors",
        predictions=lambda w: f"{explained_run(settings, w.task, w.model)}/predictions.parquet",
        record=lambda w: f"{explained_run(settings, w.task, w.model)}/run.json",
        folds=below(["results/finetune/{task}"], SPLIT),
        frames=lambda w: task_frames(settings, w.task),
        summary="results/statistics/{task}/summary.csv",
    output:
        expand("results/export/{{task}}/{{model}}/{name}", name=EXPORTED),
    log:
        "logs/export/{task}/{model}.log",
    benchmark:
        "logs/export/{task}/{model}.tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=3000,
        runtime=120,
    params:
        task=lambda w: settings.tasks[w.task].effective(),
        model=lambda w: settings.models[w.model].effective(),
        encoder=lambda w: encoder_shape(settings, w.model),
        facts=lambda w: card_facts(settings, w.task, w.model),
        version=STAGE_VERSION["export"],
    message:
        "Exporting {wildcards.model} of {wildcards.task}"
    script:
        "../scripts/export_model.py"
