"""Splits: what may never happen, on random data, and the errors for what cannot be split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from frames_to_split import make_frames, property_based, studies
from hypothesis import given
from hypothesis import strategies as st

from usfmae.evaluation.splits import COLUMNS, SplitError, grouped_folds, subsample_subjects


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
