"""Which frames train, validate and test: stratified folds that never cut a subject or a duplicate group."""

from __future__ import annotations

import numpy as np
import pandas as pd

COLUMNS = ["frame_id", "subject", "group", "label", "fold", "role"]
ROLES = ("train", "validation", "test", "holdout")
HOLDOUT = -1  # stands where the test fold of a frame would stand


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
    frames = checked(frames)
    holdout = pd.Series(False, index=frames.index)
    if holdout_fraction > 0:
        holdout = frames["group"].isin(_draw(frames, holdout_fraction, np.random.default_rng([seed])))
    table = with_roles(frames, draw_test_folds(frames, holdout, folds, seed), validation_fraction, seed)
    assert_disjoint(table)
    return table


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


def checked(frames: pd.DataFrame) -> pd.DataFrame:
    """The frames sorted by name, after refusing what no split can honour."""
    if frames.empty:
        raise SplitError("no labelled frame: nothing to split")
    frames = frames.sort_values("frame_id", ignore_index=True)
    refuse(frames["frame_id"], frames["frame_id"].duplicated(), "frames appear twice", "keep one row a frame")
    for column in ("subject", "group", "label"):
        refuse(
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


def refuse(names: pd.Series, bad: pd.Series, what: str, remedy: str) -> None:
    """Raises `SplitError` with the number and first names of what is `bad`."""
    if bad.any():
        raise SplitError(f"{int(bad.sum())} {what} ({first_names(list(names[bad]))}): {remedy}")


def first_names(names: list[str]) -> str:
    """The first three, for a message."""
    return ", ".join(map(str, names[:3])) + (", …" if len(names) > 3 else "")


def _draw(frames: pd.DataFrame, fraction: float, rng: np.random.Generator, unit: str = "group") -> list[str]:
    """Names of a stratified random `fraction` of the groups (or subjects), at least one a class."""
    # Near-duplicates can tie subjects of different classes; such a group counts for its commoner label.
    label = frames.groupby([unit, "label"]).size().unstack(fill_value=0).idxmax(axis=1)
    chosen: list[str] = []
    for _, names in label.groupby(label):
        chosen += list(rng.permutation(names.index.to_numpy())[: max(1, round(fraction * len(names)))])
    return chosen


def draw_test_folds(frames: pd.DataFrame, holdout: pd.Series, folds: int, seed: int) -> pd.Series:
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

    test_fold = pd.Series(HOLDOUT, index=frames.index, dtype="int64")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for fold, (_, rows) in enumerate(splitter.split(rest, rest["label"], rest["group"])):
        test_fold[rest.index[rows]] = fold
    return test_fold


def with_roles(
    frames: pd.DataFrame,
    test_fold: pd.Series,
    validation_fraction: float,
    seed: int,
    official: pd.Series | None = None,
) -> pd.DataFrame:
    """A row a (fold, frame), after checking that each class stands in each role of each fold.

    Of the frames that a fold neither tests nor holds out, those of the boolean `official (N,)` are its
    validation part; without it the part is drawn by group.
    """
    tables = []
    folds = range(test_fold.max() + 1)
    for fold in folds:
        role = pd.Series("train", index=frames.index)
        role[test_fold == fold] = "test"
        role[test_fold == HOLDOUT] = "holdout"
        train = frames[role == "train"]
        if official is None:
            drawn = _draw(train, validation_fraction, np.random.default_rng([seed, fold + 1]))
            validation = train["group"].isin(drawn)
        else:
            validation = official[train.index]
        role[train.index[validation]] = "validation"
        tables.append(frames.assign(fold=fold, role=role)[COLUMNS])
    table = pd.concat(tables, ignore_index=True)
    counts = table.groupby(["fold", "role", "label"]).size().unstack("label", fill_value=0)
    wanted = [role for role in ROLES if role != "holdout" or (test_fold == HOLDOUT).any()]
    counts = counts.reindex(pd.MultiIndex.from_product([folds, wanted]), fill_value=0)
    for (fold, role), row in counts[(counts == 0).any(axis=1)].iterrows():
        label = row.index[row == 0][0]
        fewer = "use fewer folds, " if len(folds) > 1 else ""
        raise SplitError(
            f"fold {fold} has no frame of class {label!r} in {role}: {fewer}add subjects of that "
            "class, or merge it with another in the task's classes"
        )
    return table
