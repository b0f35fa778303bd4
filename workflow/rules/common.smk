# Which files each stage makes, as pure functions of the settings. Plain Python: tests run this file as it is.
import re

from usfmae.corpus.audit.seen import pretraining_corpora

# Raise a stage's number when its results change meaning: everything it made is then stale. Editing code or
# a comment alone makes nothing stale (profiles/default leaves `code` out of rerun-triggers).
STAGE_VERSION = dict(download=1, corpus=2, pretrain=1, finetune=1)
STAGE_VERSION |= dict(statistics=1, explain=1, report=1, track=1)

REPORT = ["results/report/report.html", "results/figures", "results/tables"]
SYNCED = "results/mlflow/synced.json"
RUN = "results/finetune/{task}/{model}/{recipe}/fraction-{fraction}/seed-{seed}/fold-{fold}"

FRAMES = "frames.npy masks.npy frames.parquet".split()
CURATED = [*FRAMES, "thumbnails.npy"]
AUDIT = "duplicates.parquet groups.parquet overlaps.csv curation.csv availability.csv".split()
AUDIT_FIGURES = "samples.png samples.pdf duplicates.png duplicates.pdf".split()
PRETRAINED = "encoder.safetensors mae.safetensors history.parquet reconstructions.npz run.json".split()
SPLIT = "folds.parquet folds.json".split()
FINETUNED = "predictions.parquet history.parquet model.safetensors run.json".split()
STATISTICS = "summary.csv comparisons.csv fold_metrics.csv roc.parquet confusion.csv".split()
EXPLAINED = "maps.npy inputs.npy masks.npy selection.parquet faithfulness.csv run.json".split()
PANELS = "panels.png panels.pdf".split()


def one_of(names):
    """Regular expression that matches exactly the given names."""
    return "|".join(map(re.escape, names)) or "(?!)"


def below(folders, names):
    return [f"{folder}/{name}" for folder in folders for name in names]


def curation(corpus):
    """The part of a corpus's settings that a single dataset's frames depend on."""
    return {**corpus.effective(), "datasets": [], "duplicates": {}}


def datasets_of(settings):
    """Datasets of all corpora of the study."""
    return list(dict.fromkeys(d for c in settings.study_corpora() for d in settings.members(c)))


def download_files(settings):
    return [f"resources/{dataset}/fetched.json" for dataset in datasets_of(settings)]


def curated_files(corpus, datasets, names=CURATED):
    return below([f"results/corpus/{corpus}/{dataset}" for dataset in datasets], names)


def corpus_files(settings):
    files = below([f"results/corpus/{name}" for name in settings.study_corpora()], AUDIT + AUDIT_FIGURES)
    for name in settings.study_corpora():
        files += curated_files(name, settings.members(name))
    return files + seen_files(settings)


def seen_files(settings):
    """Copies of a task's frames in each other corpus that an encoder of the study was pretrained on."""
    tasks = settings.study.tasks
    pairs = [(settings.tasks[t].corpus, p) for t in tasks for p in pretraining_corpora(settings, t)]
    return [f"results/corpus/{ours}/seen_in_{theirs}.parquet" for ours, theirs in dict.fromkeys(pairs)]


def audited(settings, corpus):
    """A corpus's settings with the datasets whose licence it uses."""
    return {**settings.corpora[corpus].effective(), "datasets": settings.members(corpus)}


def compared_files(settings, corpus):
    return curated_files(corpus, settings.members(corpus), ["frames.npy", "thumbnails.npy", "frames.parquet"])


def pretrain_datasets(settings, recipe):
    """Datasets of the corpus that a recipe pretrains on."""
    return settings.members(settings.recipes.pretrain[recipe].corpus)


def pretrain_files(settings):
    return below([f"results/pretrain/{recipe}" for recipe in settings.pretrain_recipes()], PRETRAINED)


def runs_of(settings, task, fractions):
    """Folders of the fine-tuning runs of a task at the given shares of training subjects."""
    return [
        RUN.format(
            task=task, model=model, recipe=settings.study.recipe, fraction=f"{f:g}", seed=seed, fold=fold
        )
        for model in settings.study.models
        for f in fractions
        for seed in settings.study.seeds
        for fold in range(settings.tasks[task].split.folds)
    ]


def main_runs(settings, task):
    """The runs that the statistics compare: those with the most training subjects."""
    return runs_of(settings, task, [max(settings.study.fractions)])


def task_frames(settings, task):
    """Curated files of a task's datasets."""
    return curated_files(settings.tasks[task].corpus, settings.tasks[task].datasets, FRAMES)


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


def explained_run(settings, task, model):
    """Folder of the run whose maps are made: the most training subjects, first seed, first fold."""
    return next(run for run in main_runs(settings, task) if f"/{task}/{model}/" in run)


def encoder_file(settings, model, fold):
    """The pretrained encoder that a model starts from in a fold, as a list: empty where from scratch."""
    recipes = settings.pretrain_of(model, fold)
    return below([f"results/pretrain/{recipe}" for recipe in recipes], ["encoder.safetensors"])


def left_out_folds(settings, recipe):
    """The folds whose test frames a recipe leaves out, as a list: empty where it names none."""
    left_out = settings.recipes.pretrain[recipe].leave_out
    return [f"results/finetune/{left_out.task}/folds.parquet"] if left_out else []


def encoder_shape(settings, model):
    encoder = settings.encoder_of(model)
    return encoder.effective() if encoder else None
