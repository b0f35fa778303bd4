# Maps of one trained fold, drawn and checked.
rule explain_model:
    input:
        weights=lambda w: f"{explained_run(settings, w.task, w.model)}/model.safetensors",
        predictions=lambda w: f"{explained_run(settings, w.task, w.model)}/predictions.parquet",
        frames=lambda w: task_frames(settings, w.task, MASKED),
    output:
        expand("results/explain/{{task}}/{{model}}/{name}", name=EXPLAINED),
        report(
            "results/explain/{task}/{model}/panels.png",
            caption="../report/panels.rst",
            category="Explanations",
            subcategory=lambda w: settings.tasks[w.task].title,
            labels={"model": "{model}", "figure": "panels"},
        ),
        report(
            "results/explain/{task}/{model}/contact_sheet.png",
            caption="../report/panels.rst",
            category="Explanations",
            subcategory=lambda w: settings.tasks[w.task].title,
            labels={"model": "{model}", "figure": "all explained frames"},
        ),
    log:
        "logs/explain/{task}/{model}.log",
    benchmark:
        "logs/explain/{task}/{model}.tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=3000,
        runtime=120,
    params:
        task=lambda w: settings.tasks[w.task].effective(),
        model=lambda w: settings.models[w.model].effective(),
        encoder=lambda w: encoder_shape(settings, w.model),
        recipe=settings.recipes.explain[study.explain.recipe].effective(),
        title=lambda w: f"{settings.models[w.model].title}: {settings.tasks[w.task].title}",
        seed=study.seeds[0],
        simulated=lambda w: bool(settings.simulated(settings.tasks[w.task].datasets)),
        version=STAGE_VERSION["explain"],
    message:
        "Maps of {wildcards.model} on {wildcards.task}"
    script:
        "../scripts/explain_model.py"
