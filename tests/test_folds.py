"""From a task's entry and its corpus to the folds on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from fake_corpus import make_corpus, task

from usfmae.evaluation.folds import labelled_frames, split_task
from usfmae.evaluation.splits import COLUMNS, SplitError, assert_disjoint

KIDNEY = {"normal": ["healthy"], "abnormal": ["dilated", "cystic"]}


def relabel(corpus: Path, dataset: str, **columns: object) -> None:
    """Replaces columns of a dataset's table; a function gets the number of the subject."""
    path = corpus / dataset / "frames.parquet"
    table = pd.read_parquet(path)
    subject = table["subject"].str.extract(r"/s(\d+)$")[0].astype(int)
    for name, value in columns.items():
        table[name] = subject.map(value)
    table.to_parquet(path)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_corpus(tmp_path, ["neck", "kidney"], {"kidney/s3": "kidney/s1"})


def test_labels_are_merged_into_classes_and_the_rest_is_counted(corpus: Path) -> None:
    labels = {0: "healthy", 1: "dilated", 2: "cystic", 3: "dilated", 4: "unclear", 5: None}
    relabel(corpus, "kidney", label=lambda subject: labels.get(subject % 6, "unclear"))
    merged = task(datasets=["kidney"], classes=KIDNEY, positive="abnormal")
    frames, unlabelled = labelled_frames(merged, corpus)
    assert frames["label"].value_counts().to_dict() == {"abnormal": 24, "normal": 8}
    assert unlabelled == 16  # frames of the labels `unclear` and none; the dropped frame is not among them
    assert frames["frame_id"].is_unique
    assert "kidney/broken.png#0" not in set(frames["frame_id"])
    assert frames.loc[frames["subject"] == "kidney/s3", "group"].unique().tolist() == ["kidney/s1"]


def test_frames_of_several_datasets_join_in_one_task(corpus: Path) -> None:
    frames, unlabelled = labelled_frames(task(datasets=["neck", "kidney"]), corpus)
    assert (len(frames), unlabelled) == (96, 0)
    assert frames["subject"].str.split("/").str[0].value_counts().to_dict() == {"neck": 48, "kidney": 48}


def test_folds_and_their_summary_are_written(corpus: Path, tmp_path: Path) -> None:
    split_task("kidney", task(datasets=["kidney"]), corpus=corpus, out=tmp_path)
    folds = pd.read_parquet(tmp_path / "folds.parquet")
    assert list(folds.columns) == COLUMNS
    assert_disjoint(folds)
    assert set(folds["role"]) == {"train", "validation", "test", "holdout"}
    assert folds["fold"].dtype == "int64"
    summary = json.loads((tmp_path / "folds.json").read_text())
    assert summary["classes"] == ["normal", "cystic"]  # in the task's order, not the alphabet's
    assert summary["counts"]["cystic"] == {"frames": 24, "subjects": 12}
    assert (summary["unlabelled"], summary["leaks"]) == (0, 0)
    assert summary["unread"] == 1  # broken.png
    for fold in (0, 1):
        roles = folds[folds["fold"] == fold]["role"].value_counts().to_dict()
        assert summary["roles"][str(fold)] == roles


def test_unlabelled_frames_stand_in_the_summary_and_in_no_fold(corpus: Path, tmp_path: Path) -> None:
    relabel(corpus, "kidney", label=lambda n: None if n in (6, 7) else ("normal", "cystic")[n % 2])
    split_task("kidney", task(datasets=["kidney"]), corpus=corpus, out=tmp_path)
    assert json.loads((tmp_path / "folds.json").read_text())["unlabelled"] == 4
    folds = pd.read_parquet(tmp_path / "folds.parquet")
    assert not folds["subject"].isin(["kidney/s6", "kidney/s7"]).any()


def test_a_class_without_frames_is_named(corpus: Path, tmp_path: Path) -> None:
    wrong = task(datasets=["kidney"], classes={"normal": ["normal"], "mass": ["tumour"]}, positive="mass")
    with pytest.raises(SplitError, match="task kidney: no frame of class mass in kidney"):
        split_task("kidney", wrong, corpus=corpus, out=tmp_path)
    assert list(tmp_path.glob("folds.*")) == []


def test_a_number_of_folds_that_the_release_does_not_have_is_refused(corpus: Path, tmp_path: Path) -> None:
    relabel(corpus, "neck", official_fold=lambda subject: str(1 + subject // 2 % 3))
    official = task(split={"kind": "official", "folds": 5})
    with pytest.raises(SplitError, match=r"the release has 3 folds, but split\.folds says 5"):
        split_task("neck", official, corpus=corpus, out=tmp_path)
    split_task("neck", task(split={"kind": "official", "folds": 3}), corpus=corpus, out=tmp_path)
    folds = pd.read_parquet(tmp_path / "folds.parquet")
    tested = folds[folds["role"] == "test"].set_index("frame_id")["fold"]
    for frame, fold in tested.items():
        assert int(str(frame).removeprefix("neck/s").split(".")[0]) // 2 % 3 == fold


def test_an_official_split_that_leaks_is_refused_or_counted(corpus: Path, tmp_path: Path) -> None:
    # kidney/s3 shows the picture of kidney/s1, but the release tests it in another fold.
    relabel(corpus, "kidney", official_fold=lambda subject: str(subject // 2 % 2))
    with pytest.raises(SplitError, match="cuts 1 group"):
        split_task(
            "kidney",
            task(datasets=["kidney"], split={"kind": "official", "folds": 2}),
            corpus=corpus,
            out=tmp_path,
        )
    reported = {"kind": "official", "folds": 2, "leaks": "reported"}
    split_task("kidney", task(datasets=["kidney"], split=reported), corpus=corpus, out=tmp_path)
    assert json.loads((tmp_path / "folds.json").read_text())["leaks"] == 1
