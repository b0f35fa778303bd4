"""Splits that the release gives: its folds, its hold-out, its three parts, and what becomes of cut groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from frames_to_split import make_frames, property_based, studies
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from usfmae.evaluation.official import OfficialFolds, official_folds
from usfmae.evaluation.splits import COLUMNS, SplitError, assert_disjoint
from usfmae.settings.tasks import OfficialSplit

THREE_PARTS = {"test_split": "test", "validation_split": "valid", "folds": 1}


def split(frames: pd.DataFrame, **settings: Any) -> OfficialFolds:
    return official_folds(frames, OfficialSplit.model_validate({"kind": "official", "folds": 5} | settings))


def officially_folded(cut: bool = False) -> pd.DataFrame:
    """Five official folds named 1 to 5 by subject; with `cut`, three subjects lie in two of them."""
    frames = make_frames({"a": 25, "b": 25}, frames_each=4)
    number = frames["subject"].str.extract(r"-(\d+)$")[0].astype(int)
    frames["official_fold"] = (number % 5 + 1).astype(str)
    if cut:
        for subject in ("a-0", "a-1", "b-2"):
            frames.loc[frames.index[frames["subject"] == subject][0], "official_fold"] = "5"
    return frames


def in_three_parts(tie: int = 0) -> pd.DataFrame:
    """Of each ten subjects of a class six train, two validate, two are tested; `tie` pairs of neighbours are
    one group: pairs 0 and 1 across two parts, pair 2 not."""
    frames = make_frames({"a": 20, "b": 20}, tie=tie)
    number = frames["subject"].str.extract(r"-(\d+)$")[0].astype(int) % 10
    of_number = {0: "test", 2: "valid", 8: "test", 9: "valid"}
    return frames.assign(official_split=number.map(of_number).fillna("train"))


def role_of(table: pd.DataFrame) -> dict[str, str]:
    return dict(zip(table["frame_id"], table["role"], strict=True))


def test_official_folds_become_the_test_folds() -> None:
    frames = officially_folded()
    found = split(frames)
    assert (found.leaks, found.left_out) == (0, 0)
    test = found.table[found.table["role"] == "test"].set_index("frame_id")["fold"]
    expected = frames.set_index("frame_id")["official_fold"].astype(int) - 1
    assert (test.sort_index() == expected.sort_index()).all()
    assert_disjoint(found.table)


def test_ten_official_folds_are_numbered_as_people_count() -> None:
    frames = make_frames({"a": 40, "b": 40})
    frames["official_fold"] = (frames["subject"].str.extract(r"-(\d+)$")[0].astype(int) % 10 + 1).astype(str)
    table = split(frames, folds=10).table
    tenth = frames.loc[frames["official_fold"] == "10", "frame_id"]
    assert set(table[(table["role"] == "test") & table["frame_id"].isin(tenth)]["fold"]) == {9}


def test_an_official_split_is_the_holdout_and_the_rest_gets_grouped_folds() -> None:
    frames = make_frames({"a": 20, "b": 20})
    frames["official_split"] = np.where(frames["subject"].str.endswith(("0", "5")), "test", "train")
    found = split(frames, holdout_split="test", folds=3)
    assert found.leaks == 0 and found.table["fold"].nunique() == 3
    held_out = set(found.table.loc[found.table["role"] == "holdout", "frame_id"])
    assert held_out == set(frames.loc[frames["official_split"] == "test", "frame_id"])
    assert_disjoint(found.table)


def test_official_train_valid_and_test_are_one_fold_as_released() -> None:
    frames = in_three_parts()
    table = split(frames, **THREE_PARTS).table
    assert list(table.columns) == COLUMNS and set(table["fold"]) == {0}
    name = {"train": "train", "valid": "validation", "test": "test"}
    assert role_of(table) == dict(zip(frames["frame_id"], frames["official_split"].map(name), strict=True))


def test_without_a_validation_part_validation_is_drawn_by_group_from_what_is_not_tested() -> None:
    frames = in_three_parts().replace({"official_split": {"valid": "train"}})
    frames.loc[frames["subject"].isin(["a-4", "a-5"]), "group"] = "tied"
    found = split(frames, test_split="test", folds=1, validation=0.25)
    assert_disjoint(found.table)
    tested = {name for name, role in role_of(found.table).items() if role == "test"}
    assert tested == set(frames.loc[frames["official_split"] == "test", "frame_id"])
    rest = found.table[found.table["role"] != "test"]
    share = rest.groupby("label")["group"].nunique().mul(0.25).round()
    drawn = rest[rest["role"] == "validation"].groupby("label")["group"].nunique()
    assert (drawn == share).all()


def test_cut_groups_are_refused_with_their_count_and_first_names() -> None:
    with pytest.raises(SplitError, match=r"cuts 3 groups .*a-0, a-1, b-2.*`tied: drop`"):
        split(officially_folded(cut=True))
    with pytest.raises(SplitError, match=r"cuts 4 groups"):
        split(in_three_parts(tie=3), **THREE_PARTS)


def test_cut_groups_are_counted_and_validation_still_shares_none_with_train() -> None:
    found = split(officially_folded(cut=True), leaks="reported")
    assert (found.leaks, found.left_out) == (3, 0)
    inner = found.table[found.table["role"].isin(["train", "validation"])]
    assert inner.groupby(["fold", "group"])["role"].nunique().max() == 1
    with pytest.raises(SplitError):
        assert_disjoint(found.table)


def test_three_parts_with_reported_leaks_stay_as_released() -> None:
    frames = in_three_parts(tie=3)
    found = split(frames, **THREE_PARTS, leaks="reported")
    assert (found.leaks, found.left_out) == (4, 0)
    assert role_of(found.table) == role_of(split(in_three_parts(), **THREE_PARTS).table)


def test_tied_frames_are_left_out_of_all_parts_and_no_others() -> None:
    frames = in_three_parts(tie=3)
    found = split(frames, **THREE_PARTS, tied="drop")
    cut = frames["subject"].isin([f"{label}-{number}" for label in "ab" for number in range(4)])
    assert (found.leaks, found.left_out) == (0, int(cut.sum()))
    assert set(found.table["frame_id"]) == set(frames.loc[~cut, "frame_id"])
    assert_disjoint(found.table)


@property_based
@given(studies(), st.data())
def test_no_two_roles_share_a_subject_or_a_group_and_what_is_left_is_as_released(
    frames: pd.DataFrame, data: st.DataObject
) -> None:
    form = data.draw(st.sampled_from(["three parts", "train and test", "hold-out", "folds"]))
    seed = data.draw(st.integers(0, 1000))
    # Frame by frame, so that subjects are cut too; three subjects of a class stay whole in each part.
    rng = np.random.default_rng(seed)
    whole = frames["subject"].str.extract(r"-(\d+)$")[0].astype(int)
    names = np.array(["train", "valid", "test"])
    drawn = np.where(rng.random(len(frames)) < 0.1, rng.integers(0, 3, len(frames)), whole % 3)
    drawn = np.where(whole >= 7, whole % 3, drawn)
    frames = frames.assign(official_split=names[drawn])
    settings: dict[str, Any] = {
        "three parts": THREE_PARTS,
        "train and test": {"test_split": "test", "folds": 1},
        "hold-out": {"holdout_split": "test", "folds": 2},
        "folds": {"folds": 3},
    }[form]
    if form == "folds":
        frames = frames.assign(official_fold=drawn.astype(str))
    found = split(frames, **settings, tied="drop", seed=seed)
    for unit in ("subject", "group"):
        assert found.table.groupby(["fold", unit])["role"].nunique().max() == 1
    parts = {"three parts": [0, 1, 2], "folds": [0, 1, 2]}.get(form, [0, 0, 1])
    sides = pd.Series(np.array(parts)[drawn], index=frames.index).groupby(frames["group"]).nunique()
    cut = frames["group"].isin(sides.index[sides > 1])
    assert found.left_out == cut.sum()
    assert set(found.table["frame_id"]) == set(frames.loc[~cut, "frame_id"])
    if form != "folds":
        role = "holdout" if form == "hold-out" else "test"
        tested = set(found.table.loc[found.table["role"] == role, "frame_id"])
        assert tested == set(frames.loc[~cut & frames["official_split"].eq("test"), "frame_id"])
    counted = split(frames, **settings, leaks="reported", seed=seed)
    assert counted.leaks == (sides > 1).sum() and counted.left_out == 0
    assert set(counted.table["frame_id"]) == set(frames["frame_id"])


def test_a_class_missing_in_an_official_part_is_named_without_advice_on_folds() -> None:
    frames = in_three_parts()
    frames = frames[~(frames["label"].eq("b") & frames["official_split"].eq("valid"))]
    with pytest.raises(SplitError, match="fold 0 has no frame of class 'b' in validation: add subjects"):
        split(frames, **THREE_PARTS)


def test_a_subject_with_two_labels_and_fewer_subjects_than_folds_are_named_here_too() -> None:
    frames = in_three_parts()
    frames.loc[0, "label"] = "b"
    with pytest.raises(SplitError, match=r"subject 'a-0' has 2 labels \(b, a\)"):
        split(frames, **THREE_PARTS)
    few = in_three_parts()
    few = few[few["label"].eq("a") | few["subject"].isin(["b-0", "b-3", "b-4", "b-5"])]
    with pytest.raises(SplitError, match=r"class 'b' has 3 independent groups .* fewer than 5 folds"):
        split(few, holdout_split="test")


def test_a_release_without_folds_or_parts_or_with_half_of_them_is_refused() -> None:
    frames = make_frames({"a": 20, "b": 20})
    with pytest.raises(SplitError, match="neither folds nor the hold-out split"):
        split(frames)
    with pytest.raises(SplitError, match="no frame has the official split 'test'; the release has: none"):
        split(frames, holdout_split="test")
    with pytest.raises(SplitError, match="'val'; the release has: test, train, valid"):
        split(in_three_parts(), test_split="test", validation_split="val", folds=1)
    half = officially_folded()
    half.loc[[0, 1], "official_fold"] = None
    with pytest.raises(SplitError, match="2 frames have no official fold"):
        split(half)
    half = in_three_parts()
    half.loc[[3, 4, 5], "official_split"] = None
    with pytest.raises(SplitError, match="3 frames have no official split"):
        split(half, **THREE_PARTS)
    with pytest.raises(SplitError, match="3 frames have no official split"):
        split(half, holdout_split="test")  # else a frame of the hold-out could stand in a fold


def test_a_release_of_nothing_but_cut_groups_leaves_nothing_to_split() -> None:
    frames = in_three_parts().assign(group="one chain")
    with pytest.raises(SplitError, match="no labelled frame: nothing to split"):
        split(frames, **THREE_PARTS, tied="drop")


CONTRADICTIONS = [
    ({"folds": 1}, "one fold needs `test_split`"),
    ({"test_split": "test"}, "`test_split` makes one fold, not 5: say `folds: 1`"),
    ({"validation_split": "valid"}, "`validation_split` needs `test_split`"),
    ({"test_split": "test", "holdout_split": "more", "folds": 1}, "or by all (`holdout_split`), not both"),
    ({"test_split": "test", "validation_split": "test", "folds": 1}, "are the same part, 'test'"),
    ({"tied": "drop", "leaks": "reported"}, "nothing to report: remove `leaks`"),
]


@pytest.mark.parametrize(("settings", "said"), CONTRADICTIONS, ids=lambda value: str(value))
def test_keys_that_contradict_each_other_are_refused_in_a_sentence(settings, said) -> None:
    with pytest.raises(ValidationError) as error:
        OfficialSplit.model_validate({"kind": "official", "folds": 5} | settings)
    assert said in str(error.value)
