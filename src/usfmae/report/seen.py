"""What the report says of test images that an encoder has met before, without their labels."""

from __future__ import annotations

import pandas as pd

from usfmae.report.products import Products
from usfmae.report.words import count


def seen_sentences(name: str, folds: pd.DataFrame, products: Products) -> list[str]:
    """Of one task, whose `folds.parquet` is `folds`: what its encoders saw of its images, a sentence each."""
    return [*_by_recipe(name, products), *_by_checkpoint(name, products), *_by_copies(name, folds, products)]


def _by_recipe(name: str, products: Products) -> list[str]:
    """Models whose pretraining recipe says that it sees the task's own frames, in the task's own corpus."""
    task = products.settings.tasks[name]

    def on_its_test(recipe: str) -> bool:
        entry = products.settings.recipes.pretrain[recipe]
        shared = set(task.datasets) - set(entry.leave_out_datasets)
        return entry.evaluation_frames == "seen" and entry.corpus == task.corpus and bool(shared)

    return [
        f"{title}: pretrained on the very images it is tested on here, without their labels."
        for model, title in products.titles.items()
        if any(map(on_its_test, products.settings.pretrain_of(model, 0)))
    ]


def _by_checkpoint(name: str, products: Products) -> list[str]:
    """Models that start from published weights, or whose pretraining did, where these saw the task's datasets
    or where that is not known."""
    settings, sentences = products.settings, []
    for model, title in products.titles.items():
        recipes = [settings.recipes.pretrain[recipe] for recipe in settings.pretrain_of(model, 0)]
        starts = [settings.models[model].checkpoint, *(recipe.initial_weights for recipe in recipes)]
        for checkpoint in (settings.checkpoints[start] for start in starts if start):
            if checkpoint.seen is None:
                sentences.append(
                    f"{title}: whether its published weights ({checkpoint.title}) were trained on the images "
                    "it is tested on here is not known."
                )
            elif set(settings.tasks[name].datasets) & set(checkpoint.seen):
                sentences.append(
                    f"{title}: its published weights ({checkpoint.title}) were trained on the images it is "
                    "tested on here, without their labels."
                )
    return sentences


def _by_copies(name: str, folds: pd.DataFrame, products: Products) -> list[str]:
    """For each other corpus that an encoder of the study was pretrained on: how many frames of the task have
    a copy there, and how many of these have one that pretraining did not leave out."""
    settings, frames = products.settings, set(folds["frame_id"])
    sentences = []
    for corpus in settings.pretraining_corpora(name):
        table = products.table("corpus", settings.tasks[name].corpus, f"seen_in_{corpus}.parquet")
        groups = products.table("corpus", corpus, "groups.parquet")
        if table is None or groups is None:
            continue
        copies = table[table["frame"].isin(frames)]
        exact = copies.loc[copies["kind"] == "exact", "frame"].nunique()
        recipes = [settings.recipes.pretrain[recipe] for recipe in products.recipes]
        left_out = []
        if all(r.evaluation_frames == "exclude" for r in recipes if r.corpus == corpus):
            left_out = settings.evaluation_datasets(settings.members(corpus))
        # As pretraining does it: what stands in one group with an evaluation frame is left out with it.
        held_back = groups["group"].isin(groups.loc[groups["dataset"].isin(left_out), "group"])
        held_back |= groups["dataset"].isin(
            set.intersection(*(set(r.leave_out_datasets) for r in recipes if r.corpus == corpus))
        )
        unused = copies["pretraining_frame"].isin(groups.loc[held_back, "frame_id"])
        seen = copies.loc[~unused, "frame"].nunique()
        sentences.append(
            f"{copies['frame'].nunique():,} of {count(len(frames), 'frame')} have a copy in the corpus "
            f"{corpus} ({exact:,} with equal pixels), on which an encoder was pretrained; {seen:,} have one "
            "among the frames that pretraining used."
        )
    return sentences
