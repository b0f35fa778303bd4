# What `snakemake --report` says of the products: where each stands, and its name in words.
FIGURE_KINDS = dict(
    roc="ROC curves",
    precision_recall="precision-recall curves",
    confusion="confusion matrices",
    folds="results of the folds",
    differences="differences from the reference",
    reliability="reliability",
    label_efficiency="label efficiency",
    training="fine-tuning",
    loss="pretraining",
    reconstructions="reconstructions",
    embedding="map of the corpus",
    critical_difference="mean ranks over tasks",
    methods="maps by method",
    localisation="place of the map against the answer",
    perturbation="deletion and insertion",
)


def figure_kind(name):
    """The kind of a figure, by the end of its name: one may end as another does."""
    return max((kind for kind in FIGURE_KINDS if name.endswith(kind)), key=len, default="")


def subject_of(name):
    """The task, pretraining recipe or corpus that a figure or table is about, in words; else the whole study. A recipe
    and a corpus of one name are both named."""
    titles = {}
    for owners in (
        {task: settings.tasks[task].title for task in study.tasks},
        {recipe: settings.recipes.pretrain[recipe].title for recipe in settings.pretrain_recipes()},
        {corpus: f"corpus {corpus}" for corpus in settings.study_corpora()},
    ):
        for owner, title in owners.items():
            titles.setdefault(owner, []).append(title)
    found = [owner for owner in titles if name.startswith(f"{owner}_")]
    return ", ".join(titles[max(found, key=len)]) if found else "The whole study"


def figure_labels(w):
    return {"figure": FIGURE_KINDS.get(figure_kind(w.name), w.name)}


def table_labels(w):
    return {"table": w.name.replace("_", " ")}
