"""What needs weights or releases that cannot be had is not run; everything else is, in one command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from usfmae.models.mae import MaskedAutoencoder, build_encoder
from usfmae.settings import Settings, load
from usfmae.settings.at_hand import study_weights, without_missing
from usfmae.settings.load import FILES
from usfmae.settings.pretraining import LeaveOut
from workflow import ROOT, planned, snakemake

CONFIG = [ROOT / f"config/{name}.yaml" for name in FILES]
TINY = ROOT / "tests/data/tiny.yaml"
RECIPE = {
    "title": "Continued",
    "encoder": "vit_demo",
    "corpus": "demo",
    "decoder_width": 64,
    "decoder_depth": 2,
    "decoder_heads": 4,
    "training": {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3},
}
URL = "https://weights.example.org/old.pth"
#: The tiny study of one task, whose reference model and pretraining start from weights that nobody serves,
#: and of another, whose images nobody has put there.
OVERLAY: dict[str, Any] = {
    "study": {
        "tasks": ["neck", "private"],
        "models": ["vit_scratch", "published", "continued"],
        "reference": "published",
        "pretrain": ["continued", "after"],
        "explain": {"recipe": "tiny", "models": ["vit_scratch", "published"]},
    },
    "corpora": {"demo": {"datasets": ["simulated_neck", "absent"]}},
    "datasets": {
        "absent": {
            "title": "Absent",
            "anatomy": "neck",
            "access": {"host": "folder"},
            "licence": {"name": "none", "use": "open"},
            "citation": "None.",
        }
    },
    "tasks": {
        "private": {
            "title": "Private",
            "corpus": "demo",
            "datasets": ["absent"],
            "classes": {"a": ["a"], "b": ["b"]},
            "positive": "b",
            "split": {"kind": "grouped", "folds": 2},
        }
    },
    "checkpoints": {
        "old": {
            "title": "Old",
            "access": {"host": "http", "files": [{"name": "old.pth", "url": URL}]},
            "contents": "mae",
            "channels": 1,
            "licence": "CC0-1.0",
        }
    },
    "models": {
        "published": {"title": "P", "encoder": "vit_demo", "weights": "checkpoint", "checkpoint": "old"},
        "continued": {"title": "C", "encoder": "vit_demo", "weights": "pretrain", "pretrain": "continued"},
    },
    "recipes": {
        "pretrain": {
            "continued": RECIPE
            | {
                "initial_weights": "old",
                "grid": {"learning_rate": [1e-3], "weight_decay": [0.05], "folds": 2},
            },
            "after": RECIPE | {"setting_of": "continued"},
        }
    },
    "download": {"attempts": 1, "mirrors": {"https://weights.example.org": "http://127.0.0.1:9"}},
}
FOLD = "results/finetune/neck/{model}/tiny/fraction-1/seed-0/fold-{fold}/predictions.parquet"


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    merged = yaml.safe_load(TINY.read_text(encoding="utf-8"))
    for part, entries in OVERLAY.items():
        for name, value in entries.items():
            both = isinstance(value, dict) and isinstance(merged.get(part, {}).get(name), dict)
            merged.setdefault(part, {})[name] = merged[part][name] | value if both else value
    file = tmp_path_factory.mktemp("overlay") / "study.yaml"
    file.write_text(yaml.safe_dump(merged), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def study(overlay: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one command has gone as far as the statistics, without a network."""
    folder = tmp_path_factory.mktemp("study")
    snakemake(folder, "statistics", configfile=overlay)
    return folder


def plan(folder: Path, overlay: Path, *words: str) -> dict[str, int]:
    return planned(snakemake(folder, *words, "-n", configfile=overlay))


def test_a_fresh_clone_plans_everything_as_weights_can_be_fetched(overlay: Path, tmp_path: Path) -> None:
    jobs = plan(tmp_path, overlay)
    wanted = {"fetch_weights": 1, "pretrain_fold": 2, "pretrain_encoder": 2, "finetune_fold": 12}
    assert {name: jobs.get(name) for name in wanted} == wanted
    assert jobs["explain_model"] == 4


def test_without_a_network_the_others_are_run_and_their_statistics_made(study: Path) -> None:
    fetched = json.loads((study / "resources/weights/old/fetched.json").read_text(encoding="utf-8"))
    assert fetched["status"] == "unavailable"
    summary = pd.read_csv(study / "results/statistics/neck/summary.csv")
    assert set(summary.dropna(subset="value")["model"]) == {"vit_scratch"}
    named = summary[summary["interval"] == "not run (weights missing)"]
    assert sorted(named["model"]) == ["continued", "published"]
    comparisons = pd.read_csv(study / "results/statistics/neck/comparisons.csv")
    assert comparisons["p"].isna().all()  # the reference was not run
    assert [path.name for path in (study / "results/finetune/neck").iterdir() if path.is_dir()] == [
        "vit_scratch"
    ]
    assert not (study / "results/pretrain").exists()
    assert not (study / "results/finetune/private").exists()  # no image of it was here


def test_what_was_not_run_is_in_no_target(study: Path, overlay: Path) -> None:
    assert plan(study, overlay, "statistics") == {}
    jobs = plan(study, overlay)
    assert jobs["explain_model"] == 1
    assert not {"finetune_fold", "pretrain_fold", "pretrain_encoder", "compare_models"} & set(jobs)


@pytest.mark.parametrize("target", ["label_efficiency", "shortcuts"])
def test_the_targets_beside_the_stages_leave_it_out_too(study: Path, overlay: Path, target: str) -> None:
    several = yaml.safe_load(overlay.read_text(encoding="utf-8"))
    several["study"]["fractions"] = [0.5, 1.0]
    several["datasets"]["absent"]["masks"] = (
        "{folder}/mask_{stem}.png"  # so that `shortcuts` would ask for it
    )
    file = overlay.with_name(f"{target}.yaml")
    file.write_text(yaml.safe_dump(several), encoding="utf-8")
    told = snakemake(study, target, "-n", "--quiet", "host", configfile=file)
    assert "results/statistics/neck" in told and "private" not in told


def test_a_file_placed_by_hand_makes_what_starts_from_it_stale_and_nothing_else(
    study: Path, overlay: Path
) -> None:
    encoder = build_encoder(size=24, channels=1, width=96, depth=4, heads=4, patch_size=8)
    model = MaskedAutoencoder(encoder, decoder_width=64, decoder_depth=2, decoder_heads=4, mask_ratio=0.75)
    placed = study / "resources/weights/old/archives/old.pth"
    torch.save(model.state_dict(), placed)
    assert plan(study, overlay, "finetune").get("fetch_weights") == 1
    snakemake(study, "resources/weights/old/fetched.json", configfile=overlay)
    jobs = plan(study, overlay, "statistics")
    wanted = {"finetune_fold": 4, "pretrain_fold": 2, "choose_setting": 1, "pretrain_encoder": 1}
    assert jobs == wanted | {
        "compare_models": 1,
        "rank_models": 1,
        "statistics": 1,
    }  # both folds of the two models


def settings(overlay: Path) -> Settings:
    return load(*CONFIG, overlay)


def test_the_weights_of_a_study_are_those_of_its_models_and_recipes(overlay: Path) -> None:
    assert study_weights(settings(overlay)) == ["old"]
    assert study_weights(load(*CONFIG)) == []  # the demo needs none


def test_a_recipe_is_left_out_with_the_recipe_whose_grid_it_needs(overlay: Path) -> None:
    left = without_missing(settings(overlay), {"old"})
    assert (left.study.models, left.study.pretrain) == (["vit_scratch"], [])
    assert left.study.explain.models == ["vit_scratch"]
    assert left.pretrain_recipes() == []


def test_nothing_is_left_out_where_all_weights_are_here(overlay: Path) -> None:
    assert without_missing(settings(overlay), set()) == settings(overlay)


def test_a_task_is_left_out_with_its_data_and_with_it_the_encoders_that_leave_out_its_folds(
    overlay: Path,
) -> None:
    whole = settings(overlay)
    leaving = whole.recipes.pretrain["after"].model_copy(
        update={"leave_out": LeaveOut(task="private", fold=0)}
    )
    whole.recipes.pretrain["after"] = leaving
    left = without_missing(whole, (), ["absent"])
    assert (left.study.tasks, left.study.pretrain) == (["neck"], ["continued"])
    assert left.study.models == whole.study.models
