# Pretrains one masked autoencoder a recipe. A recipe with a grid tries each setting on each fold first; the
# setting with the lowest validation loss trains on all frames.
PRETRAIN_RUN = "results/pretrain/{recipe}"
GRID_RUN = "results/pretrain/{recipe}/grid/{setting}/fold-{fold}"
PRETRAIN_INPUT = {
    "groups": lambda w: f"results/corpus/{settings.recipes.pretrain[w.recipe].corpus}/groups.parquet",
    "frames": lambda w: curated_files(
        settings.recipes.pretrain[w.recipe].corpus,
        pretrain_datasets(settings, w.recipe),
        ["frames.npy", "frames.parquet"],
    ),
    "folds": lambda w: left_out_folds(settings, w.recipe),
    "initial_weights": lambda w: weights_file(settings.recipes.pretrain[w.recipe].initial_weights),
}


rule pretrain_fold:
    input:
        **PRETRAIN_INPUT,
    output:
        history=f"{GRID_RUN}/history.parquet",
        record=f"{GRID_RUN}/run.json",
    log:
        GRID_RUN.replace("results", "logs", 1) + ".log",
    benchmark:
        GRID_RUN.replace("results", "logs", 1) + ".tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=2000,
        runtime=1440,
    params:
        recipe=lambda w: settings.pretraining(w.recipe),
        checkpoints="checkpoints/pretrain/{recipe}/{setting}/fold-{fold}",
        version=STAGE_VERSION["pretrain"],
    message:
        "Pretraining {wildcards.recipe} with {wildcards.setting}, fold {wildcards.fold}"
    script:
        "../scripts/pretrain_encoder.py"


rule choose_setting:
    input:
        lambda w: below(grid_runs(settings, w.recipe), ["run.json"]),
    output:
        table="results/pretrain/{recipe}/grid.csv",
        chosen="results/pretrain/{recipe}/grid.json",
    log:
        "logs/pretrain/{recipe}/grid.log",
    benchmark:
        "logs/pretrain/{recipe}/grid.tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        grid=lambda w: settings.recipes.pretrain[w.recipe].grid.effective(),
        version=STAGE_VERSION["pretrain"],
    message:
        "Choosing the setting of {wildcards.recipe} with the lowest validation loss"
    script:
        "../scripts/choose_setting.py"


rule pretrain_encoder:
    input:
        **PRETRAIN_INPUT,
        chosen=lambda w: chosen_setting(settings, w.recipe),
    output:
        encoder=f"{PRETRAIN_RUN}/encoder.safetensors",
        mae=f"{PRETRAIN_RUN}/mae.safetensors",
        history=f"{PRETRAIN_RUN}/history.parquet",
        reconstructions=f"{PRETRAIN_RUN}/reconstructions.npz",
        record=f"{PRETRAIN_RUN}/run.json",
    log:
        "logs/pretrain/{recipe}.log",
    benchmark:
        "logs/pretrain/{recipe}.tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=2000,
        runtime=1440,
    params:
        recipe=lambda w: settings.pretraining(w.recipe),
        # A side path, no declared output: Snakemake deletes the outputs of a job that was killed.
        checkpoints="checkpoints/pretrain/{recipe}/final",
        version=STAGE_VERSION["pretrain"],
    message:
        "Pretraining {wildcards.recipe}"
    script:
        "../scripts/pretrain_encoder.py"


# What the encoder makes of the corpus, as a map of frames; it ends in the report.
rule embed_corpus:
    input:
        encoder=f"{PRETRAIN_RUN}/encoder.safetensors",
        frames=PRETRAIN_INPUT["frames"],
    output:
        table=f"{PRETRAIN_RUN}/embedding.parquet",
        facts=f"{PRETRAIN_RUN}/embedding.json",
    log:
        "logs/pretrain/{recipe}_embedding.log",
    benchmark:
        "logs/pretrain/{recipe}_embedding.tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        encoder=lambda w: settings.encoders[settings.recipes.pretrain[w.recipe].encoder].effective(),
        layer_norm_epsilon=lambda w: settings.recipes.pretrain[w.recipe].layer_norm_epsilon,
        embedding=study.embedding.effective(),
        version=STAGE_VERSION["pretrain"],
    message:
        "Mapping the corpus as {wildcards.recipe} sees it"
    script:
        "../scripts/embed_corpus.py"
