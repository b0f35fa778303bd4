"""Weights on disk: whole or refused, and never silently left out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from usfmae.models.checkpoints import CheckpointError, load_encoder, load_weights, save_weights
from usfmae.models.mae import build_encoder

torch.set_num_threads(1)


def encoder(**changes: object) -> VisionTransformer:
    shape = {"size": 16, "channels": 1, "patch_size": 4, "width": 16, "depth": 2, "heads": 2}
    return build_encoder(**(shape | changes))  # type: ignore[arg-type]


def classifier(pool: str, **changes: object) -> VisionTransformer:
    return encoder(num_classes=3, global_pool=pool, fc_norm=pool == "avg", **changes)


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    path = tmp_path / "encoder.safetensors"
    save_weights(path, encoder().state_dict())
    return path


def rewrite(path: Path, *, drop: str = "", **new: torch.Tensor) -> None:
    weights = {key: value for key, value in load_weights(path).items() if key != drop}
    save_weights(path, weights | new)


def test_weights_come_back_as_they_were_saved(tmp_path: Path) -> None:
    state = encoder().state_dict() | {"odd": torch.arange(6.0).view(2, 3).T}
    save_weights(tmp_path / "model.safetensors", state)
    loaded = load_weights(tmp_path / "model.safetensors")
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    state = encoder().state_dict()
    for name in "abcdefgh":
        save_weights(tmp_path / name, dict(reversed(state.items())) if name > "d" else state)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent\.safetensors: there are no weights here"):
        load_weights(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("kept", [0, 4, 100, -10])
def test_a_truncated_file_is_named(pretrained: Path, kept: int) -> None:
    pretrained.write_bytes(pretrained.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"encoder\.safetensors: not a whole safetensors file"):
        load_weights(pretrained)


@pytest.mark.parametrize("pool", ["avg", "token"])
def test_after_loading_all_weights_below_the_head_are_the_files(pretrained: Path, pool: str) -> None:
    torch.manual_seed(6)
    model = classifier(pool)
    weights = load_weights(pretrained)
    assert not torch.equal(model.state_dict()["blocks.1.mlp.fc1.weight"], weights["blocks.1.mlp.fc1.weight"])
    head = model.head.weight.clone()
    load_encoder(model, pretrained)
    loaded = model.state_dict()
    new = {key for key in loaded if key.startswith(("head.", "fc_norm."))}
    assert all(torch.equal(loaded[key], weights[key]) for key in loaded.keys() - new)
    assert len(loaded.keys() - new) >= 27
    assert torch.equal(model.head.weight, head)


def test_a_classifier_that_pools_the_mean_needs_no_last_norm(pretrained: Path) -> None:
    rewrite(pretrained, drop="norm.weight")
    load_encoder(classifier("avg"), pretrained)
    with pytest.raises(CheckpointError, match=r"missing: norm\.weight"):
        load_encoder(classifier("token"), pretrained)


def test_a_missing_key_is_named(pretrained: Path) -> None:
    rewrite(pretrained, drop="blocks.0.attn.qkv.weight")
    with pytest.raises(
        CheckpointError, match=r"does not fit the encoder; missing: blocks\.0\.attn\.qkv\.weight"
    ):
        load_encoder(classifier("avg"), pretrained)


def test_a_surplus_key_is_named(pretrained: Path) -> None:
    rewrite(pretrained, decoder=torch.zeros(2))
    with pytest.raises(CheckpointError, match=r"surplus: decoder$"):
        load_encoder(classifier("avg"), pretrained)


def test_a_misshapen_key_is_named_with_both_shapes(pretrained: Path) -> None:
    with pytest.raises(CheckpointError, match=r"misshapen: pos_embed \(1, 17, 16\) instead of \(1, 65, 16\)"):
        load_encoder(classifier("avg", size=32), pretrained)


def test_a_deeper_encoder_lists_the_first_keys_that_lack(pretrained: Path) -> None:
    with pytest.raises(CheckpointError, match=r"missing: blocks\.2\..*…"):
        load_encoder(classifier("avg", depth=4), pretrained)


def test_weights_that_do_not_fit_change_nothing(pretrained: Path) -> None:
    rewrite(pretrained, drop="cls_token")
    model = classifier("avg")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError):
        load_encoder(model, pretrained)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
