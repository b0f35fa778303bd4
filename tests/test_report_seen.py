"""The report says which encoders have met the images they are tested on, and of which nobody knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_results import write
from fake_study import study

from usfmae.corpus.audit.seen import SEEN_COLUMNS
from usfmae.record import write_table
from usfmae.settings import Settings, settings_from


def private_study(**recipe: Any) -> Settings:
    """The kidneys are tested in a corpus of their own; the encoder is pretrained on another, which holds the
    evaluation set of the necks."""
    merged = study().model_dump(mode="json", exclude_none=True)
    merged["corpora"] |= {"private": {"datasets": ["kidney"], "size": 32}}
    merged["corpora"]["demo"]["datasets"] = ["neck", "scans"]
    merged["datasets"]["neck"]["evaluation"] = True
    merged["study"]["tasks"] = ["kidney"]
    merged["tasks"]["kidney"]["corpus"] = "private"
    merged["recipes"]["pretrain"]["mae"] |= recipe
    return settings_from(merged, [])


def test_only_another_corpus_than_the_tasks_own_is_compared() -> None:
    settings = private_study()
    assert settings.pretraining_corpora("kidney") == ["demo"]
    assert settings.pretraining_corpora("neck") == []


def test_the_report_says_how_many_frames_of_a_task_the_encoder_has_met(tmp_path: Path) -> None:
    results = tmp_path / "results"
    frames = [f"kidney/{i}" for i in range(10)]
    folds = pd.DataFrame({"frame_id": frames, "subject": frames, "label": "normal", "fold": 0})
    write_table(results / "finetune/kidney/folds.parquet", folds.assign(role="test"))
    # Frame 0 has a copy that pretraining uses, 1 in a group with the evaluation set of the necks, 2 in both.
    copies = [(0, "scans/a"), (1, "scans/b"), (2, "scans/a"), (2, "neck/c"), (99, "scans/a")]
    table = pd.DataFrame([(f"kidney/{i}", there) for i, there in copies], columns=list(SEEN_COLUMNS)[:2])
    table = table.assign(kind=["exact", "near", "near", "near", "exact"], correlation=0.9)
    write_table(results / "corpus/private/seen_in_demo.parquet", table)
    groups = pd.DataFrame({"frame_id": ["scans/a", "scans/b", "neck/c"], "group": ["a", "b", "b"]})
    groups["dataset"] = groups["frame_id"].str.split("/").str[0]
    write_table(results / "corpus/demo/groups.parquet", groups)
    start = "3 of 10 frames have a copy in the corpus demo (1 with equal pixels)"
    page = write(tmp_path, private_study())
    assert f"{start}, on which an encoder was pretrained; 2 have one among the frames" in page
    page = write(tmp_path, private_study(evaluation_frames="include"))
    assert f"{start}, on which an encoder was pretrained; 3 have one among the frames" in page


def write_folds(root: Path) -> None:
    folds = pd.DataFrame({"frame_id": ["kidney/0"], "subject": "kidney/0", "label": "normal", "fold": 0})
    write_table(root / "results/finetune/kidney/folds.parquet", folds.assign(role="test"))


def changed_study(recipe: dict[str, Any], checkpoint: dict[str, Any] | None = None) -> Settings:
    """The kidneys alone, with another pretraining; with a checkpoint, a model starts from it in place
    of DenseNet-169."""
    merged = study().model_dump(mode="json", exclude_none=True)
    merged["study"]["tasks"] = ["kidney"]
    merged["recipes"]["pretrain"]["mae"] |= recipe
    if checkpoint is not None:
        access = {"host": "folder", "files": [{"name": "weights.pth"}]}
        published = {"title": "Weights of old", "access": access, "contents": "mae", "channels": 1}
        merged["checkpoints"] = {"old": published | {"licence": "MIT"} | checkpoint}
        merged["models"]["imagenet"] = {
            "title": "Old ViT",
            "encoder": "tiny",
            "weights": "checkpoint",
            "checkpoint": "old",
        }
    return settings_from(merged, [])


TRAINED_ON_ITS_TEST = "pretrained on the very images it is tested on here"


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"evaluation_frames": "seen"}, True),
        ({"evaluation_frames": "exclude"}, False),
        ({"evaluation_frames": "seen", "leave_out_datasets": ["kidney"]}, False),
    ],
)
def test_an_encoder_that_saw_its_test_images_is_named(
    recipe: dict[str, Any], said: bool, tmp_path: Path
) -> None:
    write_folds(tmp_path)
    page = write(tmp_path, changed_study(recipe))
    assert (f"USF-MAE (demo): {TRAINED_ON_ITS_TEST}" in page) == said
    assert f"ViT from scratch: {TRAINED_ON_ITS_TEST}" not in page


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (None, "is not known"),
        (["kidney", "neck"], "were trained on the images it is tested on here, without their labels"),
        (["neck"], None),
        ([], None),
    ],
)
def test_published_weights_say_whether_they_saw_the_test_images(
    seen: list[str] | None, said: str | None, tmp_path: Path
) -> None:
    write_folds(tmp_path)
    page = write(tmp_path, changed_study({}, {"seen": seen} if seen is not None else {}))
    about = [line for line in page.splitlines() if "Old ViT: " in line and "(Weights of old)" in line]
    assert len(about) == (said is not None)
    assert said is None or said in about[0]


def test_weights_that_pretraining_went_on_from_count_too(tmp_path: Path) -> None:
    write_folds(tmp_path)
    page = write(tmp_path, changed_study({"initial_weights": "old"}, {}))
    assert "USF-MAE (demo): whether its published weights (Weights of old) were trained on" in page
