# The front door: the configuration, the rule files, and one named target a stage.
#   snakemake --cores 2                     the whole study
#   snakemake --cores 2 statistics          one stage and what it needs
#   snakemake --cores 2 --configfile FILE   another study (an overlay over config/)
from pathlib import Path

from snakemake.utils import min_version

from usfmae.settings import settings_from

min_version("9.20")

# Beside this file, also where workflow/Snakefile includes it.
CONFIG = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)) / "config"


configfile: CONFIG / "datasets.yaml"
configfile: CONFIG / "openus46.yaml"
configfile: CONFIG / "models.yaml"
configfile: CONFIG / "recipes.yaml"
configfile: CONFIG / "tasks.yaml"
configfile: CONFIG / "claims.yaml"
configfile: CONFIG / "config.yaml"


settings = settings_from(config, [Path(file) for file in workflow.configfiles])
study = settings.study


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/captions.smk"
include: "workflow/rules/targets.smk"
include: "workflow/rules/weights.smk"


wildcard_constraints:
    dataset=one_of(settings.datasets),
    corpus=one_of(settings.corpora),
    task=one_of(settings.tasks),
    model=one_of(settings.models),
    recipe=one_of([*settings.recipes.pretrain, *settings.recipes.finetune]),
    fraction=r"[0-9.]+",
    seed=r"\d+",
    fold=r"\d+",


localrules:
    all,
    download,
    corpus,
    pretrain,
    finetune,
    statistics,
    explain,
    report,
    track,
    fetch_dataset,
    fetch_weights,
    verify,
    retry,
    pin,


rule all:
    default_target: True
    input:
        download_files(settings),
        weights_files(settings),
        corpus_files(settings),
        pretrain_files(settings),
        finetune_files(settings),
        statistics_files(settings),
        explain_files(settings),
        REPORT,
        SYNCED,
    message:
        "The study is complete: results/report/report.html"


rule download:
    input:
        download_files(settings),
        weights_files(settings),
    message:
        "Datasets and published weights are available, or it is said why not"


rule corpus:
    input:
        corpus_files(settings),
    message:
        "The corpora are curated and audited"


rule pretrain:
    input:
        pretrain_files(settings),
    message:
        "The encoders are pretrained"


rule finetune:
    input:
        finetune_files(settings),
    message:
        "Every model is fine-tuned on every fold"


rule statistics:
    input:
        statistics_files(settings),
    message:
        "The models are compared"


rule explain:
    input:
        explain_files(settings),
    message:
        "The models are explained"


rule report:
    input:
        REPORT,
    message:
        "The report is at results/report/report.html"


include: "workflow/rules/download.smk"
include: "workflow/rules/corpus.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/explain.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/track.smk"
include: "workflow/rules/again.smk"
include: "workflow/rules/hooks.smk"
