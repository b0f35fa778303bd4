# Pretrains one masked autoencoder a recipe.
rule pretrain_encoder:
    input:
        groups=lambda w: f"results/corpus/{settings.recipes.pretrain[w.recipe].corpus}/groups.parquet",
        frames=lambda w: curated_files(
            settings.recipes.pretrain[w.recipe].corpus,
            pretrain_datasets(settings, w.recipe),
            ["frames.npy"],
        ),
        folds=lambda w: left_out_folds(settings, w.recipe),
    output:
        encoder="results/pretrain/{recipe}/encoder.safetensors",
        mae="results/pretrain/{recipe}/mae.safetensors",
        history="results/pretrain/{recipe}/history.parquet",
        reconstructions="results/pretrain/{recipe}/reconstructions.npz",
        record="results/pretrain/{recipe}/run.json",
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
        recipe=lambda w: settings.recipes.pretrain[w.recipe].effective(),
        encoder=lambda w: settings.encoders[settings.recipes.pretrain[w.recipe].encoder].effective(),
        datasets=lambda w: pretrain_datasets(settings, w.recipe),
        evaluation_datasets=lambda w: settings.evaluation_datasets(pretrain_datasets(settings, w.recipe)),
        simulated=lambda w: bool(settings.simulated(pretrain_datasets(settings, w.recipe))),
        # A side path, no declared output: Snakemake deletes the outputs of a job that was killed.
        checkpoints="checkpoints/pretrain/{recipe}",
        version=STAGE_VERSION["pretrain"],
    message:
        "Pretraining {wildcards.recipe}"
    script:
        "../scripts/pretrain_encoder.py"
