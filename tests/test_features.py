"""Features of a frozen encoder: what they are, and whose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from fake_corpus import ENCODER
from small_finetuning import PRETRAINED, SCRATCH, extract, folds_of, probe_recipe, run, split_corpus
from torch import nn

from usfmae.models.checkpoints import save_weights
from usfmae.models.classifiers import build_classifier
from usfmae.models.mae import build_encoder
from usfmae.training.batches import FrameStore, normalise, to_float
from usfmae.training.features import Features, fingerprint, last_layer, pooled, tokens
from usfmae.training.processes import TrainingError
from workflow import ROOT, planned, snakemake

NETWORKS = {
    "vit": lambda: build_classifier(SCRATCH, ENCODER, classes=3, size=16, channels=1),
    "vit with a class token": lambda: build_classifier(
        SCRATCH.model_copy(update={"pool": "token"}), ENCODER, classes=3, size=16, channels=1
    ),
    "resnet": lambda: timm.create_model("resnet18", num_classes=3, in_chans=1),
    "swin": lambda: timm.create_model(
        "swin_tiny_patch4_window7_224",
        num_classes=3,
        in_chans=1,
        img_size=64,
        embed_dim=16,
        depths=(1, 1, 1, 1),
        num_heads=(1, 1, 1, 1),
    ),
    "densenet": lambda: timm.create_model("densenet121", num_classes=3, in_chans=1),
    "sam": lambda: timm.create_model(
        "samvit_base_patch16", num_classes=3, in_chans=1, img_size=32, embed_dim=32, depth=2, num_heads=2
    ),
}


SIDES = {"swin": (64, 64)}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return split_corpus(tmp_path_factory.mktemp("features"))


def encoder_file(path: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    save_weights(path, build_encoder(size=16, channels=1, **ENCODER.model_dump()).state_dict())
    return path


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_the_last_layer_makes_the_networks_logits_of_the_pooled_features(name: str) -> None:
    network = NETWORKS[name]().eval()
    frames = torch.rand(2, 1, *SIDES.get(name, (16, 16) if "vit" in name else (32, 32)))
    features = pooled(network, frames)
    assert features.ndim == 2
    assert torch.allclose(last_layer(network)(features), network(frames), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape"), [("vit", (2, 16, 16)), ("resnet", (2, 1, 512)), ("swin", (2, 4, 128))]
)
@torch.inference_mode()
def test_tokens_are_the_patches_without_the_class_token_or_the_cells_of_the_map(
    name: str, shape: tuple[int, ...]
) -> None:
    network = NETWORKS[name]().eval()
    frames = torch.rand(2, 1, *SIDES.get(name, (16, 16) if name == "vit" else (32, 32)))
    found = tokens(network, frames)
    assert found.shape == shape
    whole = network.forward_features(frames)
    maps = {"vit": lambda: whole[:, 1:], "swin": lambda: whole.reshape(2, 4, 128)}
    assert torch.equal(found, maps.get(name, lambda: whole.flatten(2).transpose(1, 2))())


def test_a_network_without_a_last_linear_layer_is_refused() -> None:
    with pytest.raises(TrainingError, match="Conv2d: no last linear layer"):
        last_layer(nn.Conv2d(1, 1, 1))


def test_every_frame_of_the_task_has_the_features_of_its_own_pixels(corpus: Path, tmp_path: Path) -> None:
    path = extract(corpus, tmp_path / "pooled.npy", seed=3)
    torch.manual_seed(3)
    network = build_classifier(SCRATCH, ENCODER, classes=2, size=16, channels=1).eval()
    features = Features(path, network)
    table = pd.read_parquet(folds_of(corpus)).query("fold == 1").sample(frac=1, random_state=0)
    store = FrameStore([corpus / "neck"])
    with torch.inference_mode():
        wanted = pooled(network, normalise(to_float(store.gather(store.rows(table["frame_id"])))))
    assert np.allclose(features.of(table), wanted.numpy(), atol=1e-5)
    with pytest.raises(KeyError, match="no features of 'neck/unknown#0'"):
        features.rows(pd.Series(["neck/unknown#0"]))


def test_features_that_are_not_finite_are_refused(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usfmae.training.features.pooled", lambda _, frames: frames.flatten(1) * np.nan)
    with pytest.raises(TrainingError, match=r"tiny, from scratch: a feature of frame neck/s0\.png#0"):
        extract(corpus, tmp_path / "pooled.npy")
    assert not list(tmp_path.iterdir())


def test_the_head_is_no_part_of_the_fingerprint_and_every_other_weight_is() -> None:
    network = build_classifier(SCRATCH, ENCODER, classes=2, size=16, channels=1)
    before = fingerprint(network)
    nn.init.zeros_(last_layer(network).weight)
    assert fingerprint(network) == before
    with torch.no_grad():
        network.blocks[1].mlp.fc2.bias[0] += 1e-6  # type: ignore[index,union-attr]
    assert fingerprint(network) != before


def test_features_of_another_folds_encoder_are_refused(corpus: Path, tmp_path: Path) -> None:
    weights = [encoder_file(tmp_path / f"fold-{fold}.safetensors", fold) for fold in (0, 1)]
    path = extract(corpus, tmp_path / "pooled.npy", model=PRETRAINED, weights=weights[0])
    how = {"model": PRETRAINED, "how": probe_recipe("knn"), "features": path, "out": "other"}
    for seed in (0, 1):  # the head is random and not looked at
        run(corpus, weights=weights[0], fold=0, seed=seed, **how)
    with pytest.raises(TrainingError, match="computed with other encoder weights than those of this fold"):
        run(corpus, weights=weights[1], fold=1, **how)


def test_features_of_random_weights_belong_to_their_seed(corpus: Path, tmp_path: Path) -> None:
    path = extract(corpus, tmp_path / "pooled.npy", seed=1)
    how = {"how": probe_recipe("knn"), "features": path, "out": "seed"}
    run(corpus, seed=1, **how)
    with pytest.raises(TrainingError, match="other encoder weights"):
        run(corpus, seed=2, **how)


PROBES = """
recipes:
  pretrain:
    of_fold_0: &demo { title: MAE, encoder: vit_demo, corpus: demo, decoder_width: 64, decoder_depth: 1,
      decoder_heads: 4, training: { epochs: 1, batch_size: 8, learning_rate: 1.0e-3 } }
    of_fold_1: *demo
  finetune:
    tiny: { protocol: linear_probe, training: null }
models:
  a_fold_each: { title: an encoder a fold, encoder: vit_demo, weights: pretrain, pretrain: "of_fold_{fold}" }
study:
  tasks: [neck]
  seeds: [0, 1, 2]
  models: [usfmae_demo, a_fold_each, vit_scratch]
  explain: { models: [usfmae_demo] }
"""


def test_folds_and_seeds_share_features_unless_the_encoder_differs(tmp_path: Path) -> None:
    (tmp_path / "probes.yaml").write_text(PROBES, encoding="utf-8")
    tiny = str(ROOT / "tests/data/tiny.yaml")
    asked = ("finetune", "-n", "--configfile", tiny, str(tmp_path / "probes.yaml"))
    jobs = planned(snakemake(tmp_path, *asked))
    # One for the shared encoder, one a fold, one a seed of the random one.
    assert jobs["extract_features"] == 1 + 2 + 3
    assert jobs["finetune_fold"] == 3 * 3 * 2
