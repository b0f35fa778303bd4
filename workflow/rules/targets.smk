# Which files each stage's target asks for, as functions of the settings.
CLAIMS = ["results/statistics/claims.csv", "results/statistics/arithmetic.csv"]
CLAIMED = ["summary.csv", "comparisons.csv", "fold_metrics.csv"]


def download_files(settings):
    return [f"resources/{dataset}/fetched.json" for dataset in datasets_of(settings)]


def corpus_files(settings):
    files = below([f"results/corpus/{name}" for name in settings.study_corpora()], AUDIT + AUDIT_FIGURES)
    for name in settings.study_corpora():
        files += curated_files(name, settings.members(name))
    return files + seen_files(settings)


def seen_files(settings):
    """Copies of a task's frames in each other corpus that an encoder of the study was pretrained on."""
    tasks = settings.study.tasks
    pairs = [(settings.tasks[t].corpus, p) for t in tasks for p in settings.pretraining_corpora(t)]
    return [f"results/corpus/{ours}/seen_in_{theirs}.parquet" for ours, theirs in dict.fromkeys(pairs)]


def pretrain_files(settings):
    recipes = settings.pretrain_recipes()
    files = below([f"results/pretrain/{recipe}" for recipe in recipes], PRETRAINED)
    for recipe in recipes:
        grid = grid_runs(settings, recipe)
        files += below(grid, ["history.parquet", "run.json"]) + chosen_setting(settings, recipe)
    return files + embedding_files(settings)


def embedding_files(settings):
    """A map of the corpus for each pretrained encoder; none where the study draws no frames for it."""
    recipes = settings.pretrain_recipes() if settings.study.embedding.frames else []
    return below(
        [f"results/pretrain/{recipe}" for recipe in recipes], ["embedding.parquet", "embedding.json"]
    )


def of_each_run(settings, names):
    tasks = settings.study.tasks
    runs = [run for task in tasks for run in runs_of(settings, task, settings.study.fractions)]
    return below([f"results/finetune/{task}" for task in tasks], SPLIT) + below(runs, names)


def finetune_files(settings):
    return of_each_run(settings, FINETUNED)


def finetune_records(settings):
    """One file a run stands for all that the run made, for what reads them all: four times as many inputs
    would be a third of the time that a plan takes."""
    return of_each_run(settings, ["run.json"])


def statistics_files(settings):
    files = below([f"results/statistics/{task}" for task in settings.study.tasks], STATISTICS)
    files += label_efficiency_files(settings) + subgroup_files(settings)
    files += ["results/statistics/ranks.csv"] if settings.study.tasks else []
    files += shortcut_files(settings) if settings.study.shortcuts else []
    return files + CLAIMS


def label_efficiency_files(settings):
    """A table a task; none where the study uses one share of the training subjects alone."""
    tasks = settings.study.tasks if len(settings.study.fractions) > 1 else []
    return [f"results/statistics/{task}/label_efficiency.csv" for task in tasks]


def subgroup_files(settings):
    """A table for each task that names a subgroup."""
    tasks = [task for task in settings.study.tasks if settings.tasks[task].subgroup]
    return [f"results/statistics/{task}/subgroups.csv" for task in tasks]


def shortcut_files(settings):
    """A table for each task whose datasets have masks."""

    def has_masks(task):
        return all(settings.datasets[name].masks for name in settings.tasks[task].datasets)

    tasks = filter(has_masks, settings.study.tasks)
    return [f"results/statistics/{task}/shortcuts.csv" for task in tasks]


def first_seed_runs(settings, task):
    """The folds' runs that the shortcut tests use: the most training subjects, first seed."""
    return [run for run in main_runs(settings, task) if f"/seed-{settings.study.seeds[0]}/" in run]


def explain_files(settings):
    study = settings.study
    folders = [f"results/explain/{task}/{model}" for task in study.tasks for model in study.explain.models]
    return below(folders, [*EXPLAINED, "panels.png", "contact_sheet.png"])


def export_files(settings):
    study = settings.study
    folders = [f"results/export/{task}/{model}" for task in study.tasks for model in study.explain.models]
    return below(folders, EXPORTED)


def claim_inputs(settings):
    """What the ledger reads: of the study's tasks those that a claim is about, and what the audits found."""
    claims = settings.claims.values()
    claimed = {claim.task_of(arm) for claim in claims for arm in ("published", "corrected")}
    tasks = [task for task in settings.study.tasks if task in claimed]
    files = below([f"results/statistics/{task}" for task in tasks], CLAIMED)
    files += below([f"results/finetune/{task}" for task in tasks], SPLIT)
    audits = [f"results/corpus/{corpus}" for corpus in settings.study_corpora()]
    mapped = {c.task_of(arm) for c in claims if c.outlined for arm in ("published", "corrected")}
    explained = [
        f"results/explain/{t}/{m}" for t in tasks if t in mapped for m in settings.study.explain.models
    ]
    files += below(audits, ["availability.csv", "overlaps.csv"]) + below(explained, ["faithfulness.csv"])
    return files + (seen_files(settings) if tasks else [])


def claim_settings(settings):
    """All settings that the ledger depends on; what is printed in it counts too."""
    names = ("papers", "claimed_models", "verdicts", "claims")
    ledger = settings.model_dump(mode="json", include=set(names))
    tasks = {name: settings.tasks[name].effective() for name in settings.study.tasks}
    models = {name: settings.models[name].effective() for name in settings.study.models}
    counts = {name: d.counts.files for name, d in settings.datasets.items() if d.number is not None}
    recipe = settings.recipes.pretrain.get("usfmae_published")
    facts = {"counts": counts, "recipe": recipe.effective() if recipe else None}
    facts["recipes"] = {name: settings.recipe_of(name) for name in settings.study.models}
    facts["outlines"] = {name: settings.tasks[name].outlines for name in settings.study.tasks}
    return {**ledger, **facts, "tasks": tasks, "models": models, "fractions": settings.study.fractions}
