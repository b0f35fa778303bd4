"""Each task's protocol on frames of its composition; the private ones from the table to trained models."""

from __future__ import annotations

import json
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from fake_corpus import ENCODER, UNCHANGED, training, write_groups

from usfmae.evaluation.folds import split_task
from usfmae.evaluation.splits import SplitError, assert_disjoint
from usfmae.settings.models import Model
from usfmae.settings.recipes import FinetuneRecipe
from usfmae.settings.tasks import Task, TasksFile
from usfmae.training.finetune import finetune

ROOT = Path(__file__).resolve().parents[1]
TASKS: dict[str, Task] = TasksFile.model_validate(
    yaml.safe_load((ROOT / "config/tasks.yaml").read_text(encoding="utf-8"))
).tasks
RENAL = {"normal": 646, "urinary_tract_dilation": 259, "multicystic_dysplastic": 64}
HYGROMA = {"normal": 160, "cystic_hygroma": 129}
#: Label → frames of the official parts, of MMOTU-2D and FEFT, or folds, of GIST514-DB.
MMOTU = {
    "chocolate cyst": (226, 110),
    "serous cystadenoma": (153, 66),
    "teratoma": (228, 108),
    "theca cell tumour": (57, 31),
    "simple cyst": (47, 19),
    "normal ovary": (180, 87),
    "mucinous cystadenoma": (71, 33),
    "high-grade serous": (38, 15),
}
FEFT = {
    "Aorta": (490, 96, 133),
    "Flows": (700, 175, 219),
    "Other": (1490, 628, 689),
    "V sign": (1049, 362, 259),
    "X sign": (260, 91, 79),
}
GIST = {"leiomyoma": (52, 51, 49, 51, 48), "gist": (54, 52, 54, 52, 51)}


def released(dataset: str, frames: dict[str, tuple[int, ...]], column: str, names: list[str]) -> pd.DataFrame:
    """A frames table in which each frame is its own subject, with the parts named in `column`."""
    rows = [
        (label, name)
        for label, counts in frames.items()
        for name, count in zip(names, counts, strict=True)
        for _ in range(count)
    ]
    table = pd.DataFrame(rows, columns=["label", column])
    return named(table.assign(subject=[f"{dataset}/{i}" for i in range(len(table))]), dataset)


def of_patients(dataset: str, frames: dict[str, int], each: tuple[int, ...]) -> pd.DataFrame:
    """A frames table in which the patients of each label have `each[0]`, `each[1]`, … frames, in turn."""
    rows = []
    for label, count in frames.items():
        left = count
        for number, size in enumerate(cycle(each)):
            rows += [(label, f"{dataset}/{label}-{number}")] * min(size, left)
            left -= size
            if left <= 0:
                break
    return named(pd.DataFrame(rows, columns=["label", "subject"]), dataset)


def named(table: pd.DataFrame, dataset: str) -> pd.DataFrame:
    known = {"official_fold": None, "official_split": None, "drop_reason": None} | dict(table)
    return pd.DataFrame({"frame_id": [f"{dataset}/{i:04d}.png#0" for i in range(len(table))], **known})


def split(
    tmp: Path, name: str, table: pd.DataFrame, tied: dict[str, str] | None = None
) -> tuple[pd.DataFrame, dict]:
    """(folds, facts) of a task of config/tasks.yaml on this table; `tied` subjects join another's group."""
    corpus, out = tmp / "results/corpus/fake", tmp / "results/finetune" / name
    (corpus / TASKS[name].datasets[0]).mkdir(parents=True)
    table.to_parquet(corpus / TASKS[name].datasets[0] / "frames.parquet")
    write_groups(corpus, TASKS[name].datasets, tied)
    split_task(name, TASKS[name], corpus=corpus, out=out)
    return pd.read_parquet(out / "folds.parquet"), json.loads((out / "folds.json").read_text())


def frames_by(folds: pd.DataFrame, *columns: str) -> dict:
    return folds.groupby(list(columns) if len(columns) > 1 else columns[0])["frame_id"].nunique().to_dict()


@pytest.mark.parametrize("each", [(1,), (3, 1, 2, 4)], ids=["unique patients", "several frames a patient"])
@pytest.mark.parametrize("name", ["renal_binary", "renal_multiclass", "cystic_hygroma"])
def test_private_tasks_fold_by_patient_and_the_renal_ones_keep_a_holdout(
    tmp_path: Path, name: str, each: tuple[int, ...]
) -> None:
    task, composition = TASKS[name], HYGROMA if name == "cystic_hygroma" else RENAL
    folds, facts = split(tmp_path, name, of_patients(task.datasets[0], composition, each))
    expected = {c: sum(composition[label] for label in labels) for c, labels in task.classes.items()}
    assert {label: count["frames"] for label, count in facts["counts"].items()} == expected
    assert (facts["unlabelled"], facts["leaks"], facts["left_out"]) == (0, 0, 0)
    assert_disjoint(folds)
    assert folds["fold"].nunique() == (4 if name == "cystic_hygroma" else 5)
    roles = folds.pivot(index="frame_id", columns="fold", values="role")
    held_out = roles.eq("holdout").all(axis=1)
    assert (roles[~held_out].eq("test").sum(axis=1) == 1).all()
    assert (folds.groupby(["fold", "role"])["label"].nunique() == len(task.classes)).all()
    assert held_out.mean() == (0 if name == "cystic_hygroma" else pytest.approx(0.2, abs=0.02))
    tested = folds[folds["role"] == "test"].groupby(["label", "fold"]).size().unstack()
    share = tested.div(tested.sum(axis=1), axis=0)  # each fold tests a like share of each class
    assert (abs(share - 1 / len(tested.columns)) < 0.06).all(axis=None)


def test_the_469_of_mmotu_are_held_out_and_the_1000_are_folded(tmp_path: Path) -> None:
    table = released("mmotu_2d", MMOTU, "official_split", ["train", "val"])
    # Two duplicates: one inside the 1,000, and one across, of a frame of the 469.
    inside, across = table["subject"][[0, 1]], table["subject"][[2, 300]]
    assert list(table["official_split"][[2, 300]]) == ["train", "val"]
    tied = {inside[1]: inside[0], across[300]: across[2]}
    folds, facts = split(tmp_path / "kept", "mmotu_2d", table, tied)
    assert frames_by(folds[folds["role"] == "holdout"], "label") == {
        label.replace(" ", "_").replace("-", "_"): counts[1] for label, counts in MMOTU.items()
    }
    assert (folds["fold"].nunique(), facts["leaks"], facts["left_out"]) == (5, 1, 0)
    of_two = folds[folds["subject"].isin(inside)]
    assert of_two.groupby("fold")["role"].nunique().eq(1).all()
    folds, facts = split(tmp_path / "dropped", "mmotu_2d_untied", table, tied)
    assert (folds["frame_id"].nunique(), facts["leaks"], facts["left_out"]) == (1467, 0, 2)
    assert not folds["subject"].isin(across).any() and folds["subject"].isin(inside).any()
    assert_disjoint(folds)


def test_gist514_is_tested_in_its_five_official_folds(tmp_path: Path) -> None:
    table = released("gist514", GIST, "official_fold", list("01234"))
    folds, facts = split(tmp_path, "gist514", table)
    tested = folds[folds["role"] == "test"]
    assert list(frames_by(tested, "fold").values()) == [106, 103, 103, 103, 99]
    assert frames_by(tested, "label") == {"gist": 263, "leiomyoma": 251} and facts["leaks"] == 0
    assert_disjoint(folds)


def test_bus_bra_is_tested_in_its_five_official_folds_and_validated_by_patient(tmp_path: Path) -> None:
    table = of_patients("bus_bra", {"benign": 1268, "malignant": 607}, (2, 2, 2, 1))
    number = table["subject"].str.extract(r"-(\d+)$")[0].astype(int)
    folds, facts = split(tmp_path, "bus_bra", table.assign(official_fold=(number % 5 + 1).astype(str)))
    assert folds["fold"].nunique() == 5 and facts["leaks"] == 0
    assert_disjoint(folds)


def test_feft_is_one_fold_as_released_and_clean_without_what_is_tied_across(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = released("feft", FEFT, "official_split", ["train", "valid", "test"])
    v_sign = table[table["label"] == "V sign"].groupby("official_split")["subject"].apply(list)
    # As documented: six frames of the training part equal some of valid, and four of valid some of test.
    tied = dict(zip(v_sign["valid"][:6], v_sign["train"], strict=False))
    tied |= dict(zip(v_sign["test"][:4], v_sign["valid"][6:], strict=False))
    folds, facts = split(tmp_path / "official", "feft_official", table, tied)
    assert frames_by(folds, "role") == {"train": 3989, "validation": 1352, "test": 1379}
    assert frames_by(folds, "label", "role")["x_sign", "validation"] == 91
    assert (folds["fold"].nunique(), facts["leaks"], facts["left_out"]) == (1, 10, 0)
    assert "folds: 1; 10 groups cut by the official split" in capsys.readouterr().out
    folds, facts = split(tmp_path / "clean", "feft_clean", table, tied)
    assert frames_by(folds, "role") == {"train": 3983, "validation": 1342, "test": 1375}
    assert (facts["leaks"], facts["left_out"]) == (0, 20)
    assert "6700 frames of 6700 subjects, folds: 1; 20 frames left out" in capsys.readouterr().out
    assert_disjoint(folds)


@pytest.mark.parametrize(
    ("name", "composition"),
    [("renal_binary", RENAL), ("renal_multiclass", RENAL), ("cystic_hygroma", HYGROMA)],
)
def test_private_tasks_run_from_frames_to_predictions(
    tmp_path: Path, name: str, composition: dict[str, int]
) -> None:
    task = TASKS[name]
    table = of_patients(task.datasets[0], composition, (2, 1))
    folds, _ = split(tmp_path, name, table)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 80, (len(table), 16, 16), dtype=np.uint8)
    for number, label in enumerate(composition):  # a bright band tells the class
        frames[table["label"] == label, 5 * number : 5 * number + 4] += 150
    np.save(tmp_path / "results/corpus/fake" / task.datasets[0] / "frames.npy", frames)
    out = tmp_path / f"results/finetune/{name}/tiny/tiny/fraction-1/seed-0/fold-0"
    finetune(
        task,
        Model(title="tiny, from scratch", encoder="tiny"),
        FinetuneRecipe(
            title="tiny",
            training=training(epochs=1, batch_size=64, learning_rate=1e-2),
            augmentation=UNCHANGED,
        ),
        wildcards={"task": name, "model": "tiny", "fraction": 1, "seed": 0, "fold": 0},
        encoder=ENCODER,
        corpus=tmp_path / "results/corpus/fake",
        folds=tmp_path / f"results/finetune/{name}/folds.parquet",
        weights=None,
        simulated=True,
        out=out,
    )
    predictions = pd.read_parquet(out / "predictions.parquet")
    wanted = folds[(folds["fold"] == 0) & (folds["role"] != "train")]
    assert frames_by(predictions, "role") == frames_by(wanted, "role")
    probabilities = predictions[[f"probability_{label}" for label in task.classes]]
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    record = json.loads((out / "run.json").read_text())
    assert record["simulated"] and f"test_{task.metric}" in record["metrics"]


def test_a_rare_class_of_too_few_patients_is_named(tmp_path: Path) -> None:
    few = of_patients("renal", RENAL | {"multicystic_dysplastic": 4}, (1,))
    with pytest.raises(SplitError, match=r"class 'multicystic_dysplastic' has 3 .* fewer than 5 folds"):
        split(tmp_path, "renal_multiclass", few)
