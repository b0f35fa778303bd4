# Decodes every frame once, then looks for duplicates over the whole corpus, and in what encoders have seen.
rule curate_dataset:
    input:
        "resources/{dataset}/fetched.json",
    output:
        frames="results/corpus/{corpus}/{dataset}/frames.npy",
        masks="results/corpus/{corpus}/{dataset}/masks.npy",
        thumbnails="results/corpus/{corpus}/{dataset}/thumbnails.npy",
        table="results/corpus/{corpus}/{dataset}/frames.parquet",
    log:
        "logs/corpus/{corpus}/{dataset}.log",
    benchmark:
        "logs/corpus/{corpus}/{dataset}.tsv"
    conda:
        "../../envs/usfmae.yaml"
    threads: 2
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        # A side path, no declared output: Snakemake deletes the outputs of a job that was killed.
        checkpoints="checkpoints/corpus/{corpus}/{dataset}",
        dataset=lambda w: settings.datasets[w.dataset].effective(),
        corpus=lambda w: curation(settings.corpora[w.corpus]),
        version=STAGE_VERSION["corpus"],
    message:
        "Curating {wildcards.dataset} for corpus {wildcards.corpus}"
    script:
        "../scripts/curate_dataset.py"


# Only for a corpus whose `duplicates` name a model.
rule embed_frames:
    input:
        frames=lambda w: curated_files(w.corpus, settings.members(w.corpus), FRAMES),
        weights=lambda w: weights_file(
            settings.models[settings.corpora[w.corpus].duplicates.model].checkpoint
        ),
    output:
        "results/corpus/{corpus}/embeddings.npy",
    log:
        "logs/corpus/{corpus}/embeddings.log",
    benchmark:
        "logs/corpus/{corpus}/embeddings.tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=5000,
        runtime=240,
    params:
        model=lambda w: settings.models[settings.corpora[w.corpus].duplicates.model].effective(),
        encoder=lambda w: encoder_shape(settings, settings.corpora[w.corpus].duplicates.model),
        version=STAGE_VERSION["corpus"],
    message:
        "Embedding the frames of corpus {wildcards.corpus}"
    script:
        "../scripts/embed_frames.py"


rule audit_corpus:
    input:
        curated=lambda w: curated_files(w.corpus, settings.members(w.corpus)),
        embeddings=lambda w: (
            f"results/corpus/{w.corpus}/embeddings.npy"
            if settings.corpora[w.corpus].duplicates.model
            else []
        ),
        fetched=lambda w: [f"resources/{d}/fetched.json" for d in settings.members(w.corpus)],
    output:
        duplicates="results/corpus/{corpus}/duplicates.parquet",
        groups="results/corpus/{corpus}/groups.parquet",
        overlaps="results/corpus/{corpus}/overlaps.csv",
        curation="results/corpus/{corpus}/curation.csv",
        availability="results/corpus/{corpus}/availability.csv",
        samples=report(
            "results/corpus/{corpus}/samples.png",
            caption="../report/samples.rst",
            category="Corpus",
            labels={"corpus": "{corpus}", "figure": "samples"},
        ),
        pairs=report(
            "results/corpus/{corpus}/duplicates.png",
            caption="../report/duplicates.rst",
            category="Corpus",
            labels={"corpus": "{corpus}", "figure": "duplicates"},
        ),
        vector=expand("results/corpus/{{corpus}}/{name}.pdf", name=["samples", "duplicates"]),
    log:
        "logs/corpus/{corpus}/audit.log",
    benchmark:
        "logs/corpus/{corpus}/audit.tsv"
    conda:
        "../../envs/usfmae.yaml"
    resources:
        # 4.3 GB for 370,000 frames (docs/results.md).
        mem_mb=5000,
        runtime=60,
    params:
        corpus=lambda w: settings.audited(w.corpus),
        simulated=lambda w: settings.simulated(settings.members(w.corpus)),
        version=STAGE_VERSION["corpus"],
    message:
        "Auditing corpus {wildcards.corpus} for duplicates"
    script:
        "../scripts/audit_corpus.py"


# It ends in the report. Pretraining does not depend on it: a new task makes no encoder stale.
rule compare_corpora:
    input:
        ours=lambda w: compared_files(settings, w.corpus),
        theirs=lambda w: compared_files(settings, w.pretraining),
    output:
        "results/corpus/{corpus}/seen_in_{pretraining}.parquet",
    log:
        "logs/corpus/{corpus}/seen_in_{pretraining}.log",
    benchmark:
        "logs/corpus/{corpus}/seen_in_{pretraining}.tsv"
    wildcard_constraints:
        pretraining=one_of(settings.corpora),
    conda:
        "../../envs/usfmae.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        corpora=lambda w: [settings.audited(w.corpus), settings.audited(w.pretraining)],
        version=STAGE_VERSION["corpus"],
    message:
        "Looking for frames of corpus {wildcards.corpus} in corpus {wildcards.pretraining}"
    script:
        "../scripts/compare_corpora.py"
