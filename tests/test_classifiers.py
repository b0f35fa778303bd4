"""Classifiers: each entry of config/models.yaml can be built, and starts from what its name says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import yaml
from timm.layers import resample_abs_pos_embed
from torch import nn

from usfmae.models.checkpoints import CheckpointError, save_weights
from usfmae.models.classifiers import build_classifier
from usfmae.models.mae import build_encoder
from usfmae.models.timm_weights import create_pretrained, fit_channels
from usfmae.settings.models import Encoder, Model, ModelsFile
from usfmae.training.batches import normalise

torch.set_num_threads(1)

CONFIG = Path(__file__).parents[1] / "config" / "models.yaml"
SETTINGS = ModelsFile.model_validate(yaml.safe_load(CONFIG.read_text(encoding="utf-8")))
TINY = Encoder(width=16, depth=2, heads=2, patch_size=4)
PRETRAINED = Model(title="tiny", encoder="tiny", weights="pretrain", pretrain="tiny")
SCRATCH = Model(title="tiny, from scratch", encoder="tiny")


def test_the_models_of_the_demo_and_of_the_papers_are_configured() -> None:
    families = {model.timm or model.encoder for model in SETTINGS.models.values()}
    assert families >= {"vit_demo", "resnet18", "resnet50", "densenet169", "vit_base_patch16_224"}


#: One model of each architecture that is small enough for a test, and needs no published weights.
BUILT = [
    name
    for name, model in SETTINGS.models.items()
    if model.weights != "checkpoint" and model.encoder != "vit_base"
]


@pytest.mark.parametrize("name", BUILT)
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


def published(name: str, folder: Path) -> tuple[nn.Module, Path]:
    """A model of timm with its head, and a file of its weights; no statistic of a norm is 0 or 1."""
    torch.manual_seed(4)
    source = timm.create_model(name).eval()
    for module in source.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.2)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    save_weights(folder / "model.safetensors", source.state_dict())
    return source, folder / "model.safetensors"


def of_timm(name: str) -> Model:
    return Model(title="published", timm=name, weights="checkpoint", checkpoint="published")


@pytest.mark.parametrize("name", ["resnet18_imagenet", "densenet169_imagenet"])
def test_published_weights_of_timm_fill_all_but_the_head(name: str, tmp_path: Path) -> None:
    model = SETTINGS.models[name]
    source, path = published(str(model.timm), tmp_path)
    built = build_classifier(model, None, classes=3, size=48, channels=3, weights=path)
    loaded, weights = built.state_dict(), source.state_dict()
    head = {key for key in weights if key.startswith(("fc.", "classifier."))}
    assert len(head) == 2
    assert all(torch.equal(loaded[key], weights[key]) for key in weights.keys() - head)
    assert {loaded[key].shape[0] for key in head} == {3}
    twin = model.model_copy(update={"weights": "scratch"})  # what explain loads a run's weights into
    build_classifier(twin, None, classes=3, size=48, channels=3).load_state_dict(loaded)


def test_a_head_of_as_many_classes_is_dropped_too(tmp_path: Path) -> None:
    source, path = published("test_resnet", tmp_path)
    built = build_classifier(of_timm("test_resnet"), None, classes=1000, size=32, channels=3, weights=path)
    assert not torch.equal(built.state_dict()["fc.weight"], source.state_dict()["fc.weight"])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_resnet", "resnet18.tv_in1k"])
def test_grey_frames_give_the_features_that_the_published_model_gives(
    name: str, channels: int, tmp_path: Path
) -> None:
    source, path = published(name, tmp_path)
    grey = torch.rand(1, 1, 160, 160)
    mean, std = (torch.tensor(source.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))  # type: ignore[index]
    built = create_pretrained(name, path, channels=channels).eval()
    with torch.inference_mode():
        expected = source.forward_features((grey - mean) / std)  # type: ignore[operator]
        found = built.forward_features(normalise(grey.expand(-1, channels, -1, -1)))  # type: ignore[operator]
    if "resnet" in name:  # the border is padded with another grey
        expected, found = expected[:, :, 2:-2, 2:-2], found[:, :, 2:-2, 2:-2]
    assert expected.numel() > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_another_frame_size_interpolates_the_positions(tmp_path: Path) -> None:
    source, path = published("test_vit", tmp_path)
    built = build_classifier(of_timm("test_vit"), None, classes=2, size=96, channels=3, weights=path)
    expected = resample_abs_pos_embed(source.pos_embed, [6, 6], interpolation="bicubic")
    torch.testing.assert_close(built.pos_embed, expected)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: state.pop("blocks.0.norm1.weight"), r"Missing .*blocks\.0\.norm1\.weight"),
        (lambda state: state.update(extra=torch.zeros(2)), r"Unexpected .*extra"),
        (lambda state: state.update({"norm.bias": torch.zeros(5)}), r"size mismatch for norm\.bias: .*\[5\]"),
    ],
    ids=["missing", "surplus", "misshapen"],
)
def test_weights_that_do_not_fit_a_model_of_timm_are_named_key_by_key(
    change: Callable[[dict[str, torch.Tensor]], object], named: str, tmp_path: Path
) -> None:
    source, path = published("test_vit", tmp_path)
    state = dict(source.state_dict())
    change(state)
    save_weights(path, state)
    with pytest.raises(CheckpointError, match=rf"model\.safetensors does not fit test_vit: .*{named}"):
        build_classifier(of_timm("test_vit"), None, classes=2, size=160, channels=1, weights=path)


def test_a_first_layer_that_no_grey_frame_fits_is_refused(tmp_path: Path) -> None:
    bare = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.GroupNorm(2, 4))
    config = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225), "first_conv": "0"}
    bare.pretrained_cfg = config  # type: ignore[assignment]
    with pytest.raises(CheckpointError, match="x: 0 has no bias and no batch norm behind it"):
        fit_channels(bare, 1, Path("x"))
    bare.pretrained_cfg = config | {"first_conv": "1"}  # type: ignore[assignment]
    with pytest.raises(CheckpointError, match="x: the first layer, 1, is no convolution of colours"):
        fit_channels(bare, 1, Path("x"))


def test_the_addresses_of_timms_weights_are_those_of_its_registry() -> None:
    models = [model for model in SETTINGS.models.values() if model.timm and model.weights == "checkpoint"]
    checked = 0
    for model in models:
        (file,) = SETTINGS.checkpoints[str(model.checkpoint)].access.files
        if "huggingface.co/timm/" in str(file.url):
            config = timm.get_pretrained_cfg(str(model.timm))
            assert file.url == f"https://huggingface.co/{config.hf_hub_id}/resolve/main/model.safetensors"
            assert file.name == f"{model.timm}.safetensors"  # with the tag that says how it was trained
            checked += 1
    assert checked == 4


def test_each_model_of_the_papers_has_a_row_in_the_docs_that_names_its_weights() -> None:
    text = (CONFIG.parents[1] / "docs/models.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    study = yaml.safe_load((CONFIG.parent / "paper.yaml").read_text(encoding="utf-8"))["study"]
    assert set(study["models"]) <= set(rows)
    assert set(rows) == set(SETTINGS.models)
    for name, row in rows.items():
        model = SETTINGS.models[name]
        assert ("from scratch" in row) == (model.weights == "scratch"), name
        assert row.count("|") == 8, name


@pytest.mark.parametrize(("name", "some"), [("resnet10t", True), ("vgg11", False)])
def test_drop_path_reaches_the_networks_of_timm_that_know_it(name: str, some: bool) -> None:
    model = Model(title="from scratch", timm=name)
    built = build_classifier(model, None, classes=2, size=64, channels=1, drop_path=0.5)
    assert any(type(module).__name__ == "DropPath" for module in built.modules()) == some
