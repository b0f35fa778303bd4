"""Probes of a frozen encoder: what they learn, what they choose on, and that the encoder stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fake_corpus import ENCODER, task, training
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from small_finetuning import PRETRAINED, PROBABILITIES, extract, folds_of, probe_recipe, run, split_corpus

from usfmae.models.checkpoints import load_weights, save_weights
from usfmae.models.classifiers import build_classifier
from usfmae.settings.tasks import Task
from usfmae.training.batches import FrameStore, normalise, to_float
from usfmae.training.features import Features, last_layer
from usfmae.training.probes import AttentiveProbe, linear_probe, nearest_neighbours

LOOP = training(epochs=15, learning_rate=1e-2, minimum_learning_rate=0.0)
HOW = {
    "linear_probe": probe_recipe("linear_probe"),
    "knn": probe_recipe("knn"),
    "attentive_probe": probe_recipe("attentive_probe", training=LOOP),
}
FILES = ["history.parquet", "model.safetensors", "predictions.parquet", "run.json"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return split_corpus(tmp_path_factory.mktemp("probes"))


@pytest.fixture(scope="module")
def weights(corpus: Path) -> Path:
    """An encoder that tells the classes apart, which a random one does not."""
    state = load_weights(run(corpus, out="encoder") / "model.safetensors")
    encoder = {key: value for key, value in state.items() if not key.startswith(("head.", "fc_norm."))}
    save_weights(corpus / "encoder.safetensors", encoder)
    return corpus / "encoder.safetensors"


@pytest.fixture(scope="module")
def cached(corpus: Path, weights: Path) -> dict[str, Path]:
    """Features by protocol."""
    how = {"model": PRETRAINED, "weights": weights}
    paths = {kind: extract(corpus, corpus / f"{kind}.npy", kind=kind, **how) for kind in ("pooled", "tokens")}
    return {name: paths["tokens" if name == "attentive_probe" else "pooled"] for name in HOW}


def probe(corpus: Path, protocol: str, features: Path, *, out: str | None = None) -> Path:
    """The folder of a probe's run."""
    weights = corpus / "encoder.safetensors"
    named = {"model": PRETRAINED, "weights": weights, "features": features}
    return run(corpus, how=HOW[protocol], out=out or protocol, **named)


class Given:
    """Features `(n, D)` by frame, in place of cached ones."""

    def __init__(self, table: pd.DataFrame, values: np.ndarray) -> None:
        self.values = pd.Series(list(values), index=table["frame_id"])

    def of(self, table: pd.DataFrame) -> np.ndarray:
        return np.stack(self.values[table["frame_id"]]).astype(np.float32)


def made_up(classes: int, seed: int = 0) -> tuple[pd.DataFrame, Given, Task]:
    """240 rows of `classes` classes with 6 features, the first of which tell the class."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes, 240)
    names = [f"c{i}" for i in range(classes)]
    table = pd.DataFrame(
        {
            "frame_id": [str(i) for i in range(240)],
            "target": target,
            "label": np.array(names)[target],
            "role": np.repeat(["train", "validation", "test"], 80),
        }
    )
    values = rng.normal(5, [1, 10, 100, 1, 1, 0.1], (240, 6))
    values[:, :3] += np.eye(classes, 3)[target] * [2, 20, 200]
    what = task(classes={name: [name] for name in names}, positive=names[1] if classes == 2 else None)
    return table, Given(table, values), what


@pytest.mark.parametrize("protocol", HOW)
def test_a_probe_learns_an_easy_signal_and_writes_the_files_of_fine_tuning(
    protocol: str, corpus: Path, cached: dict[str, Path]
) -> None:
    out = probe(corpus, protocol, cached[protocol])
    assert sorted(path.name for path in out.iterdir()) == FILES
    predictions = pd.read_parquet(out / "predictions.parquet")
    assert list(predictions.columns) == ["frame_id", "subject", "group", "role", "label", *PROBABILITIES]
    assert set(predictions["role"]) == {"validation", "test", "holdout"}
    assert np.allclose(predictions[PROBABILITIES].sum(axis=1), 1)
    test = predictions[predictions["role"] == "test"]
    assert roc_auc_score(test["label"] == "cystic", test["probability_cystic"]) > 0.8
    history = pd.read_parquet(out / "history.parquet")
    record = json.loads((out / "run.json").read_text())
    assert {"epoch", "validation_loss", "validation_score"} <= set(history)
    assert record["metrics"]["best_epoch"] == history["validation_score"].idxmax()
    assert record["metrics"]["validation_auc"] == pytest.approx(history["validation_score"].max())


@pytest.mark.parametrize("protocol", HOW)
def test_test_and_holdout_labels_and_features_change_nothing_that_is_fitted(
    protocol: str, corpus: Path, cached: dict[str, Path], tmp_path: Path
) -> None:
    before = probe(corpus, protocol, cached[protocol], out=f"{protocol}-before")
    path = tmp_path / cached[protocol].name
    folds = pd.read_parquet(folds_of(corpus))
    unseen = folds[(folds["fold"] == 0) & folds["role"].isin(["test", "holdout"])]["frame_id"]
    for end in (".parquet", ".json"):
        path.with_suffix(end).write_bytes(cached[protocol].with_suffix(end).read_bytes())
    array = np.load(cached[protocol])
    array[pd.read_parquet(path.with_suffix(".parquet"))["frame_id"].isin(unseen)] = 7
    np.save(path, array)
    after = probe(corpus, protocol, path, out=f"{protocol}-after")
    weights = [load_weights(folder / "model.safetensors") for folder in (before, after)]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_a_linear_probe_is_saved_as_the_whole_network_with_its_encoder_untouched(
    corpus: Path, cached: dict[str, Path], weights: Path
) -> None:
    out = probe(corpus, "linear_probe", cached["linear_probe"])
    torch.manual_seed(0)
    fresh = build_classifier(PRETRAINED, ENCODER, classes=2, size=16, channels=1, weights=weights).eval()
    before = {key: value.clone() for key, value in fresh.state_dict().items()}
    fresh.load_state_dict(load_weights(out / "model.safetensors"))
    changed = {key for key, value in fresh.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"head.weight", "head.bias"}
    predictions = pd.read_parquet(out / "predictions.parquet")
    store = FrameStore([corpus / "neck"])
    with torch.inference_mode():
        frames = normalise(to_float(store.gather(store.rows(predictions["frame_id"]))))
        assert np.allclose(fresh(frames).softmax(1), predictions[PROBABILITIES], atol=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_linear_probe_is_scikit_learns_on_standardised_features(classes: int) -> None:
    table, features, what = made_up(classes)
    asked = table[table["role"] == "test"]
    found = linear_probe(features, table, asked, what, probe_recipe("linear_probe"))  # type: ignore[arg-type]
    train = table[table["role"] == "train"]
    strength = found.history["C"][found.best]
    peer = make_pipeline(
        StandardScaler(), LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
    )
    peer.fit(features.of(train), train["target"])
    assert np.allclose(peer.predict_proba(features.of(asked)), found.probabilities, atol=1e-4)
    logits = torch.from_numpy(features.of(asked)) @ found.state["weight"].T + found.state["bias"]
    assert np.allclose(logits.softmax(1), found.probabilities, atol=1e-4)
    assert found.history["validation_score"].max() == found.history["validation_score"][found.best]
    assert found.history["C"].is_monotonic_increasing


@pytest.mark.parametrize("weighted", [True, False])
def test_neighbours_vote_by_similarity_and_class(weighted: bool) -> None:
    table, features, what = made_up(3)
    train, asked = (table[table["role"] == role] for role in ("train", "test"))
    how = probe_recipe("knn", class_weights=weighted)
    found = nearest_neighbours(features, table, asked, what, how)  # type: ignore[arg-type]
    k = found.history["k"][found.best]
    units = [
        features.of(rows) / np.linalg.norm(features.of(rows), axis=1, keepdims=True)
        for rows in (train, asked)
    ]
    counts = train["target"].value_counts()
    for row, similarity in zip(found.probabilities, units[1] @ units[0].T, strict=True):
        votes = np.zeros(3)
        for i in np.argsort(-similarity)[:k]:
            target = train["target"].iloc[i]
            votes[target] += np.exp(similarity[i] / 0.07) / (counts[target] if weighted else 1)
        assert np.allclose(row, votes / votes.sum(), atol=1e-4)


def test_fewer_training_frames_than_neighbours_are_all_asked() -> None:
    table, features, what = made_up(2)
    few = table[(table["role"] != "train") | (table.index < 4)]
    asked = table[table["role"] == "test"]
    found = nearest_neighbours(features, few, asked, what, probe_recipe("knn"))  # type: ignore[arg-type]
    assert found.history["k"].tolist() == [4]


def test_the_attentive_probe_weighs_patches_whatever_their_order() -> None:
    torch.manual_seed(0)
    probe = AttentiveProbe(16, 3).eval()
    patches = torch.randn(2, 9, 16)
    logits = probe(patches)
    assert logits.shape == (2, 3)
    assert torch.allclose(probe(patches[:, torch.randperm(9)]), logits, atol=1e-5)
    assert not torch.allclose(probe(patches[:, :5]), logits, atol=1e-5)


def test_a_probe_without_its_features_is_refused(corpus: Path) -> None:
    with pytest.raises(ValueError, match="`protocol: knn` reads cached features, and none are given"):
        run(corpus, how=HOW["knn"], out="without")


def test_cached_tokens_are_close_to_the_encoders(
    corpus: Path, cached: dict[str, Path], weights: Path
) -> None:
    network = build_classifier(PRETRAINED, ENCODER, classes=2, size=16, channels=1, weights=weights).eval()
    table = pd.read_parquet(folds_of(corpus)).query("fold == 0")
    store = FrameStore([corpus / "neck"])
    with torch.inference_mode():
        frames = normalise(to_float(store.gather(store.rows(table["frame_id"]))))
        wanted = network.forward_features(frames)[:, 1:].numpy()
    found = Features(cached["attentive_probe"], network).of(table)
    assert np.allclose(found, wanted, atol=2e-3 * np.abs(wanted).max())
    assert last_layer(network).in_features == found.shape[2]
