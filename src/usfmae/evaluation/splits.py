"""Which frames train, validate and test: stratified folds that never cut a subject or a duplicate group."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

COLUMNS = ["frame_id", "subject", "group", "label", "fold", "role"]
ROLES = ("train", "validation", "test", "holdout")
_HOLDOUT = -1  # stands where a frame's test fold would stand


class SplitError(ValueError):
    """The frames cannot be split as asked; the message names the subject, group, class or fold in the way."""


def grouped_folds(
    frames: pd.DataFrame, *, folds: int, validation_fraction: float, holdout_fraction: float, seed: int
) -> pd.DataFrame:
    """Draws a hold-out once, then K stratified folds of whole groups, then each fold's validation part.

    `frames` has the columns `frame_id, subject, group, label`, one row a frame. `folds` is at least 2; the
    fractions (0 to 1) are shares of each class's groups, rounded, and at least one group a class; a
    `holdout_fraction` of 0 draws no hold-out. The result depends on the seed, not on the order of the rows.

    Returns a row a (fold, frame) with the columns `frame_id, subject, group, label, fold, role`; every frame
    outside the hold-out is `test` in exactly one fold. Raises `SplitError` where a class has too few groups,
    a group is larger than a fold, or a subject has two labels or two groups.
    """
    frames = _checked(frames)
    holdout = pd.Series(False, index=frames.index)
    if holdout_fraction > 0:
        holdout = frames["group"].isin(_draw(frames, holdout_fraction, np.random.default_rng([seed])))
    table = _with_roles(frames, _test_folds(frames, holdout, folds, seed), validation_fraction, seed)
    assert_disjoint(table)
    return table


def official_folds(
    frames: pd.DataFrame,
    *,
    validation_fraction: float,
    seed: int,
    leaks: Literal["refused", "reported"],
    holdout_split: str | None,
    folds: int = 5,
) -> tuple[pd.DataFrame, int]:
    """Takes test folds and hold-out from the release, and rebuilds the validation part by group.

    `frames` also has `official_fold` and `official_split`. The values of `official_fold`, in sorted order,
    become folds 0, 1, …; frames whose `official_split` is `holdout_split` become the hold-out. A release with
    a split but without folds gets `folds` grouped folds of the frames outside the hold-out.

    Returns the table of `grouped_folds` and the number of groups that the release cuts. A cut group is a
    `SplitError` if `leaks` is `"refused"`; else it is counted, and train and validation still share none.
    """
    frames = _checked(frames)
    holdout = frames["official_split"].eq(holdout_split).fillna(False).astype(bool)
    if holdout_split is not None and not holdout.any():
        known = ", ".join(map(str, frames["official_split"].dropna().unique())) or "none"
        raise SplitError(f"no frame has the official split {holdout_split!r}; the release has: {known}")
    official = frames["official_fold"].where(~holdout)
    if official.notna().any():
        astray = official.isna() & ~holdout
        _refuse(frames["frame_id"], astray, "frames have no official fold", "drop them, or use grouped folds")
        # Shorter first, so that fold "10" follows fold "9".
        names = sorted(official.dropna().unique(), key=lambda name: (len(str(name)), str(name)))
        test_fold = (
            official.map({name: fold for fold, name in enumerate(names)}).fillna(_HOLDOUT).astype("int64")
        )
    elif holdout_split is not None:
        test_fold = _test_folds(frames, holdout, folds, seed)
    else:
        raise SplitError(
            "the release names neither folds nor the hold-out split; set the task's split to grouped"
        )

    sides = test_fold.groupby(frames["group"]).nunique()
    cut = list(sides.index[sides > 1])
    if cut and leaks == "refused":
        raise SplitError(
            f"the official split cuts {len(cut)} groups of one subject or of duplicates: {_first(cut)}; "
            "set `leaks: reported` to run it with the count beside each result, or use grouped folds"
        )
    table = _with_roles(frames, test_fold, validation_fraction, seed)
    assert_disjoint(table[table["role"].isin(["train", "validation"])] if cut else table)
    return table, len(cut)


def assert_disjoint(folds: pd.DataFrame) -> None:
    """Raises `SplitError`, naming it, where a group or a subject has two roles inside one fold."""
    for unit in ("group", "subject"):
        roles = folds[["fold", unit, "role"]].drop_duplicates()
        roles = roles[roles.duplicated(["fold", unit], keep=False)]
        for (fold, name), found in roles.groupby(["fold", unit])["role"].unique().items():
            raise SplitError(
                f"{unit} {name!r} stands on two sides of fold {fold}: {' and '.join(sorted(found))}"
            )


def subsample_subjects(folds: pd.DataFrame, fraction: float, seed: int) -> pd.DataFrame:
    """Keeps a stratified `fraction` (0 to 1) of each fold's training subjects, at least one a class.

    The other roles stay whole, so that results at different fractions are paired. With one seed a smaller
    fraction is a subset of a larger one.
    """
    kept = folds["role"].ne("train")
    for fold, train in folds[~kept].groupby("fold"):
        subjects = _draw(train, fraction, np.random.default_rng([seed, int(fold) + 1]), unit="subject")
        kept |= folds["fold"].eq(fold) & folds["role"].eq("train") & folds["subject"].isin(subjects)
    return folds[kept].reset_index(drop=True)


def _checked(frames: pd.DataFrame) -> pd.DataFrame:
    """The frames sorted by name, after refusing what no split can honour."""
    if frames.empty:
        raise SplitError("no labelled frame: nothing to split")
    frames = frames.sort_values("frame_id", ignore_index=True)
    _refuse(
        frames["frame_id"], frames["frame_id"].duplicated(), "frames appear twice", "keep one row a frame"
    )
    for column in ("subject", "group", "label"):
        _refuse(
            frames["frame_id"],
            frames[column].isna(),
            f"frames have no {column}",
            "drop them before splitting",
        )
    for column, remedy in (
        ("label", "a subject stands on one side of a split, so give it one label or drop it"),
        ("group", "a group holds whole subjects: rebuild groups.parquet"),
    ):
        values = frames[["subject", column]].drop_duplicates()
        values = values[values["subject"].duplicated(keep=False)]
        for subject, found in values.groupby("subject")[column].unique().items():
            raise SplitError(
                f"subject {subject!r} has {len(found)} {column}s ({', '.join(map(str, found))}): {remedy}"
            )
    return frames


def _refuse(names: pd.Series, bad: pd.Series, what: str, remedy: str) -> None:
    if bad.any():
        raise SplitError(f"{int(bad.sum())} {what} ({_first(list(names[bad]))}): {remedy}")


def _first(names: list[str]) -> str:
    return ", ".join(map(str, names[:3])) + (", …" if len(names) > 3 else "")


def _draw(frames: pd.DataFrame, fraction: float, rng: np.random.Generator, unit: str = "group") -> list[str]:
    """Names of a stratified random `fraction` of the groups (or subjects), at least one a class."""
    # Near-duplicates can tie subjects of different classes; such a group counts for its commoner label.
    label = frames.groupby([unit, "label"]).size().unstack(fill_value=0).idxmax(axis=1)
    chosen: list[str] = []
    for _, names in label.groupby(label):
        chosen += list(rng.permutation(names.index.to_numpy())[: max(1, round(fraction * len(names)))])
    return chosen


def _test_folds(frames: pd.DataFrame, holdout: pd.Series, folds: int, seed: int) -> pd.Series:
    """The number of the fold that tests each frame, -1 for the hold-out: int64 `(N,)`."""
    rest = frames[~holdout]
    groups = rest.groupby("label")["group"].nunique().reindex(sorted(frames["label"].unique()), fill_value=0)
    for label, count in groups[groups < folds].items():
        raise SplitError(
            f"class {label!r} has {count} independent groups of subjects outside the hold-out, fewer than "
            f"{folds} folds: lower the task's folds or its hold-out, or add subjects"
        )
    sizes = rest["group"].value_counts()
    if sizes.iloc[0] > len(rest) / folds:
        raise SplitError(
            f"group {sizes.index[0]!r} has {sizes.iloc[0]} of {len(rest)} frames, more than one of "
            f"{folds} folds holds: lower the task's folds, or look at its pairs in duplicates.parquet"
        )
    # Imported here: training only checks splits, and scikit-learn costs each of its jobs two seconds.
    from sklearn.model_selection import StratifiedGroupKFold

    test_fold = pd.Series(_HOLDOUT, index=frames.index, dtype="int64")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for fold, (_, rows) in enumerate(splitter.split(rest, rest["label"], rest["group"])):
        test_fold[rest.index[rows]] = fold
    return test_fold


def _with_roles(
    frames: pd.DataFrame, test_fold: pd.Series, validation_fraction: float, seed: int
) -> pd.DataFrame:
    """A row a (fold, frame), after checking that each class stands in each role of each fold."""
    tables = []
    for fold in range(test_fold.max() + 1):
        role = pd.Series("train", index=frames.index)
        role[test_fold == fold] = "test"
        role[test_fold == _HOLDOUT] = "holdout"
        train = frames[role == "train"]
        validation = _draw(train, validation_fraction, np.random.default_rng([seed, fold + 1]))
        role[train.index[train["group"].isin(validation)]] = "validation"
        tables.append(frames.assign(fold=fold, role=role)[COLUMNS])
    table = pd.concat(tables, ignore_index=True)
    counts = table.groupby(["fold", "role", "label"]).size().unstack("label", fill_value=0)
    wanted = [role for role in ROLES if role != "holdout" or (test_fold == _HOLDOUT).any()]
    counts = counts.reindex(pd.MultiIndex.from_product([range(test_fold.max() + 1), wanted]), fill_value=0)
    for (fold, role), row in counts[(counts == 0).any(axis=1)].iterrows():
        label = row.index[row == 0][0]
        raise SplitError(
            f"fold {fold} has no frame of class {label!r} in {role}: use fewer folds, add subjects of that "
            "class, or merge it with another in the task's labels"
        )
    return table
