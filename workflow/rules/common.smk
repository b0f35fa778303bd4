# Which files each stage makes, as pure functions of the settings. Plain Python: tests run this file as it is.
import re

# Raise a stage's number when its results change meaning: everything it made is then stale. Editing code or
# a comment alone makes nothing stale (profiles/default leaves `code` out of rerun-triggers).
STAGE_VERSION = {
    "download": 1,
    "corpus": 1,
    "pretrain": 1,
    "finetune": 1,
    "statistics": 1,
    "explain": 1,
    "report": 1,
    "track": 1,
}

REPORT = "results/report/report.html"
SYNCED = "results/mlflow/synced.json"
RUN = "results/finetune/{task}/{model}/{recipe}/fraction-{fraction}/seed-{seed}/fold-{fold}"

CURATED = ["frames.npy", "masks.npy", "frames.parquet"]
AUDIT = ["duplicates.parquet", "groups.parquet", "curation.csv"]
AUDIT_FIGURES = ["samples.png", "samples.pdf", "duplicates.png", "duplicates.pdf"]
PRETRAINED = [
    "encoder.safetensors",
    "mae.safetensors",
    "history.parquet",
    "reconstructions.npz",
    "run.json",
]
FINETUNED = ["predictions.parquet", "history.parquet", "model.safetensors", "run.json"]
STATISTICS = [
    "summary.csv",
    "comparisons.csv",
    "fold_metrics.csv",
    "roc.parquet",
    "confusion.csv",
]
EXPLAINED = [
    "maps.npy",
    "inputs.npy",
    "masks.npy",
    "selection.parquet",
    "faithfulness.csv",
    "run.json",
]
PANELS = ["panels.png", "panels.pdf"]


def one_of(names):
    """Regular expression that matches exactly the given names."""
    return "|".join(map(re.escape, names)) or "(?!)"


def below(folder, names):
    return [f"{folder}/{name}" for name in names]


def plain(model):
    """A settings model as plain data, which Snakemake can compare between runs."""
    return model.model_dump(mode="json")


def curation(corpus):
    """The part of a corpus's settings that a single dataset's frames depend on."""
    return {**plain(corpus), "datasets": [], "duplicates": {}}


def corpora_of(settings):
    """Corpora that the study's tasks and pretraining recipes use."""
    study, recipes = settings.study, settings.recipes.pretrain
    names = [settings.tasks[task].corpus for task in study.tasks]
    names += [recipes[recipe].corpus for recipe in pretrain_recipes(settings)]
    return list(dict.fromkeys(names))


def pretrain_recipes(settings):
    """Pretraining recipes asked for, and those whose encoder a model of the study starts from."""
    models = [settings.models[model] for model in settings.study.models]
    return list(
        dict.fromkeys(
            [*settings.study.pretrain, *(m.pretrain for m in models if m.pretrain)]
        )
    )


def datasets_of(settings):
    """Datasets of the study's corpora."""
    return list(
        dict.fromkeys(
            d for c in corpora_of(settings) for d in settings.corpora[c].datasets
        )
    )


def download_files(settings):
    return [f"resources/{dataset}/fetched.json" for dataset in datasets_of(settings)]


def curated_files(corpus, datasets, names=CURATED):
    return [
        f"results/corpus/{corpus}/{dataset}/{name}"
        for dataset in datasets
        for name in names
    ]


def corpus_files(settings):
    files = []
    for name in corpora_of(settings):
        files += curated_files(name, settings.corpora[name].datasets)
        files += below(f"results/corpus/{name}", AUDIT + AUDIT_FIGURES)
    return files


def pretrain_datasets(settings, recipe):
    """Datasets of the corpus that a recipe pretrains on."""
    return settings.corpora[settings.recipes.pretrain[recipe].corpus].datasets


def pretrain_files(settings):
    return [
        file
        for recipe in pretrain_recipes(settings)
        for file in below(f"results/pretrain/{recipe}", PRETRAINED)
    ]


def runs_of(settings, task):
    """Folders of the fine-tuning runs of a task."""
    study = settings.study
    return [
        RUN.format(
            task=task,
            model=model,
            recipe=study.recipe,
            fraction=f"{fraction:g}",
            seed=seed,
            fold=fold,
        )
        for model in study.models
        for fraction in study.fractions
        for seed in study.seeds
        for fold in range(settings.tasks[task].split.folds)
    ]


def main_runs(settings, task):
    """Runs that the statistics compare: those with all training subjects."""
    full = f"fraction-{max(settings.study.fractions):g}/"
    return [run for run in runs_of(settings, task) if full in run]


def task_frames(settings, task):
    """Curated files of a task's datasets."""
    return curated_files(settings.tasks[task].corpus, settings.tasks[task].datasets)


def finetune_files(settings):
    files = []
    for task in settings.study.tasks:
        files += below(f"results/finetune/{task}", ["folds.parquet", "folds.json"])
        files += [
            file for run in runs_of(settings, task) for file in below(run, FINETUNED)
        ]
    return files


def statistics_files(settings):
    return [
        file
        for task in settings.study.tasks
        for file in below(f"results/statistics/{task}", STATISTICS)
    ]


def explain_files(settings):
    return [
        file
        for task in settings.study.tasks
        for model in settings.study.explain.models
        for file in below(f"results/explain/{task}/{model}", EXPLAINED + PANELS)
    ]


def explained_run(settings, task, model):
    """Folder of the run whose maps are made: all training subjects, first seed, first fold."""
    study = settings.study
    fraction = f"{max(study.fractions):g}"
    return RUN.format(
        task=task,
        model=model,
        recipe=study.recipe,
        fraction=fraction,
        seed=study.seeds[0],
        fold=0,
    )


def encoder_file(settings, model):
    """The pretrained encoder that a model starts from, as a list: empty where it starts from scratch."""
    recipe = settings.models[model].pretrain
    return [f"results/pretrain/{recipe}/encoder.safetensors"] if recipe else []


def encoder_shape(settings, model):
    name = settings.models[model].encoder
    return plain(settings.encoders[name]) if name else None


def simulated(settings, datasets):
    """Whether any of the datasets is simulated."""
    return any(settings.datasets[dataset].simulated for dataset in datasets)
