"""Frozen protocols, shares of the subjects, shortcuts and the export of a probe: one study, by Snakemake."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from usfmae.tracking import sync
from workflow import ROOT, planned, snakemake

PROTOCOLS = {"probe": "linear_probe", "neighbours": "knn", "attentive": "quick_attentive"}
STUDY = {
    "tasks": ["breast"],
    "models": ["trained", *PROTOCOLS],
    "reference": "trained",
    "fractions": [0.5, 1.0],
    "shortcuts": True,
    "explain": {"recipe": "tiny", "models": ["trained", "probe"]},
}


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    merged = yaml.safe_load((ROOT / "tests/data/tiny.yaml").read_text(encoding="utf-8"))
    merged["study"] |= STUDY
    merged["corpora"]["demo"]["datasets"] = ["simulated_breast"]
    vit = {"encoder": "vit_demo"}
    merged["models"] = {"trained": vit | {"title": "Small ViT, from scratch"}}
    for name, recipe in PROTOCOLS.items():
        merged["models"][name] = vit | {"title": f"Small ViT, from scratch; {name}", "recipe": recipe}
    merged["recipes"]["finetune"]["quick_attentive"] = {
        "title": "One learned query, two epochs",
        "protocol": "attentive_probe",
        "training": {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3},
    }
    file = tmp_path_factory.mktemp("overlay") / "study.yaml"
    file.write_text(yaml.safe_dump(merged), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def study(overlay: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    snakemake(folder, "statistics", "export", configfile=overlay)
    return folder


def test_features_are_computed_once_for_all_folds_and_shares(study: Path) -> None:
    features = sorted(path.relative_to(study).as_posix() for path in study.glob("results/features/**/*.npy"))
    kinds = {"probe": "pooled", "neighbours": "pooled", "attentive": "tokens"}
    assert features == sorted(
        f"results/features/breast/{model}/seed-0/fold-0/{kind}.npy" for model, kind in kinds.items()
    )
    runs = list(study.glob("results/finetune/breast/probe/linear_probe/fraction-*/seed-0/fold-*/run.json"))
    assert len(runs) == 4  # two folds, two shares


def test_every_protocol_is_in_the_statistics(study: Path) -> None:
    summary = pd.read_csv(study / "results/statistics/breast/summary.csv")
    pooled = summary[(summary["estimate"] == "pooled") & (summary["metric"] == "auc")]
    assert set(pooled["model"]) == {"trained", *PROTOCOLS} and pooled["value"].between(0, 1).all()
    shares = pd.read_csv(study / "results/statistics/breast/label_efficiency.csv")
    assert set(zip(shares["model"], shares["fraction"], strict=True)) == {
        (model, share) for model in ("trained", *PROTOCOLS) for share in (0.5, 1.0)
    }


def test_what_keeps_no_network_says_so_in_the_shortcut_test(study: Path) -> None:
    table = pd.read_csv(study / "results/statistics/breast/shortcuts.csv")
    untested = table[table["note"].notna()].set_index("model")["note"]
    assert set(untested.index) == {"neighbours", "attentive"}
    assert set(table.loc[table["value"].notna(), "model"]) == {"trained", "probe"}


def test_a_probe_is_exported_like_a_network(study: Path) -> None:
    folder = study / "results/export/breast/probe"
    assert (folder / "model.onnx").stat().st_size > 10_000
    assert json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    assert "Not for clinical use" in (folder / "README.md").read_text(encoding="utf-8")


def test_features_and_exports_are_runs_of_their_task_in_mlflow(study: Path) -> None:
    runs = sync(study / "results")["runs"]
    assert {"export/breast/probe", "export/breast/trained"} <= set(runs)
    assert "features/breast/probe/seed-0/fold-0" in runs


def test_a_changed_probe_reads_the_features_that_are_there(study: Path, overlay: Path) -> None:
    changed = yaml.safe_load(overlay.read_text(encoding="utf-8"))
    changed["recipes"]["finetune"]["linear_probe"] = {"class_weights": False}
    overlay = overlay.with_name("changed.yaml")
    overlay.write_text(yaml.safe_dump(changed), encoding="utf-8")
    jobs = planned(snakemake(study, "finetune", "-n", configfile=overlay))
    assert jobs == {"finetune_fold": 4, "finetune": 1}


def test_what_leaves_no_network_cannot_be_explained(overlay: Path, tmp_path: Path) -> None:
    wrong = yaml.safe_load(overlay.read_text(encoding="utf-8"))
    wrong["study"]["explain"]["models"] = ["neighbours"]
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump(wrong), encoding="utf-8")
    with pytest.raises(AssertionError, match="neighbours is fine-tuned by `protocol: knn`"):
        snakemake(tmp_path, "-n", configfile=file)
