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
        models=study.models,
        fraction=max(study.fractions),
        version=STAGE_VERSION["statistics"],
    message:
        "Comparing the models on {wildcards.task}"
    script:
        "../scripts/compare_models.py"


# The models over all tasks: a test only where there are enough of them.
rule rank_models:
    input:
        lambda w: [f"results/statistics/{task}/summary.csv" for task in at_hand(settings).study.tasks],
    output:
        "results/statistics/ranks.csv",
    log:
        "logs/statistics/ranks.log",
    benchmark:
        "logs/statistics/ranks.tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        metrics={task: settings.tasks[task].metric for task in study.tasks},
        datasets={task: settings.tasks[task].datasets for task in study.tasks},
        version=STAGE_VERSION["statistics"],
    message:
        "Ranking the models over all tasks"
    script:
        "../scripts/rank_models.py"


# The same models after fine-tuning on fewer subjects.
rule measure_label_efficiency:
    input:
        lambda w: below(runs_of(settings, w.task, study.fractions), ["run.json"]),
    output:
        "results/statistics/{task}/label_efficiency.csv",
    log:
        "logs/statistics/{task}_label_efficiency.log",
    benchmark:
        "logs/statistics/{task}_label_efficiency.tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        task=lambda w: settings.tasks[w.task].effective(),
        version=STAGE_VERSION["statistics"],
    message:
        "Label efficiency on {wildcards.task}"
    script:
        "../scripts/measure_label_efficiency.py"


rule label_efficiency:
    input:
        lambda w: label_efficiency_files(at_hand(settings)),
    localrule: True
    message:
        (
            "The results at each share of the training subjects are in results/statistics"
            if len(study.fractions) > 1
            else "study.fractions names one share alone: there is nothing to compare"
        )


# The same predictions, by device or whatever else the release's table tells of a frame.
rule measure_subgroups:
    input:
        predictions=lambda w: [f"{run}/predictions.parquet" for run in main_runs(settings, w.task)],
        frames=lambda w: curated_files(
            settings.tasks[w.task].corpus, settings.tasks[w.task].datasets, ["frames.parquet"]
        ),
        fetched=lambda w: [f"resources/{dataset}/fetched.json" for dataset in settings.tasks[w.task].datasets],
    output:
        "results/statistics/{task}/subgroups.csv",
    log:
        "logs/statistics/{task}_subgroups.log",
    benchmark:
        "logs/statistics/{task}_subgroups.tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        task=lambda w: settings.tasks[w.task].effective(),
        subgroup=lambda w: settings.tasks[w.task].subgroup,
        statistics=settings.statistics.effective(),
        version=STAGE_VERSION["statistics"],
    message:
        "Results by subgroup on {wildcards.task}"
    script:
        "../scripts/measure_subgroups.py"


# The trained models again, on frames without the lesion: a job a model, and their tables in one.
rule measure_shortcuts:
    input:
        runs=lambda w: below(
            [run for run in first_seed_runs(settings, w.task) if f"/{w.task}/{w.model}/" in run],
            ["model.safetensors", "predictions.parquet"],
        ),
        frames=lambda w: task_frames(settings, w.task, MASKED),
    output:
        "results/statistics/{task}/shortcuts/{model}.csv",
    log:
        "logs/statistics/{task}_shortcuts_{model}.log",
    benchmark:
        "logs/statistics/{task}_shortcuts_{model}.tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        task=lambda w: settings.tasks[w.task].effective(),
        model=lambda w: settings.models[w.model].effective(),
        statistics=settings.statistics.effective(),
        version=STAGE_VERSION["statistics"],
    message:
        "What {wildcards.model} can do on {wildcards.task} without the lesion"
    script:
        "../scripts/measure_shortcuts.py"


rule gather_shortcuts:
    input:
        lambda w: [f"results/statistics/{w.task}/shortcuts/{m}.csv" for m in at_hand(settings).study.models],
    output:
        "results/statistics/{task}/shortcuts.csv",
    log:
        "logs/statistics/{task}_shortcuts.log",
    benchmark:
        "logs/statistics/{task}_shortcuts.tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        version=STAGE_VERSION["statistics"],
    message:
        "Gathering the results without the lesion on {wildcards.task}"
    script:
        "../scripts/gather_shortcuts.py"


rule shortcuts:
    input:
        lambda w: shortcut_files(at_hand(settings)),
    localrule: True
    message:
        (
            "The results without the lesion are in results/statistics"
            if shortcut_files(settings)
            else "No task of the study has masks: there is no lesion to take away"
        )
