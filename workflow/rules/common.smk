# Paths of what the stages make, as functions of the settings; targets.smk says which of them each target makes.
import re

# Raise a stage's number when its results change meaning: everything it made is then stale. Editing code or
# a comment alone makes nothing stale (profiles/default leaves `code` out of rerun-triggers).
STAGE_VERSION = dict(download=1, corpus=3, pretrain=2, finetune=1, statistics=5, explain=2)
STAGE_VERSION |= dict(export=1, report=1, track=2)

REPORT = ["results/report/report.html", "results/figures", "results/tables", "results/report/claims.html"]
SYNCED = "results/mlflow/synced.json"
RUN = "results/finetune/{task}/{model}/{recipe}/fraction-{fraction}/seed-{seed}/fold-{fold}"

FRAMES = "frames.npy frames.parquet".split()
MASKED, CURATED = [*FRAMES, "masks.npy"], [*FRAMES, "masks.npy", "thumbnails.npy"]
AUDIT = "duplicates.parquet groups.parquet overlaps.csv curation.csv availability.csv".split()
AUDIT_FIGURES = "samples.png samples.pdf duplicates.png duplicates.pdf".split()
PRETRAINED = "encoder.safetensors mae.safetensors history.parquet reconstructions.npz run.json".split()
SPLIT = "folds.parquet folds.json".split()
FINETUNED = "predictions.parquet history.parquet model.safetensors run.json".split()
STATISTICS = "summary.csv comparisons.csv fold_metrics.csv roc.parquet pr.parquet confusion.csv".split()
STATISTICS += "summary_subjects.csv comparisons_subjects.csv calibration.csv reliability.csv".split()
STATISTICS += ["decisions.csv"]
EXPLAINED = "maps.npz inputs.npy masks.npy selection.parquet measures.parquet curves.csv".split()
EXPLAINED += "faithfulness.csv run.json panels.pdf contact_sheet.pdf".split()
EXPORTED = "MLmodel README.md model.safetensors features.safetensors model.onnx model.json".split()
EXPORTED += "preprocessing.json labels.json decision.json run.json".split()

FEATURES = "results/features/{task}/{model}/seed-{seed}/fold-{fold}/{kind}"
KINDS = {"linear_probe": "pooled", "knn": "pooled", "attentive_probe": "tokens"}


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


def curated_files(corpus, datasets, names=CURATED):
    return below([f"results/corpus/{corpus}/{dataset}" for dataset in datasets], names)


def compared_files(settings, corpus):
    return curated_files(corpus, settings.members(corpus), ["frames.npy", "thumbnails.npy", "frames.parquet"])


def pretrain_datasets(settings, recipe):
    return settings.members(settings.recipes.pretrain[recipe].corpus)


def grid_runs(settings, recipe):
    """Folders of the runs of a recipe's grid: none where it has no grid."""
    grid = settings.recipes.pretrain[recipe].grid
    folder = f"results/pretrain/{recipe}/grid"
    return [f"{folder}/{s}/fold-{k}" for s in grid.settings() for k in range(grid.folds)] if grid else []


def chosen_setting(settings, recipe):
    """The file that names the best setting of a recipe's grid, as a list: empty where there is none."""
    name = settings.grid_of(recipe)
    return [f"results/pretrain/{name}/grid.json"] if name else []


def runs_of(settings, task, fractions):
    """Folders of the fine-tuning runs of a task at the given shares of training subjects, of the models whose
    weights are at hand (weights.smk): to be called by an input function."""
    return [
        RUN.format(
            task=task, model=model, recipe=settings.recipe_of(model), fraction=f"{f:g}", seed=seed, fold=fold
        )
        for model in at_hand(settings).study.models
        for f in fractions
        for seed in settings.study.seeds
        for fold in range(settings.tasks[task].split.folds)
    ]


def main_runs(settings, task):
    """The runs that the statistics compare: those with the most training subjects."""
    return runs_of(settings, task, [max(settings.study.fractions)])


def task_frames(settings, task, names=FRAMES):
    """Curated files of a task's datasets; masks only for what reads them, so that a new mask makes no run stale."""
    return curated_files(settings.tasks[task].corpus, settings.tasks[task].datasets, names)


def explained_run(settings, task, model):
    """Folder of the run whose maps are made: the most training subjects, first seed, first fold."""
    return next(run for run in main_runs(settings, task) if f"/{task}/{model}/" in run)


def weights_file(checkpoint):
    """What says where published weights are, as a list: empty where none are named."""
    return [f"resources/weights/{checkpoint}/fetched.json"] if checkpoint else []


def encoder_file(settings, model, fold):
    """The encoder that a model starts from in a fold, as a list: empty where from scratch."""
    recipes = settings.pretrain_of(model, fold)
    ours = below([f"results/pretrain/{recipe}" for recipe in recipes], ["encoder.safetensors"])
    return ours + weights_file(settings.models[model].checkpoint)


def left_out_folds(settings, recipe):
    """The folds whose test frames a recipe leaves out, as a list: empty where it names none."""
    left_out = settings.recipes.pretrain[recipe].leave_out
    return [f"results/finetune/{left_out.task}/folds.parquet"] if left_out else []


def encoder_shape(settings, model):
    encoder = settings.encoder_of(model)
    return encoder.effective() if encoder else None


def features_of(w):
    """The cached features that a run reads, as a list: empty where its recipe trains all weights. `seed` and `fold`
    are 0 where the encoder does not depend on them: only random weights follow from the seed, and only `{fold}` in a
    model's `pretrain` names another encoder for each fold."""
    model, protocol = settings.models[w.model], settings.recipes.finetune[w.recipe].protocol
    seed = w.seed if model.weights == "scratch" else 0
    fold = w.fold if "{fold}" in (model.pretrain or "") else 0
    kinds = [KINDS[protocol]] if protocol in KINDS else []
    return [FEATURES.format(task=w.task, model=w.model, seed=seed, fold=fold, kind=k) + ".npy" for k in kinds]


def card_facts(settings, task, model):
    """What the model card says in words: a correction makes the card, and with it the export, stale."""
    recipes = [settings.recipes.pretrain[name] for name in settings.pretrain_of(model, 0)]
    names = settings.tasks[task].datasets + [d for recipe in recipes for d in settings.members(recipe.corpus)]
    datasets = {name: settings.datasets[name] for name in names}
    licences = {name: [entry.title, *entry.licence.model_dump().values()] for name, entry in datasets.items()}
    weights = [
        [settings.checkpoints[c].title, settings.checkpoints[c].licence]
        for c in model_weights(settings, model)
    ]
    titles = [settings.tasks[task].title, settings.tasks[task].notes, settings.models[model].title]
    return [*titles, licences, weights]
