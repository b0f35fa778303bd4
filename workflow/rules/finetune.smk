# Splits each task once, then trains every model on every fold in the same way.
rule split_task:
    input:
        groups=lambda w: f"results/corpus/{settings.tasks[w.task].corpus}/groups.parquet",
        frames=lambda w: task_frames(settings, w.task),
    output:
        folds="results/finetune/{task}/folds.parquet",
        facts="results/finetune/{task}/folds.json",
    log:
        "logs/finetune/{task}/folds.log",
    benchmark:
        "logs/finetune/{task}/folds.tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        task=lambda w: settings.tasks[w.task].effective(),
        version=STAGE_VERSION["finetune"],
    message:
        "Splitting {wildcards.task} by subject and duplicate group"
    script:
        "../scripts/split_task.py"


# Of a frozen encoder, once for all folds and seeds that share its weights.
rule extract_features:
    input:
        folds="results/finetune/{task}/folds.parquet",
        frames=lambda w: task_frames(settings, w.task),
        weights=lambda w: encoder_file(settings, w.model, w.fold),
    output:
        features=f"{FEATURES}.npy",
        frame_ids=f"{FEATURES}.parquet",
        encoder=f"{FEATURES}.json",
    log:
        FEATURES.replace("results", "logs", 1) + ".log",
    benchmark:
        FEATURES.replace("results", "logs", 1) + ".tsv"
    wildcard_constraints:
        kind="pooled|tokens",
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        task=lambda w: settings.tasks[w.task].effective(),
        model=lambda w: settings.models[w.model].effective(),
        encoder=lambda w: encoder_shape(settings, w.model),
        version=STAGE_VERSION["finetune"],
    message:
        "Computing the {wildcards.kind} features of {wildcards.model} on {wildcards.task}"
    script:
        "../scripts/extract_features.py"


rule finetune_fold:
    input:
        folds="results/finetune/{task}/folds.parquet",
        frames=lambda w: task_frames(settings, w.task),
        weights=lambda w: encoder_file(settings, w.model, w.fold),
        features=features_of,
    output:
        predictions=f"{RUN}/predictions.parquet",
        history=f"{RUN}/history.parquet",
        weights=f"{RUN}/model.safetensors",
        record=f"{RUN}/run.json",
    log:
        RUN.replace("results", "logs", 1) + ".log",
    benchmark:
        RUN.replace("results", "logs", 1) + ".tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        task=lambda w: settings.tasks[w.task].effective(),
        model=lambda w: settings.models[w.model].effective(),
        encoder=lambda w: encoder_shape(settings, w.model),
        recipe=lambda w: settings.recipes.finetune[w.recipe].effective(),
        simulated=lambda w: bool(settings.simulated(settings.tasks[w.task].datasets)),
        # A side path, no declared output: Snakemake deletes the outputs of a job that was killed.
        checkpoints=RUN.replace("results", "checkpoints", 1),
        version=STAGE_VERSION["finetune"],
    message:
        "Fine-tuning {wildcards.model} on {wildcards.task}, fold {wildcards.fold}, seed {wildcards.seed}"
    script:
        "../scripts/finetune_fold.py"
