"""Splits: what may never happen, on random data, and the errors for what cannot be split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usfmae.evaluation.splits import (
    COLUMNS,
    SplitError,
    assert_disjoint,
    grouped_folds,
    official_folds,
    subsample_subjects,
)


def make_frames(subjects: dict[str, int], frames_each: int = 3, tie: int = 0, seed: int = 0) -> pd.DataFrame:
    """`subjects` says how many of each class; the first `2 * tie` of each class are tied in pairs."""
    rng = np.random.default_rng(seed)
    rows = []
    for label, count in subjects.items():
        for number in range(count):
            group = f"{label}-{number - number % 2 if number < 2 * tie else number}"
            for index in range(int(rng.integers(max(1, frames_each - 1), frames_each + 2))):
                rows.append((f"{label}-{number}#{index}", f"{label}-{number}", group, label))
    frames = pd.DataFrame(rows, columns=["frame_id", "subject", "group", "label"])
    return frames.assign(official_fold=None, official_split=None)


@st.composite
def studies(draw: st.DrawFn) -> pd.DataFrame:
    counts = {
        name: draw(st.integers(16, 30)) for name in ("normal", "dilated", "cystic")[: draw(st.integers(2, 3))]
    }
    return make_frames(counts, draw(st.integers(1, 4)), draw(st.integers(0, 3)), draw(st.integers(0, 99)))


property_based = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@property_based
@given(studies(), st.integers(2, 4), st.integers(0, 1000), st.sampled_from([0.0, 0.2]))
def test_folds_never_split_a_subject_or_a_duplicate_group(
    frames: pd.DataFrame, folds: int, seed: int, holdout_fraction: float
) -> None:
    table = grouped_folds(
        frames, folds=folds, validation_fraction=0.2, holdout_fraction=holdout_fraction, seed=seed
    )
    for unit in ("subject", "group"):
        assert table.groupby(["fold", unit])["role"].nunique().max() == 1
    assert list(table.columns) == COLUMNS
    assert len(table) == folds * len(frames)


@property_based
@given(studies(), st.integers(2, 4), st.integers(0, 1000))
def test_every_frame_is_tested_once_or_held_out_always(frames: pd.DataFrame, folds: int, seed: int) -> None:
    table = grouped_folds(frames, folds=folds, validation_fraction=0.2, holdout_fraction=0.2, seed=seed)
    roles = table.pivot(index="frame_id", columns="fold", values="role")
    held_out = (roles == "holdout").all(axis=1)
    assert ((roles == "holdout").any(axis=1) == held_out).all(), "the hold-out is the same in each fold"
    assert 0 < held_out.mean() < 0.5
    assert ((roles[~held_out] == "test").sum(axis=1) == 1).all()
    assert (table.groupby(["fold", "role"])["label"].nunique() == frames["label"].nunique()).all()


def test_folds_depend_on_the_seed_and_not_on_the_order_of_rows() -> None:
    frames = make_frames({"a": 20, "b": 20})
    wanted: dict[str, Any] = {"folds": 4, "validation_fraction": 0.2, "holdout_fraction": 0.2}
    first = grouped_folds(frames, **wanted, seed=1)
    pd.testing.assert_frame_equal(
        first, grouped_folds(frames.sample(frac=1, random_state=3), **wanted, seed=1)
    )
    assert not first.equals(grouped_folds(frames, **wanted, seed=2))


def test_folds_are_stratified_and_of_the_asked_size() -> None:
    frames = make_frames({"a": 60, "b": 30})
    table = grouped_folds(frames, folds=4, validation_fraction=0.2, holdout_fraction=0.1, seed=0)
    shares = table.groupby(["fold", "role"])["label"].agg(lambda labels: (labels == "b").mean())
    assert shares.between(0.2, 0.47).all()
    sizes = table[table["fold"] == 0]["role"].value_counts(normalize=True)
    expected = {"holdout": 0.1, "test": 0.225, "validation": 0.135, "train": 0.54}
    assert all(abs(sizes[role] - share) < 0.04 for role, share in expected.items())


def test_a_subject_with_two_labels_is_named() -> None:
    frames = make_frames({"a": 10, "b": 10})
    frames.loc[frames.index[0], "label"] = "b"
    with pytest.raises(SplitError, match=r"subject 'a-0' has 2 labels \(b, a\)"):
        grouped_folds(frames, folds=2, validation_fraction=0.2, holdout_fraction=0, seed=0)


def test_a_duplicate_group_with_two_labels_is_allowed() -> None:
    frames = make_frames({"a": 12, "b": 12})
    frames.loc[frames["subject"].isin(["a-0", "b-0"]), "group"] = "tied"
    table = grouped_folds(frames, folds=3, validation_fraction=0.2, holdout_fraction=0.2, seed=0)
    assert table[table["group"] == "tied"].groupby("fold")["role"].nunique().max() == 1


def test_a_subject_in_two_groups_is_named() -> None:
    frames = make_frames({"a": 10, "b": 10})
    frames.loc[frames.index[0], "group"] = "elsewhere"
    with pytest.raises(SplitError, match="subject 'a-0' has 2 groups"):
        grouped_folds(frames, folds=2, validation_fraction=0.2, holdout_fraction=0, seed=0)


def test_fewer_subjects_than_folds_names_the_class_and_the_count() -> None:
    frames = make_frames({"common": 20, "rare": 3})
    with pytest.raises(SplitError, match=r"class 'rare' has 3 independent groups .* fewer than 4 folds"):
        grouped_folds(frames, folds=4, validation_fraction=0.2, holdout_fraction=0, seed=0)


def test_a_group_larger_than_a_fold_is_named() -> None:
    frames = make_frames({"a": 20, "b": 20})
    frames.loc[frames["subject"].isin([f"a-{i}" for i in range(15)]), "group"] = "chain"
    with pytest.raises(SplitError, match="group 'chain' has"):
        grouped_folds(frames, folds=4, validation_fraction=0.2, holdout_fraction=0, seed=0)


def test_a_class_missing_in_a_role_names_fold_class_and_role() -> None:
    with pytest.raises(SplitError, match=r"fold 0 has no frame of class 'b' in train"):
        grouped_folds(
            make_frames({"a": 20, "b": 2}), folds=2, validation_fraction=0.2, holdout_fraction=0, seed=0
        )


def test_repeated_and_unlabelled_frames_are_refused() -> None:
    frames = make_frames({"a": 10, "b": 10})
    wanted: dict[str, Any] = {"folds": 2, "validation_fraction": 0.2, "holdout_fraction": 0.0, "seed": 0}
    with pytest.raises(SplitError, match="1 frames appear twice"):
        grouped_folds(pd.concat([frames, frames[:1]]), **wanted)
    for column in ("label", "group"):
        with pytest.raises(SplitError, match=f"1 frames have no {column}"):
            grouped_folds(frames.assign(**{column: frames[column].where(frames.index != 3)}), **wanted)
    with pytest.raises(SplitError, match="no labelled frame"):
        grouped_folds(frames[:0], **wanted)


def officially_split(cut: bool = False) -> pd.DataFrame:
    """Five official folds named 1 to 5 by subject; with `cut`, three subjects lie in two of them."""
    frames = make_frames({"a": 25, "b": 25}, frames_each=4)
    number = frames["subject"].str.extract(r"-(\d+)$")[0].astype(int)
    frames["official_fold"] = (number % 5 + 1).astype(str)
    if cut:
        for subject in ("a-0", "a-1", "b-2"):
            frames.loc[frames.index[frames["subject"] == subject][0], "official_fold"] = "5"
    return frames


OFFICIAL: dict[str, Any] = {"validation_fraction": 0.2, "seed": 0, "leaks": "refused", "holdout_split": None}


def test_official_folds_become_the_test_folds() -> None:
    frames = officially_split()
    table, leaks = official_folds(frames, **OFFICIAL)
    assert leaks == 0
    test = table[table["role"] == "test"].set_index("frame_id")["fold"]
    expected = frames.set_index("frame_id")["official_fold"].astype(int) - 1
    assert (test.sort_index() == expected.sort_index()).all()
    assert_disjoint(table)


def test_ten_official_folds_are_numbered_as_people_count() -> None:
    frames = make_frames({"a": 40, "b": 40})
    frames["official_fold"] = (frames["subject"].str.extract(r"-(\d+)$")[0].astype(int) % 10 + 1).astype(str)
    table, _ = official_folds(frames, **OFFICIAL)
    tenth = frames.loc[frames["official_fold"] == "10", "frame_id"]
    assert set(table[(table["role"] == "test") & table["frame_id"].isin(tenth)]["fold"]) == {9}


def test_cut_groups_are_refused_with_their_count_and_first_names() -> None:
    with pytest.raises(SplitError, match=r"cuts 3 groups .*a-0, a-1, b-2"):
        official_folds(officially_split(cut=True), **OFFICIAL)


def test_cut_groups_are_counted_and_validation_still_shares_none_with_train() -> None:
    table, leaks = official_folds(officially_split(cut=True), **{**OFFICIAL, "leaks": "reported"})
    assert leaks == 3
    inner = table[table["role"].isin(["train", "validation"])]
    assert inner.groupby(["fold", "group"])["role"].nunique().max() == 1
    with pytest.raises(SplitError):
        assert_disjoint(table)


def test_an_official_split_is_the_holdout_and_the_rest_gets_grouped_folds() -> None:
    frames = make_frames({"a": 20, "b": 20})
    frames["official_split"] = np.where(frames["subject"].str.endswith(("0", "5")), "test", "train")
    table, leaks = official_folds(frames, **{**OFFICIAL, "holdout_split": "test"}, folds=3)
    assert leaks == 0 and table["fold"].nunique() == 3
    held_out = set(table.loc[table["role"] == "holdout", "frame_id"])
    assert held_out == set(frames.loc[frames["official_split"] == "test", "frame_id"])
    assert_disjoint(table)


def test_a_release_without_folds_or_with_half_of_them_is_refused() -> None:
    frames = make_frames({"a": 20, "b": 20})
    with pytest.raises(SplitError, match="neither folds nor the hold-out split"):
        official_folds(frames, **OFFICIAL)
    with pytest.raises(SplitError, match="no frame has the official split 'test'; the release has: none"):
        official_folds(frames, **{**OFFICIAL, "holdout_split": "test"})
    half = officially_split()
    half.loc[[0, 1], "official_fold"] = None
    with pytest.raises(SplitError, match="2 frames have no official fold"):
        official_folds(half, **OFFICIAL)


@property_based
@given(studies(), st.integers(0, 1000), st.floats(0.01, 0.5))
def test_fewer_training_subjects_leave_the_other_roles_whole(
    frames: pd.DataFrame, seed: int, fraction: float
) -> None:
    table = grouped_folds(frames, folds=3, validation_fraction=0.2, holdout_fraction=0.2, seed=seed)
    small, large = (subsample_subjects(table, share, seed) for share in (fraction, 2 * fraction))
    others = table[table["role"] != "train"].reset_index(drop=True)
    pd.testing.assert_frame_equal(small[small["role"] != "train"].reset_index(drop=True), others)
    train, all_train = small[small["role"] == "train"], table[table["role"] == "train"]
    assert (train.groupby("fold")["label"].nunique() == frames["label"].nunique()).all()
    assert set(train["fold"].astype(str) + train["frame_id"]) <= set(
        large["fold"].astype(str) + large["frame_id"]
    )
    kept = train.groupby(["fold", "label"])["subject"].nunique()
    whole = all_train.groupby(["fold", "label"])["subject"].nunique()
    assert (kept == np.maximum(1, (whole * fraction).round())).all()
    # A subject is kept with all of its frames.
    assert (
        train.groupby(["fold", "subject"]).size()
        == all_train.groupby(["fold", "subject"]).size()[train.groupby(["fold", "subject"]).size().index]
    ).all()
