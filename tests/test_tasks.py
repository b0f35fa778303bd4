"""The tasks of the papers: each is documented, plans, and uses labels that its release has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from usfmae.corpus.releases.layout import sources
from usfmae.evaluation.official import official_folds
from usfmae.evaluation.splits import assert_disjoint
from usfmae.settings import load
from usfmae.settings.datasets import Dataset
from usfmae.settings.tasks import OfficialSplit
from workflow import planned, snakemake

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "config"
FILES = [CONFIG / f"{name}.yaml" for name in ("datasets", "openus46", "models", "recipes", "tasks", "config")]
PRIVATE = [CONFIG / "examples/renal.yaml", CONFIG / "examples/cystic_hygroma.yaml"]
DOCS = (ROOT / "docs/tasks.md").read_text(encoding="utf-8")
OWN_DATA = (ROOT / "docs/your-own-data.md").read_text(encoding="utf-8")


#: The study of the papers, with the private tasks' datasets and corpora.
SETTINGS = load(*FILES, *PRIVATE, CONFIG / "paper.yaml")
NAMES = [name for name, task in SETTINGS.tasks.items() if task.corpus != "demo"]
PUBLIC = [name for name in NAMES if SETTINGS.tasks[name].corpus == "openus46"]


def rows() -> dict[str, list[str]]:
    """Task → the cells of its row in docs/tasks.md."""
    found = re.findall(r"^\| `(\w+)` \| (.+) \|$", DOCS, flags=re.MULTILINE)
    return {name: rest.split(" | ") for name, rest in found}


def test_each_task_that_is_not_of_the_demo_has_a_row_in_the_docs_and_no_other() -> None:
    assert list(rows()) == NAMES
    assert all(len(cells) == 6 and all(map(str.strip, cells)) for cells in rows().values())


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_tasks_classes_are_the_labels_that_the_registry_counts(name: str) -> None:
    task = SETTINGS.tasks[name]
    counts = SETTINGS.datasets[task.datasets[0]].counts
    assert {label for labels in task.classes.values() for label in labels} == counts.labels.keys()
    if "untied" not in name and "clean" not in name:
        shown = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", rows()[name][3])]
        assert {counts.files, *counts.labels.values()} <= set(shown)


def test_the_study_of_the_papers_names_every_public_task() -> None:
    assert SETTINGS.study.tasks == PUBLIC


def test_every_task_plans_under_the_study_of_the_papers(tmp_path: Path) -> None:
    """The command of docs/tasks.md, up to the statistics."""
    command = re.search(r"^snakemake -n --configfile (.*?) \\\n +--config \"(.*?)\"$", DOCS, re.M | re.S)
    assert command is not None
    files, tasks = command[1].split(), re.sub(r"\s+", " ", command[2])
    assert files == [
        f"config/{part}" for part in ("examples/renal.yaml", "examples/cystic_hygroma.yaml", "paper.yaml")
    ]
    assert yaml.safe_load(tasks.removeprefix("study="))["tasks"] == NAMES
    told = snakemake(tmp_path, "statistics", "-n", "--configfile", *files, "--config", tasks)
    assert (
        "Exception" not in told
    )  # of a rule that Snakemake tried for another's files, shown hundreds of times
    jobs, study = planned(told), SETTINGS.study
    assert jobs["split_task"] == jobs["compare_models"] == jobs["measure_label_efficiency"] == len(NAMES)
    folds = sum(SETTINGS.tasks[name].split.folds for name in NAMES)
    assert jobs["finetune_fold"] == folds * len(study.models) * len(study.fractions)
    masked = [
        name for name in NAMES if all(SETTINGS.datasets[d].masks for d in SETTINGS.tasks[name].datasets)
    ]
    assert jobs["measure_shortcuts"] == len(masked) * len(study.models)


@pytest.mark.parametrize(
    ("example", "folder", "names"),
    [
        ("renal.yaml", "renal", ["renal_binary", "renal_multiclass"]),
        ("cystic_hygroma.yaml", "hygroma", ["cystic_hygroma"]),
    ],
)
def test_the_table_that_the_docs_show_fits_the_private_tasks(
    tmp_path: Path, example: str, folder: str, names: list[str]
) -> None:
    settings = load(*FILES, CONFIG / "examples" / example)
    assert settings.study.tasks == names
    dataset = settings.datasets[settings.tasks[names[0]].datasets[0]]
    shown = re.search(rf"`{folder}/labels.csv`:\n\n```\n(.*?)```", OWN_DATA, flags=re.DOTALL)
    assert shown is not None
    (tmp_path / "labels.csv").write_text(shown[1], encoding="utf-8")
    table = pd.read_csv(tmp_path / "labels.csv")
    for image in table["image"]:
        (tmp_path / image).parent.mkdir(exist_ok=True)
        (tmp_path / image).touch()
    found = sources(folder, dataset, tmp_path)
    assert [source.subject for source in found] == list(table["patient"])
    assert all(source.exists for source in found)
    for name in names:
        known = {label for labels in settings.tasks[name].classes.values() for label in labels}
        assert {source.label for source in found} == known


def frames_of(columns: dict[str, list[str | None]]) -> pd.DataFrame:
    """A table to split from `frame_id`, `subject`, `label` and an official column; a subject is a group."""
    return pd.DataFrame(
        {"official_fold": None, "official_split": None, "group": columns["subject"]} | columns
    )


@pytest.mark.parametrize(
    ("table", "sizes"),
    [("5-fold-cv.csv", [376, 385, 366, 365, 383]), ("10-fold-cv.csv", None)],
)
def test_the_official_folds_of_the_real_bus_bra_cut_no_patient(real_data: Path, table: str, sizes) -> None:
    example = yaml.safe_load((CONFIG / "examples/bus_bra.yaml").read_text(encoding="utf-8"))
    entry = example["datasets"]["bus_bra_folder"]
    entry["table"]["join"] = {table: "ID"}
    found = sources("bus_bra", Dataset.model_validate(entry), real_data / "bus_bra")
    there = [source for source in found if source.exists]
    frames = frames_of(
        {
            "frame_id": [source.path for source in there],
            "subject": [source.subject for source in there],
            "label": [source.label for source in there],
            "official_fold": [source.fold for source in there],
        }
    )
    split = SETTINGS.tasks["bus_bra"].split.model_copy(update={"folds": int(table.partition("-")[0])})
    assert isinstance(split, OfficialSplit)
    made = official_folds(frames, split)
    assert (made.leaks, made.left_out) == (0, 0)
    assert_disjoint(made.table)
    tested = made.table[made.table["role"] == "test"].groupby("fold").size()
    assert len(tested) == split.folds and tested.sum() == len(frames) == 1873  # the copy lacks two
    if sizes:
        assert (pd.Series(sizes) - tested).between(0, 2).all()


def test_the_official_parts_of_the_real_mmotu_are_1000_and_469(real_data: Path) -> None:
    listed = json.loads((real_data / "mmotu_2d_384/OTU_2D_8-layers.json").read_text(encoding="utf-8"))
    paths = [entry["file_path_img"] for entry in listed]
    frames = frames_of(
        {
            "frame_id": paths,
            "subject": paths,
            "label": [Path(path).parts[-3] for path in paths],
            "official_split": [entry["split"] for entry in listed],
        }
    )
    split = SETTINGS.tasks["mmotu_2d"].split.model_copy(update={"holdout_split": "validation"})
    assert isinstance(split, OfficialSplit)
    table = official_folds(frames, split).table
    first = table[table["fold"] == 0]
    assert first["role"].eq("holdout").sum() == 469 and first["role"].ne("holdout").sum() == 1000
