"""A model is never pretrained on frames it is tested on: the configuration is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from usfmae.settings import SettingsError, load

CONFIG = Path(__file__).resolve().parents[1] / "config"
FILES = [CONFIG / f"{name}.yaml" for name in ("datasets", "models", "recipes", "tasks", "config")]
BUS_BRA = CONFIG / "examples/bus_bra.yaml"


def test_the_example_leaves_each_fold_out_of_its_own_pretraining() -> None:
    assert len(load(*FILES, BUS_BRA).pretrain_recipes()) == 5


def test_one_encoder_for_all_folds_is_refused(tmp_path: Path) -> None:
    changed = {"models": {"usfmae_bus_bra": {"pretrain": "bus_bra_without_fold_0"}}}
    (tmp_path / "leak.yaml").write_text(yaml.safe_dump(changed), encoding="utf-8")
    with pytest.raises(SettingsError, match="tested on") as error:
        load(*FILES, BUS_BRA, tmp_path / "leak.yaml")
    assert "fold 1" in str(error.value)
    assert "fold 0" not in str(error.value).replace("without_fold_0", "")


def test_a_dataset_that_a_task_tests_on_counts_as_an_evaluation_set() -> None:
    settings = load(*FILES)
    assert settings.evaluation_datasets(["simulated_sweeps", "simulated_neck"]) == ["simulated_neck"]
