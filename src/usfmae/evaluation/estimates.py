"""From the rows of all runs to what is estimated: which frames, seen by which sets of predictions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from usfmae.evaluation import metrics

Floats = NDArray[np.float64]

ROC_GRID = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Estimate:
    """The same N frames as R sets of predictions see them; its metrics are means over the R sets.

    A set is a seed (`pooled`, `averaged probability`) or one trained model (`mean of fold models`).
    """

    model: str
    role: str
    name: str
    classes: list[str]
    positive: str | None
    frame_ids: NDArray[np.str_]  # (N,)
    labels: NDArray[np.intp]  # (N,) class numbers
    subjects: NDArray[np.str_]  # (N,)
    probabilities: Floats  # (R, N, C)
    predicted: NDArray[np.intp]  # (R, N) class numbers
    groups: NDArray[np.str_] | None = None  # (N,) duplicate groups, each of whole subjects; None: not audited
    folds: NDArray[np.intp] | None = None  # (N,) whose model judged the frame; None: one model judged all

    @property
    def clusters(self) -> NDArray[np.str_]:
        """What is drawn as one, `(N,)`: copies that the audit tied tell no more than one of them, so it is
        the duplicate group, which holds whole subjects, and else the subject."""
        return self.subjects if self.groups is None else self.groups

    def metrics(self, weights: Floats) -> dict[str, Floats]:
        """Each metric for frame weights `(B, N)`: `(B,)`."""
        found = [
            metrics.weighted_metrics(
                self.labels, table, predicted, weights, self.classes, self.positive, self.folds
            )
            for table, predicted in zip(self.probabilities, self.predicted, strict=True)
        ]
        return {name: np.mean([each[name] for each in found], axis=0) for name in found[0]}

    def curve(self, column: int, weights: Floats) -> Floats:
        """Sensitivity, `(B, G)`, of one class against the rest on `ROC_GRID (G,)` for weights `(B, N)`.

        The mean of the folds' curves, each counted by its pairs, so that the area is that of `metrics`.
        """
        is_class = self.labels == column
        total, pairs = np.zeros((len(weights), len(ROC_GRID))), np.zeros((len(weights), 1))
        for rows in self.ranked_together:
            drawn = weights[:, rows]
            positives = drawn @ is_class[rows].astype(np.float64)
            counted = (positives * (drawn.sum(axis=1) - positives))[:, None]  # (B, 1)
            curves = [
                metrics.roc(is_class[rows], table[rows, column], ROC_GRID, drawn)
                for table in self.probabilities
            ]
            total, pairs = total + counted * np.nan_to_num(np.mean(curves, axis=0)), pairs + counted
        with np.errstate(invalid="ignore"):  # a resample without one of the two sides gives NaN
            return total / pairs

    @property
    def ranked_together(self) -> list[NDArray[np.intp]]:
        """The numbers of the rows that one model judged, for each model: only their scores have one scale."""
        return [np.arange(len(self.labels))] if self.folds is None else metrics.fold_rows(self.folds)

    @property
    def ones(self) -> Floats:
        """The weights `(1, N)` of the frames as they are."""
        return np.ones((1, len(self.labels)))


def probability_columns(classes: list[str]) -> list[str]:
    return [metrics.PREFIX + name for name in classes]


def with_decisions(predictions: pd.DataFrame, classes: list[str], positive: str | None) -> pd.DataFrame:
    """Adds `predicted` (class number) and `threshold` (of two classes, else NaN) to the rows of all runs.

    The threshold has the highest Youden index on the run's own validation rows. Raises `ValueError`, naming
    the run, where a run's validation rows lack a class or its probabilities are broken.
    """
    columns = probability_columns(classes)
    decided = []
    for (model, seed, fold), run in predictions.groupby(["model", "seed", "fold"]):
        threshold = None
        validation = run[run["role"] == "validation"]
        if len(classes) == 2:
            name = classes[metrics.positive_column(classes, positive)]
            try:
                metrics.checked(validation["label"], validation[columns], classes)
            except ValueError as error:
                raise ValueError(f"model {model}, seed {seed}, fold {fold}, validation: {error}") from error
            threshold = metrics.youden_threshold(
                validation["label"] == name, validation[metrics.PREFIX + name]
            )
        predicted = metrics.predict(run[columns].to_numpy(np.float64), classes, positive, threshold)
        decided.append(run.assign(predicted=predicted, threshold=np.nan if threshold is None else threshold))
    return pd.concat(decided, ignore_index=True)


def check_same_rows(predictions: pd.DataFrame) -> None:
    """Raises `ValueError` unless each model and seed has the same folds and frames: the tests are paired."""
    keys = ["fold", "role", "frame_id"]
    rows = {
        run: pd.MultiIndex.from_frame(table[keys]) for run, table in predictions.groupby(["model", "seed"])
    }
    first, wanted = next(iter(rows.items()))
    for run, found in rows.items():
        if found.has_duplicates:
            raise ValueError(
                f"model {run[0]}, seed {run[1]}: row {found[found.duplicated()][0]} occurs twice"
            )
        odd = wanted.symmetric_difference(found)
        if len(odd):
            raise ValueError(
                f"model {run[0]}, seed {run[1]} and model {first[0]}, seed {first[1]} differ in {len(odd)} "
                f"rows, the first is (fold, role, frame) {odd[0]}: give all models the same seeds and folds"
            )


def estimates(runs: pd.DataFrame, classes: list[str], positive: str | None) -> Iterator[Estimate]:
    """Per model: the pooled test rows, the fold models on the hold-out, and their averaged probability.

    `runs` comes from `with_decisions`. The averaged probability is cut at the mean of the models' thresholds.
    """
    columns = probability_columns(classes)
    named = ["seed", "frame_id", "subject", "label", *(["group"] if "group" in runs else [])]
    for model, table in runs.groupby("model"):
        holdout = table[table["role"] == "holdout"]
        parts = [("test", "pooled", table[table["role"] == "test"], ["seed"])]
        if len(holdout):
            averaged = holdout.groupby(named, as_index=False)
            averaged = averaged[[*columns, "threshold"]].mean()
            probabilities, threshold = averaged[columns].to_numpy(), averaged["threshold"].to_numpy()
            averaged["predicted"] = metrics.predict(probabilities, classes, positive, threshold)
            parts += [
                ("holdout", "mean of fold models", holdout, ["seed", "fold"]),
                ("holdout", "averaged probability", averaged, ["seed"]),
            ]
        for role, name, rows, by in parts:
            sets = [each.sort_values("frame_id") for _, each in rows.groupby(by)]
            yield Estimate(
                model=model,
                role=role,
                name=name,
                classes=classes,
                positive=positive,
                frame_ids=sets[0]["frame_id"].to_numpy(str),
                labels=pd.Index(classes).get_indexer(pd.Index(sets[0]["label"])),
                subjects=sets[0]["subject"].to_numpy(str),
                probabilities=np.stack([each[columns].to_numpy(np.float64) for each in sets]),
                predicted=np.stack([each["predicted"].to_numpy() for each in sets]),
                groups=sets[0]["group"].to_numpy(str) if "group" in rows else None,
                folds=_folds(sets[0]) if name == "pooled" else None,
            )


def _folds(rows: pd.DataFrame) -> NDArray[np.intp] | None:
    """Whose model judged each of the rows `(N,)`; None where it is one."""
    folds = rows["fold"].to_numpy(np.intp)
    return folds if len(np.unique(folds)) > 1 else None
