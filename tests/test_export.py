"""An export: whole, equal to the run in PyTorch, ONNX and MLflow, and honest about its limits."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import timm
import torch
from exported_study import ExportedStudy, make_study

from usfmae.cli import CONFIG_FILES
from usfmae.deployment.card import card
from usfmae.deployment.export import PACKAGE, save_onnx
from usfmae.deployment.predictor import ModelError, Predictor, forward
from usfmae.settings import Settings, load
from workflow import ROOT, planned, snakemake

TINY = Path(__file__).parent / "data/tiny.yaml"
FILES = {
    *("MLmodel", "README.md", "model.safetensors", "features.safetensors", "model.onnx", "run.json"),
    *("model.json", "preprocessing.json", "labels.json", "decision.json"),
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ExportedStudy:
    made = make_study(tmp_path_factory.mktemp("export"))
    # By its target, as a person does. What it needs was made without Snakemake, so times alone can tell.
    snakemake(made.root, "export", "--rerun-triggers", "mtime", configfile=made.config)
    return made


@pytest.fixture(scope="module")
def predictor(study: ExportedStudy) -> Predictor:
    return Predictor.load(study.exported)


def test_an_export_is_whole_and_holds_no_pickle_and_no_path_of_this_machine(study: ExportedStudy) -> None:
    files = [path for path in study.exported.rglob("*") if path.is_file()]
    assert {path.name for path in study.exported.iterdir()} >= FILES
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin", ".pyc")]
    for place in (str(PACKAGE), str(study.root)):
        assert not [path for path in files if place.encode() in path.read_bytes()]


@pytest.mark.parametrize("frames", [1, 7])
def test_onnx_gives_the_probabilities_of_torch(
    study: ExportedStudy, predictor: Predictor, frames: int
) -> None:
    assert onnx_differs(study.exported / "model.onnx", predictor, frames) < 1e-4


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_onnx_of_a_convolutional_network_in_colour_gives_its_probabilities(
    predictor: Predictor, tmp_path: Path, name: str
) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=2, in_chans=3).eval()
    colour = predictor.corpus.model_copy(update={"channels": 3})
    convolutional = replace(predictor, network=network, corpus=colour)
    save_onnx(convolutional, tmp_path / "model.onnx")
    assert onnx_differs(tmp_path / "model.onnx", convolutional, 3) < 1e-4


def onnx_differs(model: Path, predictor: Predictor, n: int) -> float:
    """Largest difference of a probability over `n` frames of noise."""
    shape = (n, predictor.corpus.channels, predictor.corpus.size, predictor.corpus.size)
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    told = onnxruntime.InferenceSession(model).run(None, {"frames": frames.astype(np.float32) / 255})[0]
    return float(np.abs(told - forward(predictor.network, torch.from_numpy(frames))[0]).max())


LOAD = """
import sys, mlflow, pandas as pd
from pathlib import Path
files = [Path(word) for word in sys.argv[3:]]
rows = pd.DataFrame({"name": [f.name for f in files], "image": [f.read_bytes() for f in files]})
mlflow.pyfunc.load_model(sys.argv[1]).predict(rows).to_csv(sys.argv[2], index=False)
"""


def test_mlflow_loads_it_without_pickle_and_says_what_predict_says(
    study: ExportedStudy, predictor: Predictor, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    files = [study.release / "s1.png", broken, study.release / "s2.png"]
    subprocess.run(
        [sys.executable, "-c", LOAD, str(study.exported), "told.csv", *map(str, files)],
        cwd=tmp_path,
        env={"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)},
        check=True,
    )
    told = pd.read_csv(tmp_path / "told.csv")
    wanted = pd.concat(predictor.predict(files), ignore_index=True)
    wanted["path"] = [file.name for file in files]
    pd.testing.assert_frame_equal(told, wanted, check_dtype=False, atol=1e-6)


def test_the_card_says_data_licence_metrics_with_intervals_limits_and_not_clinical(
    study: ExportedStudy,
) -> None:
    card = (study.exported / "README.md").read_text(encoding="utf-8")
    assert "Not for clinical use" in card
    assert "CC-BY-NC-4.0 | non-commercial" in card
    assert "A doubt that the card must name." in card
    assert "The official split cuts" not in card
    assert "imulated, of no patient" not in card
    summary = pd.read_csv(study.summary).query("estimate == 'pooled' and metric == 'auc'").iloc[0]
    interval = f"| {summary['value']:.3f} | {summary['lower']:.3f} to {summary['upper']:.3f} | 80 | 80 |"
    assert f"| test | pooled | auc {interval}" in card
    counts = pd.read_parquet(study.root / "results/finetune/squares/folds.parquet").query("fold == 0")["role"]
    assert f"| train | {(counts == 'train').sum()} | " in card


def test_the_card_says_simulated_where_a_dataset_is(study: ExportedStudy, tmp_path: Path) -> None:
    settings = study.settings
    simulated = settings.datasets["simulated_neck"]
    changed = settings.model_copy(update={"datasets": settings.datasets | {"squares": simulated}})
    out = tmp_path / "results/export/squares/tiny"
    study.export(out, changed)
    assert "Simulated, of no patient: squares" in (out / "README.md").read_text(encoding="utf-8")


def test_the_card_names_pretraining_data_initial_weights_and_a_leaking_split(study: ExportedStudy) -> None:
    settings = load(*(ROOT / f"config/{name}.yaml" for name in CONFIG_FILES), ROOT / "config/paper.yaml")
    told = json.loads((study.run / "run.json").read_text())
    text = card(
        Predictor.load(study.exported),
        settings,
        task="bus_bra",
        model="usfmae_published",
        record=told,
        summary=pd.read_csv(study.summary),
        split={"leaks": 43, "left_out": 7},
    )
    assert "| fine-tuning | BUS-BRA | CC-BY-4.0 | open | no |" in text
    assert f"| pretraining | {settings.datasets['hc18'].title} |" in text
    assert "| initial weights | MAE ViT-B/16 on ImageNet-1k, with decoder | CC-BY-NC-4.0 |" in text
    assert "cuts 43 groups" in text and "7 frames that the official split ties" in text


def with_encoder(settings: Settings, **changes: int) -> Settings:
    encoder = settings.encoders["tiny"].model_copy(update=changes)
    return settings.model_copy(update={"encoders": {"tiny": encoder}})


def test_an_export_that_fails_leaves_the_former_as_it_was(study: ExportedStudy) -> None:
    before = {path: path.stat().st_mtime_ns for path in study.exported.rglob("*")}
    with pytest.raises(ModelError, match="does not fit"):
        study.export(study.exported, with_encoder(study.settings, depth=3))
    with pytest.raises(ModelError, match="other probabilities"):  # the same shapes, another network
        study.export(study.exported, with_encoder(study.settings, heads=4))
    assert {path: path.stat().st_mtime_ns for path in study.exported.rglob("*")} == before
    assert [path.name for path in study.exported.parent.iterdir()] == ["tiny"]


def test_export_is_a_target_for_the_explained_models_and_no_part_of_all(tmp_path: Path) -> None:
    study = "study={tasks: [neck, breast]}"
    jobs = planned(snakemake(tmp_path, "export", "-n", "--config", study, configfile=TINY))
    assert jobs["export_model"] == 4
    assert "export_model" not in planned(snakemake(tmp_path, "-n", configfile=TINY))
