"""Explaining a fine-tuned fold, from its weights to maps and measures on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from fake_corpus import ENCODER, UNCHANGED, make_corpus, task, training

from usfmae.evaluation.folds import split_task
from usfmae.explain import faithfulness
from usfmae.explain.run import Explained, explain
from usfmae.explain.selection import COLUMNS
from usfmae.settings.models import Model
from usfmae.settings.recipes import ExplainRecipe, FinetuneRecipe
from usfmae.settings.tasks import Task
from usfmae.training.finetune import finetune

MODEL = Model(title="tiny, from scratch", encoder="tiny")
METHODS = ["score_cam", "grad_cam", "attention_rollout", "gradient_attention"]
RECIPE = ExplainRecipe(title="tiny", frames_per_class=3, methods=METHODS)
FILES = ["curves.csv", "faithfulness.csv", "inputs.npy", "maps.npz", "masks.npy", "measures.parquet"]
FILES += ["run.json", "selection.parquet"]
WITHOUT_HOLDOUT = {"kind": "grouped", "folds": 2, "validation": 0.25, "seed": 1}


def fine_tuned(corpus: Path, name: str, what: Task) -> Path:
    """The folder of a fold of a tiny model that has learned where the bright square lies."""
    results = corpus.parents[1]
    split_task(name, what, corpus=corpus, out=results / "finetune" / name)
    out = results / "finetune" / name / "tiny" / "demo" / "fraction-1" / "seed-0" / "fold-0"
    finetune(
        what,
        MODEL,
        FinetuneRecipe(
            title="tiny", training=training(epochs=30, learning_rate=1e-2), augmentation=UNCHANGED
        ),
        wildcards={"task": name, "model": "tiny", "fraction": 1, "seed": 0, "fold": 0},
        encoder=ENCODER,
        corpus=corpus,
        folds=results / "finetune" / name / "folds.parquet",
        weights=None,
        simulated=True,
        out=out,
    )
    return out


def explained(corpus: Path, name: str, what: Task, run: Path, **changes: Any) -> Path:
    out = corpus.parents[1] / "explain" / name / "tiny"
    explain(
        what,
        MODEL,
        RECIPE,
        wildcards={"task": name, "model": "tiny"},
        encoder=ENCODER,
        corpus=corpus,
        run=run,
        simulated=True,
        out=out,
        **{"seed": 0} | changes,
    )
    return out


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("explain"), ["neck"], subjects=60)


@pytest.fixture(scope="module")
def run(corpus: Path) -> Path:
    return fine_tuned(corpus, "neck", task())


@pytest.fixture(scope="module")
def out(corpus: Path, run: Path) -> Path:
    return explained(corpus, "neck", task(), run)


def test_explaining_writes_all_that_the_contract_promises(out: Path) -> None:
    assert sorted(path.name for path in out.iterdir()) == FILES
    selection = pd.read_parquet(out / "selection.parquet")
    inputs, masks, maps = np.load(out / "inputs.npy"), np.load(out / "masks.npy"), np.load(out / "maps.npz")
    assert len(selection) == 6 and list(selection.columns) == COLUMNS
    assert inputs.shape == masks.shape == (6, 16, 16)
    assert (inputs.dtype, masks.dtype) == (np.uint8, np.uint8)
    assert list(maps) == METHODS
    for method in METHODS:
        assert maps[method].shape == (6, 16, 16) and maps[method].dtype == np.float32
        assert maps[method].min() >= 0 and maps[method].max() == pytest.approx(1, abs=1e-5)
    found = pd.read_csv(out / "faithfulness.csv")
    assert list(found.columns) == faithfulness.COLUMNS and list(found["method"].unique()) == METHODS
    assert found["value"].notna().all() and (found["n_frames"] <= 6).all()
    assert len(found) == len(METHODS) * len(faithfulness.MEASURES)


def test_every_frame_has_its_measures_by_each_method_and_by_the_centred_gaussian(out: Path) -> None:
    measures = pd.read_parquet(out / "measures.parquet")
    selection = pd.read_parquet(out / "selection.parquet")
    assert list(measures["method"].unique()) == [faithfulness.GAUSSIAN, *METHODS]
    for _, rows in measures.groupby("method"):
        assert list(rows["frame_id"]) == list(selection["frame_id"])
        assert list(rows["probability_of_label"]) == list(selection["probability_of_label"])
    of_score_cam = measures[measures["method"] == "score_cam"]
    table = pd.read_csv(out / "faithfulness.csv").set_index(["method", "measure"])["value"]
    for measure in ("energy inside the mask", "ROAD", "deletion AUC", faithfulness.CORRELATION):
        assert of_score_cam[measure].mean() == pytest.approx(table["score_cam", measure])


def test_the_curves_are_those_whose_areas_stand_in_the_table(out: Path) -> None:
    curves = pd.read_csv(out / "curves.csv")
    table = pd.read_csv(out / "faithfulness.csv").set_index(["method", "measure"])["value"]
    for (method, curve), rows in curves.groupby(["method", "curve"]):
        assert rows["share"].iloc[0] == 0 and rows["share"].iloc[-1] == 1 and len(rows) == 21
        if method != faithfulness.GAUSSIAN:
            area = np.trapezoid(rows["probability"], rows["share"])
            assert area == pytest.approx(table[method, f"{curve} AUC"])
    starts = curves[(curves["curve"] == "deletion") & (curves["share"] == 0)]["probability"]
    assert (starts == starts.iloc[0]).all()  # the whole image, whatever the map


def test_a_network_without_attention_is_explained_by_the_other_methods(corpus: Path, run: Path) -> None:
    recipe = ExplainRecipe(title="tiny", frames_per_class=2, methods=["attention_rollout", "grad_cam"])
    network = timm.create_model("resnet10t", num_classes=2, in_chans=1).eval()
    frames = pd.DataFrame(
        {
            **dict.fromkeys(COLUMNS, "x"),
            "frame_id": ["a", "b"],
            "subject": ["s", "t"],
            "probability_of_label": [0.4, 0.6],
        }
    )
    explained = Explained(
        network=network,
        frames=torch.rand(2, 1, 64, 64),
        targets=torch.tensor([0, 1]),
        masks=np.ones((2, 64, 64), np.uint8),
        chosen=frames,
        recipe=recipe,
        layer="layer3",
        baseline=0.0,
        seed=0,
    )
    maps, table, measures, _ = explained.checked()
    assert list(maps) == ["grad_cam"] and set(measures["method"]) == {"grad_cam", faithfulness.GAUSSIAN}
    (absent,) = table[table["method"] == "attention_rollout"].to_dict("records")
    assert absent["note"].startswith("not applicable: ResNet") and np.isnan(absent["value"])


def test_only_holdout_frames_are_explained_where_there_is_a_holdout(out: Path, run: Path) -> None:
    predictions = pd.read_parquet(run / "predictions.parquet").set_index("frame_id")
    selection = pd.read_parquet(out / "selection.parquet")
    assert set(predictions.loc[selection["frame_id"], "role"]) == {"holdout"}


def test_without_a_holdout_the_folds_test_frames_are_explained(corpus: Path) -> None:
    what = task(split=WITHOUT_HOLDOUT)
    folder = fine_tuned(corpus, "no-holdout", what)
    selection = pd.read_parquet(explained(corpus, "no-holdout", what, folder) / "selection.parquet")
    predictions = pd.read_parquet(folder / "predictions.parquet").set_index("frame_id")
    assert set(predictions.loc[selection["frame_id"], "role"]) == {"test"}


def test_maps_inputs_and_masks_belong_to_the_rows_of_the_selection(out: Path, corpus: Path) -> None:
    table = pd.read_parquet(corpus / "neck" / "frames.parquet")
    row = pd.Series(table.index, index=table["frame_id"])
    rows = row[pd.read_parquet(out / "selection.parquet")["frame_id"]].to_numpy()
    assert np.array_equal(np.load(out / "inputs.npy"), np.load(corpus / "neck" / "frames.npy")[rows])
    assert np.array_equal(np.load(out / "masks.npy"), np.load(corpus / "neck" / "masks.npy")[rows])


def test_the_classes_and_scores_are_those_of_the_predictions(out: Path, run: Path) -> None:
    selection = pd.read_parquet(out / "selection.parquet").set_index("frame_id")
    predictions = pd.read_parquet(run / "predictions.parquet").set_index("frame_id").loc[selection.index]
    assert set(selection["target"]) <= {"normal", "cystic"}
    assert (selection["predicted"] == selection["target"]).all()
    for frame, chosen in selection.iterrows():
        assert chosen["score"] == predictions.loc[frame, f"probability_{chosen['target']}"]
        assert (chosen["outcome"] == "correct") == (chosen["label"] == chosen["predicted"])
        assert chosen["probability_of_label"] == predictions.loc[frame, f"probability_{chosen['label']}"]
        over = predictions.loc[frame, "probability_cystic"] >= chosen["threshold"]
        assert over == (chosen["predicted"] == "cystic") == chosen["cell"].endswith("positive")
    assert (selection["outcome"] == "correct").mean() > 0.5


def test_the_record_of_an_explanation_names_its_run(out: Path, run: Path) -> None:
    record = json.loads((out / "run.json").read_text())
    assert (record["key"], record["stage"], record["simulated"]) == ("explain/neck/tiny", "explain", True)
    assert record["counts"] == {
        "frames": 6,
        "subjects": pd.read_parquet(out / "selection.parquet")["subject"].nunique(),
    }
    results = run.parents[6]
    short = {path.relative_to(results.parent).as_posix() for path in run.glob("[mp]*")}
    assert set(record["inputs"]) == short
    table = pd.read_csv(out / "faithfulness.csv").set_index(["method", "measure"])["value"]
    assert record["metrics"]["pointing_game"] == pytest.approx(table["score_cam", "pointing game"])
    assert record["metrics"]["grad_cam/ROAD"] == pytest.approx(table["grad_cam", "ROAD"])
    assert {Path(path).name for path in record["outputs"]} >= {"maps.npz", "measures.parquet", "curves.csv"}


def test_the_same_seed_explains_the_same_frames_in_the_same_way(corpus: Path, run: Path, out: Path) -> None:
    before = {name: (out / name).read_bytes() for name in ("maps.npz", "faithfulness.csv")}
    again = explained(corpus, "neck", task(), run)
    assert {name: (again / name).read_bytes() for name in before} == before
