# Which files each stage's target asks for, as functions of the settings.
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
    return files


def finetune_files(settings):
    files = below([f"results/finetune/{task}" for task in settings.study.tasks], SPLIT)
    for task in settings.study.tasks:
        files += below(runs_of(settings, task, settings.study.fractions), FINETUNED)
    return files


def statistics_files(settings):
    return below([f"results/statistics/{task}" for task in settings.study.tasks], STATISTICS)


def explain_files(settings):
    study = settings.study
    folders = [f"results/explain/{task}/{model}" for task in study.tasks for model in study.explain.models]
    return below(folders, EXPLAINED + PANELS)
