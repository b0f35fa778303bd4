# Makes published weights available, and says what is there. What starts from weights that cannot be had, or needs a
# release that cannot be had, is left out of every target, and the report says so: which these are is known once they
# have been fetched, or could not be.
from usfmae.corpus.download.unavailable import unavailable_datasets
from usfmae.models.weights import missing_weights, weights_listing
from usfmae.settings.at_hand import model_weights, study_weights, without_missing


def at_hand(settings):
    """The settings with the tasks, models and recipes of the study whose data and weights are here. A dry run that
    comes before the first fetch counts on all of them."""
    weights = study_weights(settings)
    datasets = list(
        dict.fromkeys(name for task in settings.study.tasks for name in settings.tasks[task].datasets)
    )
    if workflow.dryrun:
        weights = [name for name in weights if Path(*weights_file(name)).exists()]
        datasets = [name for name in datasets if Path("resources", name, "fetched.json").exists()]
    for name in weights:
        checkpoints.fetch_weights.get(checkpoint=name)
    for name in datasets:
        checkpoints.fetch_dataset.get(dataset=name)
    resources = Path("resources")
    return without_missing(
        settings, missing_weights(resources, weights), unavailable_datasets(resources, datasets)
    )


def once_fetched(files):
    """The function of targets.smk as one that Snakemake calls when weights and releases have been fetched."""
    return lambda settings: lambda wildcards: files(at_hand(settings))


def weights_files(settings):
    return [file for name in study_weights(settings) for file in weights_file(name)]


pretrain_files, finetune_files, finetune_records = map(
    once_fetched, (pretrain_files, finetune_files, finetune_records)
)
statistics_files, explain_files, export_files = map(
    once_fetched, (statistics_files, explain_files, export_files)
)


checkpoint fetch_weights:
    output:
        "resources/weights/{checkpoint}/fetched.json",
    log:
        "logs/download/weights/{checkpoint}.log",
    benchmark:
        "logs/download/weights/{checkpoint}.tsv"
    wildcard_constraints:
        checkpoint=one_of(settings.checkpoints),
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        access=lambda w: settings.checkpoints[w.checkpoint].access.effective(),
        # What a person has put there, so that a file placed there makes this checkpoint alone stale.
        listing=lambda w: weights_listing(
            settings.checkpoints[w.checkpoint], Path("resources/weights", w.checkpoint)
        ),
        version=STAGE_VERSION["download"],
    message:
        "Fetching the weights {wildcards.checkpoint}"
    script:
        "../scripts/fetch_weights.py"
