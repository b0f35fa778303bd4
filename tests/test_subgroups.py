"""Results by subgroup: each group's own frames, its n, and what cannot be said of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from test_comparison import CLASSES, predictions_of

from usfmae.evaluation import metrics
from usfmae.evaluation.estimates import with_decisions
from usfmae.evaluation.subgroups import NOT_TOLD, subgroup_table

COLUMNS = ["probability_benign", "probability_malignant"]


def table_of(predictions: pd.DataFrame, groups: pd.Series) -> pd.DataFrame:
    wanted = {"positive": "malignant", "resamples": 200, "seed": 0}
    return subgroup_table(predictions, groups, classes=CLASSES, **wanted)  # type: ignore[arg-type]


def devices(predictions: pd.DataFrame, names: list[str]) -> pd.Series:
    """Each subject's frames come from one device, in turn."""
    frames = predictions.drop_duplicates("frame_id").set_index("frame_id")
    number = frames["subject"].str.extract(r"(\d+)$")[0].astype(int)
    return pd.Series(np.array(names)[number % len(names)], index=frames.index)


def test_each_group_has_the_metrics_of_its_own_frames_at_the_threshold_of_all() -> None:
    predictions = predictions_of({"usfmae": 1.0, "resnet18": 0.5}, CLASSES)
    groups = devices(predictions, ["A", "B"])
    table = table_of(predictions, groups)
    decided = with_decisions(predictions, CLASSES, "malignant")
    test = decided[(decided["model"] == "usfmae") & (decided["role"] == "test")]
    for name in ("A", "B"):
        rows = test[test["frame_id"].map(groups) == name]
        found = table.query("model == 'usfmae' and estimate == 'pooled'").query("subgroup == @name")
        found = found.set_index("metric")
        expected = metrics.compute(rows["label"], rows[COLUMNS], CLASSES, "malignant")
        assert found.at["brier", "value"] == pytest.approx(expected["brier"])
        right = np.array(CLASSES)[rows["predicted"]] == rows["label"]
        assert found.at["accuracy", "value"] == pytest.approx(right.mean())
        assert found.at["auc", "n_frames"] == len(rows)
        assert found.at["auc", "n_subjects"] == rows["subject"].nunique()
        assert found.at["auc", "frames_malignant"] == (rows["label"] == "malignant").sum()
        assert found.at["auc", "lower"] <= found.at["auc", "value"] <= found.at["auc", "upper"]
    assert set(table["estimate"]) == {"pooled", "mean of fold models"}


def test_frames_of_no_known_group_are_counted_too() -> None:
    predictions = predictions_of({"usfmae": 1.0}, CLASSES, holdout=0)
    groups = devices(predictions, ["A", "B"])
    table = table_of(predictions, groups[groups == "A"])
    assert table["subgroup"].unique().tolist() == ["A", NOT_TOLD]
    assert table.drop_duplicates("subgroup")["n_frames"].sum() == 120


def test_a_group_without_a_class_has_no_figures_and_says_why() -> None:
    predictions = predictions_of({"usfmae": 1.0}, CLASSES, holdout=0)
    frames = predictions.drop_duplicates("frame_id").set_index("frame_id")
    table = table_of(predictions, frames["label"].replace({"benign": "A", "malignant": "B"}))
    assert table["value"].isna().all() and table["lower"].isna().all()
    assert table.set_index("subgroup").loc["A", "note"].unique().tolist() == [
        "no frame of class malignant: the metrics need each class"
    ]


def test_one_subject_has_no_interval() -> None:
    predictions = predictions_of({"usfmae": 1.0}, CLASSES, holdout=0)
    predictions.loc[predictions["subject"] == "benign-0", "subject"] = "malignant-0"
    groups = predictions.drop_duplicates("frame_id").set_index("frame_id")["subject"]
    table = table_of(predictions, groups.where(groups == "malignant-0", "the rest"))
    alone = table[table["subgroup"] == "malignant-0"]
    unranked = alone["metric"].isin(["auc", "average_precision"])  # its two classes stand in two folds
    assert alone["value"].isna().equals(unranked & (alone["metric"] == "auc"))
    assert alone["lower"].isna().all() and alone["note"].str.endswith("so nothing is ranked").all()
    assert alone["note"].str.startswith("one subject of a class: nothing says how").all()
    rest = table[table["subgroup"] == "the rest"]
    assert (
        rest["lower"].notna().any() and rest["note"].str.startswith("19 subjects of the rarest class").all()
    )


def test_the_devices_of_bus_bra_differ_in_their_malignant_share(real_data: Path) -> None:
    """The columns of the release with made-up probabilities: 1,875 frames, four devices."""
    release = pd.read_csv(real_data / "bus_bra" / "bus_data.csv")
    rng = np.random.default_rng(0)
    truth = np.eye(2)[release["Pathology"].eq("malignant").astype(int)]
    rows = pd.DataFrame(
        {
            "frame_id": release["ID"],
            "subject": release["Case"].astype(str),
            "label": release["Pathology"],
            "model": "made_up",
            "seed": 0,
            "fold": 0,
        }
    )
    rows[COLUMNS] = softmax(rng.normal(size=truth.shape) + truth, axis=1)
    predictions = pd.concat([rows.assign(role="test"), rows.assign(role="validation")])
    table = table_of(predictions, release.set_index("ID")["Device"])
    found = table.drop_duplicates("subgroup").set_index("subgroup")
    counts = release["Device"].value_counts()
    assert (found["n_frames"].reindex(counts.index) == counts).all()
    share = found["frames_malignant"] / found["n_frames"]
    assert share[found["n_frames"] >= 100].min() < 0.31 and share[found["n_frames"] >= 100].max() > 0.4
