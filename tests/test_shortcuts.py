"""Shortcut tests: nothing of the lesion is left, and the models that judge are those that were trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_corpus import ENCODER, task
from test_explain_run import MODEL, fine_tuned, make_corpus

from usfmae.evaluation import metrics
from usfmae.explain import shortcuts as module
from usfmae.explain.shortcuts import COLUMNS, border_and_text, shortcuts, without_lesion


def lesion(shape: tuple[int, ...] = (64, 64)) -> tuple[np.ndarray, np.ndarray]:
    """Two frames of speckle at 40 to 60 with a lesion of 200 to 255, a disc, and its masks; the second has
    no mask."""
    rng = np.random.default_rng(0)
    frames = rng.integers(40, 60, (2, *shape), dtype=np.uint8)
    y, x = np.mgrid[: shape[0], : shape[1]]
    disc = (y - 30) ** 2 + (x - 36) ** 2 <= 10**2
    frames[:, disc] = rng.integers(200, 255, frames[:, disc].shape)
    return frames, np.stack([disc, np.zeros_like(disc)]).astype(np.uint8)


@pytest.mark.parametrize("shape", [(64, 64), (64, 64, 3)])
def test_nothing_of_the_lesion_stays_not_even_its_outline(shape: tuple[int, ...]) -> None:
    frames, masks = lesion(shape)
    before = frames.copy()
    changed = without_lesion(frames, masks)
    assert changed.shape == frames.shape and changed.dtype == np.uint8
    box = changed[0, 20 - 2 : 41 + 2, 26 - 2 : 47 + 2]
    assert (box == box[0, 0]).all() and box.max() < 60, "one grey, of what is around it"
    assert (changed[0] != frames[0]).reshape(64, 64, -1).any(axis=2).sum() <= 25 * 25
    outside = np.ones((64, 64), dtype=bool)
    outside[18:43, 24:49] = False
    assert (changed[0][outside] == frames[0][outside]).all()
    assert (changed[1] == frames[1]).all(), "without a mask there is nothing to take"
    assert (frames == before).all(), "the corpus is not written to"


def test_the_grey_says_nothing_of_the_lesion() -> None:
    frames, masks = lesion()
    brighter = frames.copy()
    brighter[0][masks[0] > 0] = 255
    assert (without_lesion(frames, masks)[0] == without_lesion(brighter, masks)[0]).all()
    assert (border_and_text(frames, masks)[0] == border_and_text(brighter, masks)[0]).all()


def test_a_lesion_in_the_border_is_taken_too() -> None:
    frames, masks = lesion()
    frames, masks = (np.roll(each, 64 - 36, axis=2) for each in (frames, masks))  # its middle on the edge
    changed = border_and_text(frames, masks)
    assert changed[0][masks[0] > 0].max() < 60


def test_of_border_and_text_the_tissue_is_gone_and_strokes_outside_the_lesion_stay() -> None:
    frames, masks = lesion((128, 128))
    for row in (55, 30):  # a caliper below the lesion, and one on it
        frames[:, row, 30:45] = 255
    changed = border_and_text(frames, masks)
    border = np.ones((128, 128), dtype=bool)
    border[13:-13, 13:-13] = False
    assert (changed[:, border] == frames[:, border]).all()
    inside = changed[0, 13:-13, 13:-13]
    grey = np.bincount(inside.ravel()).argmax()
    kept = np.argwhere(changed[0] != grey)
    kept = kept[~border[tuple(kept.T)]]
    assert len(kept) and set(kept[:, 0]) <= {54, 55, 56}, "the caliper below, and not the one on the lesion"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("shortcuts"), ["neck"], subjects=60)


@pytest.fixture(scope="module")
def run(corpus: Path) -> Path:
    return fine_tuned(corpus, "neck", task())


def measured(corpus: Path, run: Path) -> pd.DataFrame:
    return shortcuts("tiny", task(), MODEL, ENCODER, corpus=corpus, runs=[run], resamples=100, seed=0)


def test_every_kind_of_frame_is_judged_by_the_trained_model_on_frames_with_a_mask(
    corpus: Path, run: Path
) -> None:
    table = measured(corpus, run)
    assert list(table.columns) == COLUMNS
    predictions = pd.read_parquet(run / "predictions.parquet")
    test = predictions[predictions["role"] == "test"]
    masked = pd.read_parquet(corpus / "neck" / "frames.parquet").query("has_mask")["frame_id"]
    test = test[test["frame_id"].isin(masked)]
    columns = ["probability_normal", "probability_cystic"]
    expected = metrics.compute(test["label"], test[columns], ["normal", "cystic"], "cystic")["auc"]
    found = table[table["metric"] == "auc"].set_index("shown")
    assert list(found.index) == ["whole frame", "without the lesion", "border and text only"]
    assert found.at["whole frame", "value"] == pytest.approx(expected)
    assert (found["n_frames"] == len(test)).all()
    assert found.at["whole frame", "value"] > 0.9 > found.at["without the lesion", "value"]


def test_unchanged_frames_give_the_predictions_of_the_run_and_black_ones_chance(
    corpus: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"the same": lambda frames, _: frames, "black": lambda frames, _: np.zeros_like(frames)}
    monkeypatch.setattr(module, "CHANGES", changes)
    values = measured(corpus, run).pivot(index="metric", columns="shown", values="value")
    assert values["the same"].to_numpy() == pytest.approx(values["whole frame"].to_numpy(), abs=1e-5)
    assert values.at["auc", "black"] == 0.5


def test_a_class_without_masks_leaves_a_reason(corpus: Path, run: Path) -> None:
    file = corpus / "neck" / "frames.parquet"
    before = pd.read_parquet(file)
    before.assign(has_mask=before["label"] == "cystic").to_parquet(file)
    try:
        (row,) = measured(corpus, run).to_dict("records")
    finally:
        before.to_parquet(file)
    assert row["note"] == "no test frame of class normal has a mask" and np.isnan(row["value"])
