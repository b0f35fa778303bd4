"""Chooses learning rate and layer decay on the training frames of one fold alone (nested validation)."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from usfmae.evaluation.splits import assert_disjoint, subsample_subjects
from usfmae.settings.recipes import FinetuneRecipe
from usfmae.training.processes import TrainingError
from usfmae.training.selection import merit

#: Share of each class's groups in the training part that judges the candidates.
INNER_VALIDATION = 0.2

Train = Callable[[FinetuneRecipe, pd.DataFrame, str], pd.DataFrame]
"""(recipe, table with train and validation rows, name of the candidate) → history, a row an epoch."""


class TooFewGroups(TrainingError):
    """A class of the training part cannot stand on both sides of an inner split."""


def inner_split(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The fold's training rows alone, with the roles `train` and `validation` drawn anew.

    `table` has `subject, group, label, fold, role`. Whole groups of one subject or of duplicates are drawn,
    by class. Raises TooFewGroups where a class has not one group for each part.
    """
    rows = table[table["role"] == "train"]
    by_group = rows.assign(subject=rows["group"])  # no group stands on two sides
    drawn = set(subsample_subjects(by_group, INNER_VALIDATION, seed)["group"])
    roles = rows["group"].isin(drawn).map({True: "validation", False: "train"})
    inner = rows.assign(role=roles).reset_index(drop=True)
    counts = inner.groupby(["label", "role"]).size().unstack(fill_value=0)
    for label in counts.index[
        (counts.reindex(columns=["train", "validation"], fill_value=0) == 0).any(axis=1)
    ]:
        raise TooFewGroups(
            f"search: class {label!r} has too few groups of subjects in the training part to judge "
            "candidates on some of them: leave `search` out of the recipe, or use fewer folds"
        )
    assert_disjoint(inner)
    return inner


def search(
    recipe: FinetuneRecipe, table: pd.DataFrame, seed: int, train: Train
) -> tuple[FinetuneRecipe, pd.DataFrame]:
    """(the recipe with the best candidate, what was tried: a row a candidate).

    Each candidate is trained by `train` with the whole budget of the recipe, keeps its epoch as the recipe
    says, and is judged there by the primary metric; of two alike, the first. The columns are `learning_rate,
    layer_decay, epoch, validation_loss, validation_score, chosen`.
    """
    assert recipe.search is not None
    inner, rows = inner_split(table, seed), []
    candidates = recipe.search.candidates()
    for number, candidate in enumerate(candidates):
        name = f"candidate {number + 1} of {len(candidates)}"
        history = train(recipe.with_setting(candidate), inner, name).to_dict("records")
        best = max(history, key=lambda row: merit(row, recipe.selection))
        rows.append(candidate | {key: best[key] for key in ("epoch", "validation_loss", "validation_score")})
    tried = pd.DataFrame(rows)
    chosen = int(tried["validation_score"].argmax())
    return recipe.with_setting(candidates[chosen]), tried.assign(chosen=tried.index == chosen)
