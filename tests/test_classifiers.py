"""Classifiers: each entry of config/models.yaml can be built, and starts from what its name says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from usfmae.models.checkpoints import save_weights
from usfmae.models.classifiers import build_classifier
from usfmae.models.mae import build_encoder
from usfmae.settings.models import Encoder, Model, ModelsFile

torch.set_num_threads(1)

CONFIG = Path(__file__).parents[1] / "config" / "models.yaml"
SETTINGS = ModelsFile.model_validate(yaml.safe_load(CONFIG.read_text(encoding="utf-8")))
TINY = Encoder(width=16, depth=2, heads=2, patch_size=4)
PRETRAINED = Model(title="tiny", encoder="tiny", weights="pretrain", pretrain="tiny")
SCRATCH = Model(title="tiny, from scratch", encoder="tiny")


def test_the_models_of_the_demo_and_of_the_papers_are_configured() -> None:
    families = {model.timm or model.encoder for model in SETTINGS.models.values()}
    assert families >= {"vit_demo", "resnet18", "resnet50", "densenet169", "vit_base_patch16_224"}


@pytest.mark.parametrize("name", SETTINGS.models)
def test_each_configured_model_maps_grey_frames_of_48_pixels_to_logits(name: str, tmp_path: Path) -> None:
    model, weights = SETTINGS.models[name], None
    encoder = SETTINGS.encoders[model.encoder] if model.encoder else None
    if model.weights == "pretrain" and encoder is not None:
        weights = tmp_path / "encoder.safetensors"
        save_weights(weights, build_encoder(size=48, channels=1, **encoder.model_dump()).state_dict())
    built = build_classifier(model, encoder, classes=3, size=48, channels=1, weights=weights).eval()
    with torch.inference_mode():
        logits = built(torch.rand(2, 1, 48, 48))
    assert logits.shape == (2, 3)
    assert logits.isfinite().all()
    assert not torch.allclose(logits[0], logits[1])


@pytest.mark.parametrize("pool", ["avg", "token"])
def test_colour_frames_and_both_poolings_work(pool: str) -> None:
    model = SCRATCH.model_copy(update={"pool": pool})
    built = build_classifier(model, TINY, classes=2, size=16, channels=3, drop_path=0.1)
    assert built(torch.rand(2, 3, 16, 16)).shape == (2, 2)


@pytest.mark.parametrize("pool", ["avg", "token"])
def test_a_pretrained_model_starts_from_the_pretrained_weights(pool: str, tmp_path: Path) -> None:
    encoder = build_encoder(size=16, channels=1, **TINY.model_dump())
    save_weights(tmp_path / "encoder.safetensors", encoder.state_dict())
    model = PRETRAINED.model_copy(update={"pool": pool})
    built = build_classifier(
        model, TINY, classes=2, size=16, channels=1, weights=tmp_path / "encoder.safetensors"
    )
    for name, value in encoder.blocks.state_dict().items():
        assert torch.equal(built.get_submodule("blocks").state_dict()[name], value)


def test_a_pretrained_model_without_its_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="tiny: weights are 'pretrain' but the file given is None"):
        build_classifier(PRETRAINED, TINY, classes=2, size=16, channels=1)


def test_a_model_from_scratch_takes_no_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="weights are 'scratch' but the file given is"):
        build_classifier(SCRATCH, TINY, classes=2, size=16, channels=1, weights=tmp_path / "x.safetensors")


def test_an_unknown_timm_name_names_near_ones() -> None:
    with pytest.raises(ValueError, match=r"timm has no model 'resnet5O'; near ones: .*resnet50"):
        build_classifier(
            Model(title="x, from scratch", timm="resnet5O"), None, classes=2, size=48, channels=1
        )
