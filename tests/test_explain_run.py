"""Explaining a fine-tuned fold, from its weights to maps and measures on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_corpus import ENCODER, UNCHANGED, make_corpus, task, training

from usfmae.evaluation.folds import split_task
from usfmae.explain.run import explain
from usfmae.settings.models import Model
from usfmae.settings.recipes import ExplainRecipe, FinetuneRecipe
from usfmae.settings.tasks import Task
from usfmae.training.finetune import finetune

MODEL = Model(title="tiny, from scratch", encoder="tiny")
RECIPE = ExplainRecipe(title="tiny", frames_per_class=3)
FILES = ["faithfulness.csv", "inputs.npy", "maps.npy", "masks.npy", "run.json", "selection.parquet"]
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
    maps, inputs, masks = (np.load(out / f"{name}.npy") for name in ("maps", "inputs", "masks"))
    assert maps.shape == inputs.shape == masks.shape == (len(selection), 16, 16)
    assert len(selection) == 6
    assert (maps.dtype, inputs.dtype, masks.dtype) == (np.float32, np.uint8, np.uint8)
    assert maps.min() >= 0 and maps.max() <= 1
    assert maps.max(axis=(1, 2)).max() == 1
    assert list(selection.columns) == [
        "frame_id",
        "subject",
        "label",
        "predicted",
        "target",
        "score",
        "outcome",
        "has_mask",
        "shown",
    ]
    measures = pd.read_csv(out / "faithfulness.csv")
    assert list(measures.columns) == ["measure", "value", "lower", "upper", "n_frames", "baseline", "note"]
    assert measures["value"].notna().all()


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
    assert record["metrics"]["pointing_game"] == pytest.approx(
        pd.read_csv(out / "faithfulness.csv").set_index("measure").loc["pointing game", "value"]
    )


def test_the_same_seed_explains_the_same_frames_in_the_same_way(corpus: Path, run: Path, out: Path) -> None:
    before = {name: (out / name).read_bytes() for name in ("maps.npy", "faithfulness.csv")}
    again = explained(corpus, "neck", task(), run)
    assert {name: (again / name).read_bytes() for name in before} == before
