"""File names that shells, tables and pages stumble over, in an own folder, from curation to report."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from test_own_data import overlay, study_of

from usfmae.corpus.simulation.release import write_release
from workflow import ROOT, run_snakemake, snakemake

HOSTILE = [
    "a name with spaces.png",
    'it\'s "quoted".png',
    "two\nlines.png",
    "tab\tand;semicolon,comma.png",
    "Ünïcödé 超音波 🩻.png",
    "-rf --help.png",
    "$(touch ran) `touch ran` ${HOME} %s {stem}.png",
    "<script>alert(1)</script>&amp;.png".replace("/", "_"),
    "*?[a-z].png",
    "#hash?query=1.png",
    "=cmd|' calc'!A0.png",
    "n" * 240 + ".png",
]
FOLDERS = ["-dash", "new\nline", "it's", "{wildcard}", "🩻 ü"]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(study, data, configuration) of a folder whose names are all hostile, run to the report."""
    folder = tmp_path_factory.mktemp("hostile")
    release, data = folder / "release", folder / "d a'ta"
    write_release(
        release,
        anatomy="neck",
        subjects={"normal": 10, "cystic_hygroma": 10},
        frames_per_subject=2,
        difficulty=0.2,
        seed=9,
        defects=False,
    )
    rows = []
    for i, row in pd.read_csv(release / "labels.csv").iterrows():
        name = f"{FOLDERS[i % len(FOLDERS)]}/{i:02d}{HOSTILE[i % len(HOSTILE)]}"
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(release / "images" / Path(row["file"]).name, data / name)
        rows.append({"image": name, "patient": f"P'\n{row['subject']}", "diagnosis": row["class"]})
    pd.DataFrame(rows).to_csv(data / "labels.csv", index=False)
    example: dict[str, Any] = yaml.safe_load(
        (ROOT / "config/examples/own_data.yaml").read_text(encoding="utf-8")
    )
    example["tasks"]["my_task"] |= {
        "classes": {"normal": ["normal"], "hygroma": ["cystic_hygroma"]},
        "positive": "hygroma",
        "split": {"kind": "grouped", "folds": 2, "validation": 0.3},
    }
    example["corpora"]["mine"] = {"datasets": ["my_clinic"], "size": 24}
    example["study"] |= study_of("my_task", ["vit_scratch"])
    config = overlay(folder, **example)
    snakemake(folder, "report", configfile=config, MY_DATA=str(data))
    return folder, data, config


def test_every_file_is_curated_with_its_label_and_patient(own: tuple[Path, Path, Path]) -> None:
    folder, data, _ = own
    table = pd.read_parquet(folder / "results/corpus/mine/my_clinic/frames.parquet")
    images = {path.relative_to(data).as_posix() for path in data.rglob("*.png")}
    assert len(images) == 40 and set(table["source"]) == images
    assert table["drop_reason"].isna().all()
    assert table["label"].value_counts().to_dict() == {"normal": 20, "cystic_hygroma": 20}
    assert table["subject"].nunique() == 20


def test_every_file_is_predicted_and_the_report_runs_none_of_its_name(own: tuple[Path, Path, Path]) -> None:
    folder, _, _ = own
    runs = (folder / "results/finetune/my_task").rglob("predictions.parquet")
    tables = pd.concat([pd.read_parquet(path) for path in runs])
    assert tables[tables["role"] == "test"]["frame_id"].nunique() == 40
    page = (folder / "results/report/report.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert not list(folder.rglob("ran")) and not (ROOT / "ran").exists()


def test_a_dataset_that_vanishes_is_a_sentence_and_what_was_made_stays(own: tuple[Path, Path, Path]) -> None:
    folder, data, config = own
    elsewhere = data.rename(folder / "unplugged")
    made = {path: path.stat().st_mtime_ns for path in folder.glob("results/finetune/**/*.parquet")}
    done = run_snakemake(folder, "report", configfile=config, MY_DATA=str(data))
    assert done.returncode == 0, done.stdout
    page = (folder / "results/report/report.html").read_text(encoding="utf-8")
    assert "not run (data missing)" in page
    elsewhere.rename(data)
    assert {path: path.stat().st_mtime_ns for path in made} == made
