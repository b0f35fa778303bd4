"""Fine-tuning a fold: what it learns, what it never looks at, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from fake_corpus import ENCODER, training
from sklearn.metrics import roc_auc_score
from small_finetuning import PRETRAINED, PROBABILITIES, SCRATCH, folds_of, recipe, run, split_corpus

from usfmae.evaluation.metrics import youden_threshold
from usfmae.evaluation.splits import SplitError
from usfmae.finished import remove_finished
from usfmae.models.checkpoints import load_weights, save_weights
from usfmae.models.classifiers import build_classifier
from usfmae.models.mae import build_encoder
from usfmae.record import sha256
from usfmae.settings.models import Model
from usfmae.settings.recipes import FinetuneRecipe
from usfmae.training.batches import FrameStore, normalise, to_float
from usfmae.training.loop import fit
from usfmae.training.processes import TrainingError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return split_corpus(tmp_path_factory.mktemp("finetune"))


@pytest.fixture(scope="module")
def trained(corpus: Path) -> Path:
    return run(corpus)


def test_an_easy_signal_is_learned(trained: Path) -> None:
    predictions = pd.read_parquet(trained / "predictions.parquet")
    for _, rows in predictions[predictions["role"] != "validation"].groupby("role"):
        assert roc_auc_score(rows["label"] == "cystic", rows["probability_cystic"]) > 0.9


def test_predictions_hold_validation_test_and_holdout_rows_and_no_others(trained: Path, corpus: Path) -> None:
    predictions = pd.read_parquet(trained / "predictions.parquet")
    assert list(predictions.columns) == ["frame_id", "subject", "group", "role", "label", *PROBABILITIES]
    folds = pd.read_parquet(folds_of(corpus))
    wanted = folds[(folds["fold"] == 0) & (folds["role"] != "train")]
    keys = ["frame_id", "subject", "group", "role", "label"]
    order = {"by": "frame_id", "ignore_index": True}
    pd.testing.assert_frame_equal(
        predictions[keys].sort_values(**order), wanted[keys].sort_values(**order), check_dtype=False
    )
    assert set(predictions["role"]) == {"validation", "test", "holdout"}


def test_probabilities_lie_in_0_to_1_and_sum_to_1(trained: Path) -> None:
    table = pd.read_parquet(trained / "predictions.parquet")[PROBABILITIES].to_numpy()
    assert table.min() >= 0
    assert np.allclose(table.sum(axis=1), 1, atol=1e-6)


def test_the_history_and_the_record_agree_with_the_predictions(trained: Path, corpus: Path) -> None:
    history = pd.read_parquet(trained / "history.parquet")
    assert {"epoch", "learning_rate", "train_loss", "validation_loss", "validation_score"} <= set(history)
    assert len(history) == 30
    record = json.loads((trained / "run.json").read_text())
    assert record["metrics"]["best_epoch"] == history["validation_score"].idxmax()
    predictions = pd.read_parquet(trained / "predictions.parquet")
    for role, rows in predictions.groupby("role"):
        auc = roc_auc_score(rows["label"] == "cystic", rows["probability_cystic"])
        assert record["metrics"][f"{role}_auc"] == pytest.approx(auc)
    assert record["metrics"]["validation_auc"] == pytest.approx(history["validation_score"].max())
    fold = pd.read_parquet(folds_of(corpus)).query("fold == 0")
    for role, rows in fold.groupby("role"):
        assert record["counts"][role] == len(rows)
        assert record["counts"][f"subjects_{role}"] == rows["subject"].nunique()
    assert record["outputs"]["/".join(("results", record["key"], "model.safetensors"))] == sha256(
        trained / "model.safetensors"
    )


def test_the_record_decides_by_the_threshold_of_the_validation_frames(trained: Path) -> None:
    predictions = pd.read_parquet(trained / "predictions.parquet")
    of = dict(list(predictions.groupby("role")))
    positive = of["validation"]["label"] == "cystic"
    cut = youden_threshold(positive, of["validation"]["probability_cystic"])
    test = of["test"][of["test"]["label"] == "cystic"]["probability_cystic"]
    recorded = json.loads((trained / "run.json").read_text())["metrics"]
    assert recorded["test_sensitivity"] == pytest.approx((test >= cut).mean())


def predict(folder: Path, corpus: Path) -> np.ndarray:
    """Probabilities `(n, 2)` of the rows of the predictions by the weights on disk."""
    classifier = build_classifier(SCRATCH, ENCODER, classes=2, size=16, channels=1).eval()
    classifier.load_state_dict(load_weights(folder / "model.safetensors"))
    store = FrameStore([corpus / "neck"])
    rows = store.rows(pd.read_parquet(folder / "predictions.parquet")["frame_id"])
    with torch.inference_mode():
        return classifier(normalise(to_float(store.gather(rows)))).softmax(1).numpy()


def test_the_saved_weights_give_the_saved_predictions(trained: Path, corpus: Path) -> None:
    saved = pd.read_parquet(trained / "predictions.parquet")[PROBABILITIES].to_numpy()
    assert np.allclose(predict(trained, corpus), saved, atol=1e-5)


@pytest.mark.parametrize("selection", ["score", "loss"])
def test_the_best_epoch_on_validation_is_kept_not_the_last(selection: str, corpus: Path) -> None:
    # A learning rate far too high: the figures jump, and the best epoch is seldom the last.
    wild = training(epochs=6, learning_rate=0.2, warmup=0.0, minimum_learning_rate=0.2)
    out = run(corpus, how=recipe(training=wild, selection=selection), out=f"wild-{selection}")
    history = pd.read_parquet(out / "history.parquet")
    merit = history["validation_score"] if selection == "score" else -history["validation_loss"]
    record = json.loads((out / "run.json").read_text())
    assert record["metrics"]["best_epoch"] == merit.idxmax()
    rows = pd.read_parquet(out / "predictions.parquet").query("role == 'validation'")
    likelihood = np.where(rows["label"] == "cystic", rows["probability_cystic"], rows["probability_normal"])
    loss = -np.log(np.clip(likelihood, 1e-12, 1)).mean()
    assert loss == pytest.approx(history["validation_loss"][merit.idxmax()], rel=1e-3)


def test_only_training_and_validation_frames_are_read_before_the_end(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[set[str]] = []
    gather = FrameStore.gather

    def record(self: FrameStore, rows: np.ndarray) -> torch.Tensor:
        batches.append(set(self.table["frame_id"].iloc[rows]))
        return gather(self, rows)

    monkeypatch.setattr(FrameStore, "gather", record)
    run(corpus, how=recipe(epochs=2), fold=1, out="watched")
    fold = pd.read_parquet(folds_of(corpus)).query("fold == 1")
    role = fold.set_index("frame_id")["role"]
    roles = [frozenset(role[list(batch)]) for batch in batches]
    assert set(roles[:-1]) == {frozenset({"train"}), frozenset({"validation"})}
    assert roles[-1] == {"validation", "test", "holdout"}
    trained_on = set().union(*(b for b, r in zip(batches, roles, strict=True) if r == {"train"}))
    assert len(trained_on) > 0.8 * (role == "train").sum()


@pytest.mark.parametrize("column", ["group", "subject"])
def test_folds_that_leak_are_refused(column: str, corpus: Path, tmp_path: Path) -> None:
    folds = pd.read_parquet(folds_of(corpus))
    here = folds["fold"] == 0
    stranger = folds.index[here & (folds["role"] == "test")][0]
    folds.loc[stranger, column] = folds.loc[here & (folds["role"] == "train"), column].iloc[0]
    folds.to_parquet(tmp_path / "folds.parquet")
    with pytest.raises(
        SplitError, match=f"{column} 'neck/s.*' stands on two sides of fold 0: test and train"
    ):
        run(corpus, folds=tmp_path / "folds.parquet", out="leaking")
    assert not (corpus.parents[1] / "finetune" / "neck" / "leaking").exists()


def test_a_fold_without_validation_frames_is_refused(corpus: Path, tmp_path: Path) -> None:
    folds = pd.read_parquet(folds_of(corpus))
    folds[folds["role"] != "validation"].to_parquet(tmp_path / "folds.parquet")
    with pytest.raises(TrainingError, match="training and 0 validation frames: need both"):
        run(corpus, folds=tmp_path / "folds.parquet", out="no-validation")


def test_the_same_seed_gives_the_same_predictions(corpus: Path) -> None:
    outs = [run(corpus, how=recipe(epochs=2), seed=seed, out=name) for seed, name in ((1, "a"), (1, "b"))]
    one, two = (pd.read_parquet(out / "predictions.parquet") for out in outs)
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    other = pd.read_parquet(run(corpus, how=recipe(epochs=2), seed=2, out="c") / "predictions.parquet")
    assert not np.allclose(one[PROBABILITIES], other[PROBABILITIES], atol=1e-4)


def test_a_pretrained_model_starts_from_the_pretrained_weights(corpus: Path, tmp_path: Path) -> None:
    torch.manual_seed(99)
    encoder = build_encoder(size=16, channels=1, **ENCODER.model_dump())
    save_weights(tmp_path / "encoder.safetensors", encoder.state_dict())
    still = training(epochs=1, learning_rate=1e-9, minimum_learning_rate=0.0)
    out = run(
        corpus,
        model=PRETRAINED,
        how=recipe(training=still),
        weights=tmp_path / "encoder.safetensors",
        out="pretrained",
    )
    saved = load_weights(out / "model.safetensors")
    for key, value in encoder.state_dict().items():
        if not key.startswith("norm."):
            assert torch.allclose(saved[key], value, atol=1e-6), key
    record = json.loads((out / "run.json").read_text())
    assert sha256(tmp_path / "encoder.safetensors") in record["inputs"].values()


def test_a_run_on_changed_frames_or_of_another_recipe_never_continues_an_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, sides = split_corpus(tmp_path), []

    def remember(*arguments: Any, checkpoints: Path, **options: Any) -> pd.DataFrame:
        sides.append(checkpoints.parent.name)
        return fit(*arguments, checkpoints=checkpoints, **options)

    monkeypatch.setattr("usfmae.training.finetune.fit", remember)
    for how, change in ((1, False), (1, False), (2, False), (1, True)):
        if change:
            file = next(corpus.glob("*/frames.npy"))
            frames = np.load(file)
            frames[0, 0, 0] += 1
            np.save(file, frames)
        run(corpus, how=recipe(epochs=how), checkpoints=tmp_path / "checkpoints")
        remove_finished(tmp_path)  # as Snakemake does when it has noted the end
    same, again, longer, changed = sides
    assert same == again and len({same, longer, changed}) == 3


def test_a_fraction_trains_on_fewer_subjects_and_tests_on_the_same(corpus: Path, trained: Path) -> None:
    out = run(corpus, how=recipe(epochs=1), fraction=0.25, out="fraction")
    few, all_ = (json.loads((folder / "run.json").read_text())["counts"] for folder in (out, trained))
    assert few["subjects_train"] == pytest.approx(all_["subjects_train"] / 4, abs=2)
    assert {key: few[key] for key in ("validation", "test", "holdout")} == {
        key: all_[key] for key in ("validation", "test", "holdout")
    }
    ids = [pd.read_parquet(folder / "predictions.parquet")["frame_id"] for folder in (out, trained)]
    assert ids[0].equals(ids[1])


def test_a_fold_that_asked_for_a_gpu_and_sees_none_stops_before_it_computes(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    how = recipe(epochs=1)
    assert how.training is not None
    how = how.model_copy(update={"training": how.training.model_copy(update={"device": "auto"})})
    with pytest.raises(TrainingError, match="the job asked for 1 GPUs, but CUDA_VISIBLE_DEVICES='' holds 0"):
        run(corpus, how=how, out="without", gpus=1)


def test_a_convolutional_network_of_timm_is_fine_tuned_too(corpus: Path) -> None:
    model = Model(title="ResNet-18, from scratch", timm="resnet18")
    out = run(corpus, model=model, how=recipe(epochs=1), out="resnet18")
    assert np.isfinite(pd.read_parquet(out / "predictions.parquet")[PROBABILITIES]).to_numpy().all()


@pytest.mark.parametrize("weighted", [True, False])
def test_class_weights_make_each_class_count_as_much(
    weighted: bool, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folds = pd.read_parquet(folds_of(corpus))
    train = (folds["fold"] == 0) & (folds["role"] == "train")
    folds = folds.drop(index=folds.index[train & (folds["label"] == "cystic")][6:])
    folds.to_parquet(tmp_path / "folds.parquet")
    counts = folds.query("fold == 0 and role == 'train'")["label"].value_counts()
    weights: list[torch.Tensor | None] = []
    original = F.cross_entropy

    def record(*arguments: Any, **options: Any) -> torch.Tensor:
        weights.append(options["weight"])
        return original(*arguments, **options)

    monkeypatch.setattr(F, "cross_entropy", record)
    how = recipe(epochs=1, class_weights=weighted)
    run(corpus, how=how, folds=tmp_path / "folds.parquet", out=f"weighted-{weighted}")
    if not weighted:
        assert weights[0] is None
    else:
        assert weights[0] is not None
        assert counts["cystic"] == 6 < counts["normal"]
        normal, cystic = weights[0].tolist()  # in the task's order
        assert normal * counts["normal"] == pytest.approx(cystic * counts["cystic"])


def test_seeds_vary_initialisation_and_order_on_the_same_folds(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: dict[int, list[np.ndarray]] = {0: [], 1: []}
    first: dict[int, dict[str, torch.Tensor]] = {}
    frames: dict[int, pd.DataFrame] = {}
    for seed, found in orders.items():
        gather = FrameStore.gather
        with monkeypatch.context() as patch:
            patch.setattr(
                FrameStore, "gather", lambda self, rows, f=found, g=gather: (f.append(rows), g(self, rows))[1]
            )
            still = training(epochs=1, learning_rate=1e-9, minimum_learning_rate=0.0)
            out = run(corpus, how=recipe(training=still), seed=seed, out="seeds")
        first[seed] = load_weights(out / "model.safetensors")
        frames[seed] = pd.read_parquet(out / "predictions.parquet")[["frame_id", "role"]]
    assert not torch.equal(*(first[seed]["blocks.0.attn.qkv.weight"] for seed in orders))
    assert not np.array_equal(orders[0][0], orders[1][0])
    pd.testing.assert_frame_equal(frames[0], frames[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": None}, "`protocol: finetune` needs `training`"),
        ({"protocol": "knn", "training": None, "mixup": 0.2}, "`protocol: knn` does not read mixup"),
        ({"protocol": "linear_probe"}, "does not read training"),
        ({"protocol": "attentive_probe", "cutmix": 1.0}, "does not read cutmix"),
        ({"sampling": "balanced"}, "would count a rare class twice"),
        ({"mixup": 0.2, "training": training(batch_size=7)}, "make training.batch_size even"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FinetuneRecipe(**{"title": "tiny", "training": training()} | changes)
