"""The study on a folder that somebody has: mixed formats, own column names, gaps; and on real images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from pydicom.data import get_testdata_file

from usfmae.corpus.simulation.release import write_release
from workflow import ROOT, snakemake

#: What a laptop study needs beside the entries of the example: few epochs and no pretraining.
QUICK: dict[str, Any] = {
    "recipes": {
        "finetune": {
            "quick": {
                "title": "Two epochs",
                "training": {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3},
            }
        }
    },
    "statistics": {"resamples": 200},
}


def overlay(folder: Path, **sections: Any) -> Path:
    path = folder / "study.yaml"
    recipes = {**sections.pop("recipes", {}), **QUICK["recipes"]}
    path.write_text(yaml.safe_dump({**QUICK, **sections, "recipes": recipes}), encoding="utf-8")
    return path


def study_of(task: str, models: list[str]) -> dict[str, object]:
    explain = {"recipe": "demo", "models": []}
    return {
        "title": "Own",
        "tasks": [task],
        "models": models,
        "reference": models[0],
        "recipe": "quick",
        "explain": explain,
    }


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a clinic exports it, and the study of `config/examples/own_data.yaml` run on it."""
    folder = tmp_path_factory.mktemp("clinic")
    release = folder / "release"
    write_release(
        release,
        anatomy="neck",
        subjects={"normal": 10, "cystic_hygroma": 10},
        frames_per_subject=2,
        difficulty=0.2,
        seed=9,
        defects=False,
    )
    data = folder / "data"
    (data / "2023").mkdir(parents=True)
    rows = pd.read_csv(release / "labels.csv")
    table = []
    for i, row in rows.iterrows():
        image = Image.open(release / "images" / Path(row["file"]).name)
        name = f"scan_{i:03d}" + (".jpg" if i % 2 else ".png")
        image.save(data / "2023" / name, quality=95)
        diagnosis = {"normal": "no finding", "cystic_hygroma": "hygroma"}[row["class"]]
        table.append({"Bild": name, "Patientin": f"P{row['subject']}", "Befund": diagnosis})
    shutil.copy(get_testdata_file("examples_rgb_color.dcm"), data / "IM0007")
    table.append({"Bild": "IM0007", "Patientin": "P900", "Befund": None})  # a label is missing
    table.append({"Bild": "lost.png", "Patientin": "P901", "Befund": "hygroma"})  # a file is missing
    (data / "2023/broken.png").write_bytes(b"not an image")
    pd.DataFrame(table).to_csv(data / "befunde.csv", index=False, sep=";")
    # The shipped example, changed where its comments say so, and made quick.
    example = yaml.safe_load((ROOT / "config/examples/own_data.yaml").read_text(encoding="utf-8"))
    columns = {"file": "befunde.csv", "frame": "Bild", "subject": "Patientin", "label": "Befund"}
    example["datasets"]["my_clinic"]["table"] = columns
    example["tasks"]["my_task"] |= {
        "classes": {"normal": ["no finding"], "hygroma": ["hygroma"]},
        "positive": "hygroma",
        "split": {"kind": "grouped", "folds": 2, "validation": 0.3},
    }
    example["corpora"]["mine"] = {"datasets": ["my_clinic"], "size": 24}
    example["study"] |= study_of("my_task", ["vit_scratch", "resnet18_scratch"])
    config = overlay(folder, **example)
    snakemake(folder, "statistics", configfile=config, MY_DATA=str(data))
    return folder


def test_png_jpeg_and_dicom_of_one_folder_are_all_curated(own: Path) -> None:
    table = pd.read_parquet(own / "results/corpus/mine/my_clinic/frames.parquet")
    kept = table[table["drop_reason"].isna()]
    assert {Path(source).suffix for source in kept["source"]} == {".png", ".jpg", ""}
    assert len(kept) == 41


def test_a_missing_label_a_missing_file_and_a_broken_file_are_counted(own: Path) -> None:
    curation = pd.read_csv(own / "results/corpus/mine/curation.csv").set_index("finding")["frames"]
    assert curation["kept without a label"] == 1
    assert curation["dropped: file missing"] == 1
    assert curation["dropped: unreadable"] == 1
    facts = json.loads((own / "results/finetune/my_task/folds.json").read_text(encoding="utf-8"))
    assert facts["unlabelled"] == 1


def test_their_own_column_names_become_subjects_and_classes(own: Path) -> None:
    folds = pd.read_parquet(own / "results/finetune/my_task/folds.parquet")
    assert set(folds["label"]) == {"normal", "hygroma"}
    assert folds["subject"].nunique() == 20
    assert folds["subject"].str.startswith("my_clinic/P").all()


def test_the_statistics_say_that_two_folds_cannot_reach_a_small_p(own: Path) -> None:
    comparisons = pd.read_csv(own / "results/statistics/my_task/comparisons.csv")
    wilcoxon = comparisons[comparisons["test"] == "Wilcoxon signed-rank"]
    assert len(wilcoxon)
    assert np.allclose(wilcoxon["smallest_p"], 0.5)


def test_bus_bra_runs_from_pixels_to_statistics(real_data: Path, tmp_path: Path) -> None:
    """60 patients of the real release, by links, with the example's own entries for data, task and models."""
    whole, part = real_data / "bus_bra", tmp_path / "bus_bra"
    (part / "Images").mkdir(parents=True)
    (part / "Masks").mkdir()
    cases = pd.read_csv(whole / "bus_data.csv", dtype=str)
    folds = pd.read_csv(whole / "5-fold-cv.csv", dtype=str)
    first = cases.merge(folds[["ID", "kFold"]], on="ID").drop_duplicates("Case")
    first = first[[(whole / "Images" / f"{name}.png").exists() for name in first["ID"]]]
    chosen = first.groupby(["kFold", "Pathology"]).head(6)["Case"]
    cases = cases[cases["Case"].isin(chosen)]
    cases.to_csv(part / "bus_data.csv", index=False)
    folds[folds["ID"].isin(cases["ID"])].to_csv(part / "5-fold-cv.csv", index=False)
    for name in cases["ID"]:
        (part / "Images" / f"{name}.png").symlink_to(whole / "Images" / f"{name}.png")
        mask = f"mask_{name.removeprefix('bus_')}.png"
        (part / "Masks" / mask).symlink_to(whole / "Masks" / mask)
    example = yaml.safe_load((ROOT / "config/examples/bus_bra.yaml").read_text(encoding="utf-8"))
    example["corpora"]["bus_bra"]["size"] = 32
    example["recipes"]["finetune"]["bus_bra_cpu"]["training"]["epochs"] = 2
    for recipe in example["recipes"]["pretrain"].values():
        recipe["training"] |= {"epochs": 2, "batch_size": 16}
    example["study"] |= {
        "models": ["usfmae_bus_bra", "resnet18_scratch"],
        "explain": {"recipe": "demo", "models": ["resnet18_scratch"]},
    }
    example["statistics"] = {"resamples": 200}
    config = tmp_path / "study.yaml"
    config.write_text(yaml.safe_dump(example), encoding="utf-8")

    snakemake(tmp_path, configfile=config, BUS_BRA=str(part))

    page = (tmp_path / "results/report/report.html").read_text(encoding="utf-8")
    assert "BUS-BRA: breast lesion" in page
    assert "This study contains simulated data." not in page
    summary = pd.read_csv(tmp_path / "results/statistics/bus_bra/summary.csv")
    pooled = summary[(summary["estimate"] == "pooled") & (summary["metric"] == "auc")]
    assert set(pooled["model"]) == {"usfmae_bus_bra", "resnet18_scratch"}
    assert (pooled["n_subjects"] == 60).all()
    table = pd.read_parquet(tmp_path / "results/finetune/bus_bra/folds.parquet")
    for fold in range(5):
        encoder = json.loads(
            (tmp_path / f"results/pretrain/bus_bra_without_fold_{fold}/run.json").read_text(encoding="utf-8")
        )
        tested = ((table["fold"] == fold) & (table["role"] == "test")).sum()
        assert encoder["counts"]["left_out"] >= tested > 0
