"""The nested search: its candidates see the fold's training frames and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fake_corpus import training
from small_finetuning import folds_of, recipe, run, split_corpus

from usfmae.models.checkpoints import load_weights
from usfmae.settings.recipes import FinetuneRecipe, Search
from usfmae.training.batches import FrameStore
from usfmae.training.processes import TrainingError
from usfmae.training.search import inner_split, search

SEARCH = Search(learning_rate=[1e-5, 1e-2], layer_decay=[0.5, 1.0])


def searching(epochs: int = 3) -> FinetuneRecipe:
    return recipe(epochs=epochs, search=SEARCH)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return split_corpus(tmp_path_factory.mktemp("search"))


@pytest.fixture(scope="module")
def fold(corpus: Path) -> pd.DataFrame:
    return pd.read_parquet(folds_of(corpus)).query("fold == 0").reset_index(drop=True)


def test_the_inner_split_divides_the_training_part_by_group_and_class(fold: pd.DataFrame) -> None:
    train = fold[fold["role"] == "train"]
    tied = train["group"].unique()[:2]
    fold = fold.assign(group=fold["group"].replace({tied[0]: tied[1]}))
    inner = inner_split(fold, 0)
    assert set(inner["frame_id"]) == set(train["frame_id"])
    assert inner.groupby("group")["role"].nunique().max() == 1
    share = inner.groupby("label")["role"].apply(lambda roles: (roles == "validation").mean())
    assert share.between(0.1, 0.3).all()
    drawn = [inner_split(fold, seed).query("role == 'validation'")["group"] for seed in (0, 0, 1)]
    assert set(drawn[0]) == set(drawn[1]) != set(drawn[2])


def test_a_class_with_one_group_cannot_be_searched(fold: pd.DataFrame) -> None:
    train = fold["role"] == "train"
    one = fold[train & (fold["label"] == "cystic")]["group"].iloc[0]
    few = fold[~train | (fold["label"] == "normal") | (fold["group"] == one)]
    with pytest.raises(TrainingError, match="search: class 'cystic' has too few groups"):
        inner_split(few, 0)


def test_every_pair_is_tried_with_the_same_budget_and_the_best_score_wins(fold: pd.DataFrame) -> None:
    tried: list[FinetuneRecipe] = []
    scores = iter([0.5, 0.9, 0.9, 0.7])

    def train(candidate: FinetuneRecipe, table: pd.DataFrame, _name: str) -> pd.DataFrame:
        tried.append(candidate)
        best = next(scores)
        losses = {"validation_loss": [1.0, 0.5, 0.1], "validation_score": [best - 0.1, best, 0.1]}
        return pd.DataFrame({"epoch": [0, 1, 2], **losses})

    chosen, table = search(searching(7), fold, 0, train)
    pairs = [(1e-5, 0.5), (1e-5, 1.0), (1e-2, 0.5), (1e-2, 1.0)]
    assert [(one.training.learning_rate, one.training.layer_decay) for one in tried if one.training] == pairs
    assert {one.training.epochs for one in tried if one.training} == {7}
    assert all(one.search is None for one in [*tried, chosen])
    assert table["epoch"].tolist() == [1, 1, 1, 1]
    assert table["chosen"].tolist() == [False, True, False, False]  # the first of two alike
    assert chosen == searching(7).with_setting({"learning_rate": 1e-5, "layer_decay": 1.0})


def test_no_candidate_reads_a_validation_test_or_holdout_frame_of_the_fold(
    corpus: Path, fold: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = fold.set_index("frame_id")["role"]
    read: list[set[str]] = []
    gather, chosen = FrameStore.gather, []

    def record(self: FrameStore, rows: np.ndarray) -> torch.Tensor:
        read.append(set(role[self.table["frame_id"].iloc[rows]]))
        return gather(self, rows)

    def remember(*arguments: object) -> tuple[FinetuneRecipe, pd.DataFrame]:
        found = search(*arguments)  # type: ignore[arg-type]
        chosen.append(len(read))
        return found

    monkeypatch.setattr(FrameStore, "gather", record)
    monkeypatch.setattr("usfmae.training.finetune.search", remember)
    run(corpus, how=searching(), out="watched")
    during, after = read[: chosen[0]], read[chosen[0] :]
    assert set().union(*during) == {"train"}
    assert set().union(*after) == {"train", "validation", "test", "holdout"}


def test_the_choice_does_not_depend_on_the_folds_validation_test_or_holdout(
    corpus: Path, tmp_path: Path
) -> None:
    folds = pd.read_parquet(folds_of(corpus))
    other = folds["role"] != "train"
    swapped = folds["label"].map({"normal": "cystic", "cystic": "normal"})
    folds.assign(label=folds["label"].where(~other, swapped)).to_parquet(tmp_path / "folds.parquet")
    outs = [
        run(corpus, how=searching(), out="honest"),
        run(corpus, how=searching(), folds=tmp_path / "folds.parquet", out="swapped"),
    ]
    one, two = (pd.read_csv(out / "search.csv") for out in outs)
    pd.testing.assert_frame_equal(one, two)


def test_the_best_candidate_is_trained_anew_on_the_whole_training_part(corpus: Path) -> None:
    out = run(corpus, how=searching(), out="searched")
    tried = pd.read_csv(out / "search.csv")
    best = tried[tried["chosen"]].iloc[0]
    assert best["validation_score"] == tried["validation_score"].max()
    loop = training(
        epochs=3,
        learning_rate=best["learning_rate"],
        layer_decay=best["layer_decay"],
        minimum_learning_rate=0.0,
    )
    plain = run(corpus, how=recipe(training=loop), out="plain")
    weights = [load_weights(folder / "model.safetensors") for folder in (out, plain)]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    record = json.loads((out / "run.json").read_text())
    assert record["metrics"]["chosen_learning_rate"] == best["learning_rate"]
    assert any(name.endswith("search.csv") for name in record["outputs"])
    assert not (plain / "search.csv").exists()
    again = run(corpus, how=recipe(training=loop), out="searched")
    assert not (again / "search.csv").exists()  # what an earlier recipe of that name tried


def test_where_a_fraction_leaves_too_few_groups_the_recipes_own_values_are_used(
    corpus: Path, fold: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(corpus, how=searching(1), fraction=0.05, out="scarce")
    assert not (out / "search.csv").exists()
    metrics = json.loads((out / "run.json").read_text())["metrics"]
    plain = searching(1).training
    assert plain is not None
    assert (metrics["searched"], metrics["chosen_learning_rate"]) == (0, plain.learning_rate)
    assert "too few groups" in capsys.readouterr().out
    train = fold["role"] == "train"
    one = fold[train & (fold["label"] == "cystic")]["group"].iloc[0]
    few = fold[~train | (fold["label"] == "normal") | (fold["group"] == one)]
    few.to_parquet(tmp_path / "folds.parquet")
    with pytest.raises(TrainingError, match="search: class 'cystic' has too few groups"):
        run(corpus, how=searching(1), folds=tmp_path / "folds.parquet", out="whole")  # of all subjects
