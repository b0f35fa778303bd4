"""What fine-tuning may do beyond plain training, each resumed to the same bits: mixing, balanced sampling, a
running mean of the weights, early stopping."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from fake_corpus import ENCODER, training
from small_finetuning import PROBABILITIES, SCRATCH, folds_of, recipe, run, split_corpus
from small_training import MEASURED
from timm.utils import ModelEmaV3
from torch import Tensor

from usfmae.models.checkpoints import load_weights
from usfmae.models.classifiers import build_classifier
from usfmae.settings.recipes import FinetuneRecipe
from usfmae.training.batches import FrameStore, normalise, to_float
from usfmae.training.supervised import mix

EVERYTHING = {"mixup": 0.8, "cutmix": 1.0, "ema": 0.9, "early_stopping": 3, "label_smoothing": 0.1}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return split_corpus(tmp_path_factory.mktemp("mixing"))


def mixing(**changes: Any) -> FinetuneRecipe:
    return FinetuneRecipe(**{"title": "mixing", "training": training(), "mixup": 0.8} | changes)


def test_mixup_blends_a_frame_and_its_label_by_the_same_share_and_depends_on_torchs_seed_alone() -> None:
    frames, targets = torch.eye(4).view(4, 1, 2, 2), torch.arange(4)  # frame i is 1 in pixel i alone
    results = []
    for other in (0, 1):
        torch.manual_seed(5)
        np.random.seed(other)  # noqa: NPY002
        results.append(mix(frames.clone(), targets, mixing(), 4))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    mixed, soft = results[0]
    assert torch.allclose(mixed.view(4, 4), soft)  # pixel i holds the share of frame i
    assert torch.allclose(soft.sum(1), torch.ones(4))
    assert 0 < soft[0, 0] < 1


def test_cutmix_gives_a_label_the_share_of_the_pixels_it_has() -> None:
    torch.manual_seed(1)
    frames = torch.cat([torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)])
    mixed, soft = mix(frames, torch.tensor([0, 1]), mixing(mixup=0, cutmix=1.0), 2)
    assert torch.allclose(mixed.mean(dim=(1, 2, 3)), soft[:, 1])
    assert set(mixed.unique().tolist()) == {0.0, 1.0}


def test_the_loss_of_mixed_frames_is_weighted_and_smoothed_too(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Tensor, dict[str, Any]]] = []
    original = F.cross_entropy

    def record(logits: Tensor, targets: Tensor, **options: Any) -> Tensor:
        seen.append((targets, options))
        return original(logits, targets, **options)

    monkeypatch.setattr(F, "cross_entropy", record)
    run(corpus, how=recipe(epochs=1, mixup=0.8, label_smoothing=0.1), out="mixed")
    targets, options = seen[0]
    assert targets.shape == (8, 2)
    assert options["label_smoothing"] == 0.1
    assert options["weight"] is not None


def test_balanced_sampling_draws_a_rare_class_as_often_as_the_other(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folds = pd.read_parquet(folds_of(corpus))
    train = (folds["fold"] == 0) & (folds["role"] == "train")
    folds = folds.drop(index=folds.index[train & (folds["label"] == "cystic")][4:])
    folds.to_parquet(tmp_path / "folds.parquet")
    label = folds[train.reindex(folds.index)].set_index("frame_id")["label"]
    drawn: dict[str, list[str]] = {}
    for sampling in ("natural", "balanced"):
        found = drawn.setdefault(sampling, [])
        gather = FrameStore.gather

        def record(self: FrameStore, rows: np.ndarray, found: Any = found, gather: Any = gather) -> Tensor:
            found += [name for name in self.table["frame_id"].iloc[rows] if name in label.index]
            return gather(self, rows)

        with monkeypatch.context() as patch:
            patch.setattr(FrameStore, "gather", record)
            how = recipe(epochs=2, sampling=sampling, class_weights=False)
            run(corpus, how=how, folds=tmp_path / "folds.parquet", out=sampling)
    shares = {name: (label[found] == "cystic").mean() for name, found in drawn.items()}
    assert shares["natural"] < 0.15
    assert shares["balanced"] == pytest.approx(0.5, abs=0.05)
    assert len(drawn["natural"]) == len(drawn["balanced"])


def test_the_running_mean_of_the_weights_validates_predicts_and_is_kept(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    means: list[dict[str, Tensor]] = []
    update = ModelEmaV3.update

    def record(self: ModelEmaV3, model: torch.nn.Module, step: int) -> None:
        update(self, model, step)
        means.append({key: value.clone() for key, value in self.module.state_dict().items()})

    monkeypatch.setattr(ModelEmaV3, "update", record)
    out = run(corpus, how=recipe(epochs=3, ema=0.9), out="ema")
    history = pd.read_parquet(out / "history.parquet")
    best = int(history["validation_score"].idxmax())
    mean = means[history["step"][best] - 1]  # after the best epoch's last step
    kept = load_weights(out / "model.safetensors")
    assert all(torch.equal(kept[key], value) for key, value in mean.items())
    network = build_classifier(SCRATCH, ENCODER, classes=2, size=16, channels=1).eval()
    network.load_state_dict(mean)
    store = FrameStore([corpus / "neck"])
    predictions = pd.read_parquet(out / "predictions.parquet")
    frames = store.gather(store.rows(predictions["frame_id"]))
    with torch.inference_mode():
        wanted = network(normalise(to_float(frames))).softmax(1).numpy()
    assert np.allclose(predictions[PROBABILITIES], wanted, atol=1e-5)
    validation = predictions[predictions["role"] == "validation"]
    likelihood = np.where(validation["label"] == "cystic", *validation[PROBABILITIES[::-1]].to_numpy().T)
    assert -np.log(likelihood).mean() == pytest.approx(history["validation_loss"][best], rel=1e-4)


def test_training_stops_when_validation_has_not_improved_for_as_long_as_the_recipe_waits(
    corpus: Path,
) -> None:
    wild = training(epochs=20, learning_rate=0.2, warmup=0.0, minimum_learning_rate=0.2)
    out = run(corpus, how=recipe(training=wild, early_stopping=2), out="early")
    history = pd.read_parquet(out / "history.parquet")
    assert len(history) < 20
    assert history["validation_score"].idxmax() == len(history) - 3
    record = json.loads((out / "run.json").read_text())
    assert record["metrics"]["best_epoch"] == len(history) - 3


class Broken(Exception):
    """Stands for a crash."""


@pytest.mark.parametrize("after", [5, 13, 26])
@pytest.mark.parametrize("how", ["term", "crash"])
def test_an_interrupted_run_ends_with_the_same_bits(
    how: str, after: int, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = training(epochs=8, learning_rate=0.02, checkpoint_minutes=0)
    everything = FinetuneRecipe(title="everything", training=loop, **EVERYTHING)
    whole = run(corpus, how=everything, out=f"whole-{how}-{after}")
    steps, original = 0, F.cross_entropy

    def interrupt(*arguments: Any, **options: Any) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == after:
            if how == "crash":
                raise Broken
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments, **options)

    again = {"how": everything, "checkpoints": tmp_path / "side", "out": f"again-{how}-{after}"}
    with monkeypatch.context() as patch:
        patch.setattr(F, "cross_entropy", interrupt)
        with pytest.raises((SystemExit, Broken)):
            run(corpus, **again)
    assert list((tmp_path / "side").rglob("*.pt"))
    resumed = run(corpus, **again)
    assert not list((tmp_path / "side").rglob("*.pt"))
    for name in ("predictions.parquet", "history.parquet"):
        one, other = (pd.read_parquet(out / name) for out in (whole, resumed))
        kept = [column for column in one if column not in MEASURED]
        pd.testing.assert_frame_equal(one[kept], other[kept], check_exact=True)
    weights = [load_weights(out / "model.safetensors") for out in (whole, resumed)]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
