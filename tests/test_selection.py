"""Which frames are explained and shown: by rule, and the same ones each time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from usfmae.explain.selection import COLUMNS, select


def predictions(n: int = 60) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    probability = generator.random(n).round(2)  # with ties
    return pd.DataFrame(
        {
            "frame_id": [f"demo/frame{i:02}.png#0" for i in range(n)],
            "subject": [f"demo/{i // 2}" for i in range(n)],
            "label": generator.choice(["benign", "malignant"], n),
            "has_mask": True,
            "probability_benign": 1 - probability,
            "probability_malignant": probability,
        }
    )


def test_the_same_frames_are_chosen_whatever_the_order_of_the_rows() -> None:
    chosen = select(predictions(), 8, seed=3)
    pd.testing.assert_frame_equal(select(predictions().sample(frac=1, random_state=9), 8, seed=3), chosen)
    assert set(select(predictions(), 8, seed=4)["frame_id"]) != set(chosen["frame_id"])


def test_each_class_gives_as_many_frames_as_asked_or_all_it_has() -> None:
    assert select(predictions(), 8, seed=0)["label"].value_counts().to_dict() == {"benign": 8, "malignant": 8}
    everything = select(predictions(), 1000, seed=0)
    assert sorted(everything["frame_id"]) == sorted(predictions()["frame_id"])
    assert list(everything.columns) == COLUMNS


def test_the_target_is_the_predicted_class_and_the_score_its_probability() -> None:
    chosen = select(predictions(), 1000, seed=0).merge(predictions(), on="frame_id", suffixes=("", "_"))
    most = chosen[["probability_benign", "probability_malignant"]].max(axis=1)
    assert (chosen["score"] == most).all() and (chosen["target"] == chosen["predicted"]).all()
    assert ((chosen["outcome"] == "correct") == (chosen["predicted"] == chosen["label"])).all()


def test_shown_are_the_surest_and_the_median_correct_frame_and_the_surest_error() -> None:
    chosen = select(predictions(), 1000, seed=0)
    for _, rows in chosen.groupby("label"):
        right, wrong = (rows[rows["outcome"] == outcome] for outcome in ("correct", "wrong"))
        assert right["shown"].sum() == 2 and wrong["shown"].sum() == 1
        shown = right.loc[right["shown"], "score"]
        assert shown.max() == right["score"].max()
        assert abs((right["score"] > shown.min()).sum() - (right["score"] < shown.min()).sum()) <= 2
        assert wrong.loc[wrong["shown"], "score"].item() == wrong["score"].max()


def test_a_class_without_errors_shows_none() -> None:
    frames = predictions()
    frames["label"] = np.where(frames["probability_malignant"] > 0.5, "malignant", "benign")
    chosen = select(frames[frames["probability_malignant"] != 0.5], 1000, seed=0)
    assert (chosen["outcome"] == "correct").all() and chosen["shown"].sum() == 4


def test_a_prediction_made_with_a_threshold_stands() -> None:
    frames = predictions().assign(predicted="malignant")
    chosen = select(frames, 1000, seed=0).merge(frames, on="frame_id", suffixes=("", "_"))
    assert (chosen["target"] == "malignant").all()
    assert (chosen["score"] == chosen["probability_malignant"]).all()


def test_of_two_classes_each_frame_has_its_cell_of_the_confusion_matrix() -> None:
    chosen = select(predictions(), 1000, seed=0, positive="malignant")
    cells = chosen.groupby(["label", "predicted"])["cell"].unique().map(list).to_dict()
    assert cells == {
        ("benign", "benign"): ["true negative"],
        ("benign", "malignant"): ["false positive"],
        ("malignant", "benign"): ["false negative"],
        ("malignant", "malignant"): ["true positive"],
    }
    shown = chosen[chosen["shown"]]["cell"].value_counts().to_dict()
    assert shown == {"true positive": 2, "true negative": 2, "false positive": 1, "false negative": 1}


def test_of_more_classes_a_frame_is_correct_or_wrong() -> None:
    frames = predictions().assign(probability_normal=0.0)
    chosen = select(frames, 1000, seed=0, positive="malignant")
    assert (chosen["cell"] == chosen["outcome"]).all() and chosen["threshold"].isna().all()


def test_the_probability_of_the_label_stands_beside_that_of_the_prediction() -> None:
    chosen = select(predictions(), 1000, seed=0)
    right = chosen["outcome"] == "correct"
    assert (chosen["probability_of_label"] == chosen["score"])[right].all()
    assert np.allclose((chosen["probability_of_label"] + chosen["score"])[~right], 1)


def test_bad_predictions_are_refused_with_the_column_or_the_frame() -> None:
    with pytest.raises(ValueError, match="has_mask"):
        select(predictions().drop(columns="has_mask"), 5, seed=0)
    with pytest.raises(ValueError, match=r"probability_<class>"):
        select(predictions().drop(columns=["probability_benign", "probability_malignant"]), 5, seed=0)
    with pytest.raises(ValueError, match="frame07"):
        select(pd.concat([predictions(), predictions()[7:8]]), 5, seed=0)
