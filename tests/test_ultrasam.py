"""UltraSam's image encoder: each tensor under mmpretrain's key names finds its place in timm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import SamVisionConfig
from transformers.models.sam.modeling_sam import SamVisionEncoder

from usfmae.models.classifiers import build_classifier
from usfmae.models.formats import CheckpointError
from usfmae.models.timm_weights import create_pretrained
from usfmae.models.ultrasam import pool_last_block, sam_options, timm_names
from usfmae.settings.models import Model

torch.set_num_threads(1)

NAME = "samvit_base_patch16"
#: Two blocks, windows of 2 x 2 patches in the first, for frames of 64 px.
SMALL: dict[str, Any] = {
    "depth": 2, "embed_dim": 16, "num_heads": 2, "img_size": 64, "patch_size": 8,
    "window_size": 2, "global_attn_indexes": (1,), "neck_chans": 8,
}  # fmt: skip
#: mmpretrain's ViTSAM (models/backbones/vit_sam.py), as UltraSam.pth has it → timm's.
OUTSIDE = {
    "pos_embed": "pos_embed",
    "patch_embed.projection.weight": "patch_embed.proj.weight",
    "patch_embed.projection.bias": "patch_embed.proj.bias",
    "channel_reduction.0.weight": "neck.0.weight",
    "channel_reduction.1.weight": "neck.1.weight",
    "channel_reduction.1.bias": "neck.1.bias",
    "channel_reduction.2.weight": "neck.2.weight",
    "channel_reduction.3.weight": "neck.3.weight",
    "channel_reduction.3.bias": "neck.3.bias",
}
LAYER = {
    "ln1.weight": "norm1.weight",
    "ln1.bias": "norm1.bias",
    "attn.qkv.weight": "attn.qkv.weight",
    "attn.qkv.bias": "attn.qkv.bias",
    "attn.proj.weight": "attn.proj.weight",
    "attn.proj.bias": "attn.proj.bias",
    "attn.rel_pos_h": "attn.rel_pos_h",
    "attn.rel_pos_w": "attn.rel_pos_w",
    "ln2.weight": "norm2.weight",
    "ln2.bias": "norm2.bias",
    "ffn.layers.0.0.weight": "mlp.fc1.weight",
    "ffn.layers.0.0.bias": "mlp.fc1.bias",
    "ffn.layers.1.weight": "mlp.fc2.weight",
    "ffn.layers.1.bias": "mlp.fc2.bias",
}


def places(depth: int) -> dict[str, str]:
    """Key of the checkpoint → key of timm."""
    layers = {f"layers.{n}.{a}": f"blocks.{n}.{b}" for n in range(depth) for a, b in LAYER.items()}
    return {f"backbone.{theirs}": ours for theirs, ours in (OUTSIDE | layers).items()}


def small(**changes: Any) -> nn.Module:
    return timm.create_model(NAME, num_classes=0, **sam_options(0.0), **(SMALL | changes))


@pytest.fixture
def published() -> dict[str, Tensor]:
    """A checkpoint of the small encoder, and a part of the rest of UltraSam beside it."""
    torch.manual_seed(3)
    shapes = {key: value.shape for key, value in small().state_dict().items()}
    state = {theirs: torch.randn(shapes[ours]) * 0.2 for theirs, ours in places(2).items()}
    return state | {"prompt_encoder.label_encoder.weight": torch.zeros(4, 8)}


def saved(state: dict[str, Tensor], folder: Path) -> Path:
    torch.save({"meta": {"epoch": 1}, "state_dict": state}, folder / "UltraSam.pth")
    return folder / "UltraSam.pth"


def load(path: Path, channels: int = 3, **changes: Any) -> nn.Module:
    return create_pretrained(NAME, path, channels=channels, **sam_options(0.0), **(SMALL | changes)).eval()


def test_each_tensor_finds_its_place(published: dict[str, Tensor], tmp_path: Path) -> None:
    loaded = load(saved(published, tmp_path)).state_dict()
    assert set(loaded) == set(places(2).values())
    for theirs, ours in places(2).items():
        assert torch.equal(loaded[ours], published[theirs]), (theirs, ours)


def test_the_names_and_shapes_of_the_whole_checkpoint_are_those_of_the_configured_model() -> None:
    with torch.device("meta"):
        model = timm.create_model(NAME, num_classes=0, **sam_options(0.0))
        wanted = {key: value.shape for key, value in model.state_dict().items()}
        state = {theirs: torch.empty(wanted[ours]) for theirs, ours in places(12).items()}
    assert {key: value.shape for key, value in timm_names(state).items()} == wanted
    assert wanted["pos_embed"] == (1, 64, 64, 768)  # 1024 px
    assert wanted["blocks.2.attn.rel_pos_h"] == (127, 64)  # over the whole map
    assert wanted["blocks.3.attn.rel_pos_h"] == (27, 64)  # in windows of 14


def test_a_missing_key_is_named(published: dict[str, Tensor], tmp_path: Path) -> None:
    del published["backbone.layers.1.ffn.layers.0.0.bias"]
    with pytest.raises(
        CheckpointError, match=r"UltraSam\.pth does not fit .* Missing .*blocks\.1\.mlp\.fc1\.bias"
    ):
        load(saved(published, tmp_path))


@pytest.mark.parametrize("key", ["layers.1.attn.gate", "adapter.weight"])
def test_a_surplus_key_of_the_encoder_is_named(
    key: str, published: dict[str, Tensor], tmp_path: Path
) -> None:
    published[f"backbone.{key}"] = torch.zeros(2)
    with pytest.raises(CheckpointError, match=rf"Unexpected .*{key.split('.')[-1]}"):
        load(saved(published, tmp_path))


def test_a_tensor_of_another_shape_is_named(published: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"size mismatch for pos_embed: .*\[1, 8, 8, 16\]"):
        load(saved(published, tmp_path), img_size=96)


def test_it_computes_what_another_implementation_of_the_encoder_computes(
    published: dict[str, Tensor], tmp_path: Path
) -> None:
    config = SamVisionConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=64, patch_size=8,
        window_size=2, global_attn_indexes=[1], output_channels=8, mlp_dim=64, layer_norm_eps=1e-6,
    )  # fmt: skip
    theirs = SamVisionEncoder(config).eval()
    words = {
        "backbone.": "", "ln1": "layer_norm1", "ln2": "layer_norm2", "ffn.layers.0.0": "mlp.lin1",
        "ffn.layers.1": "mlp.lin2", "channel_reduction.0": "neck.conv1",
        "channel_reduction.1": "neck.layer_norm1", "channel_reduction.2": "neck.conv2",
        "channel_reduction.3": "neck.layer_norm2",
    }  # fmt: skip
    renamed = {}
    for key in places(2):
        new = key
        for word, other in words.items():
            new = new.replace(word, other)
        renamed[new] = published[key]
    theirs.load_state_dict(renamed)
    frames = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = theirs(frames)[0]  # (2, 8, 8, 8), after the neck
        found = load(saved(published, tmp_path)).forward_features(frames)  # type: ignore[operator]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_frames_of_another_size_interpolate_absolute_and_relative_positions(
    published: dict[str, Tensor], tmp_path: Path
) -> None:
    model = load(saved(published, tmp_path))
    state = dict(model.state_dict())
    table = state["pos_embed"].permute(0, 3, 1, 2)  # (1, 16, 8, 8)
    table = interpolate(table, (4, 4), mode="bicubic", antialias=True)
    state["pos_embed"] = table.permute(0, 2, 3, 1)
    for side in "hw":  # of the block over the whole map: 2 * 8 - 1 steps become 2 * 4 - 1
        key = f"blocks.1.attn.rel_pos_{side}"
        state[key] = interpolate(state[key].T[None], 7, mode="linear")[0].T
    smaller = small(img_size=32).eval()
    smaller.load_state_dict(state)
    frames = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(model(frames), smaller(frames), rtol=0, atol=1e-5)


def test_the_classifier_sees_the_mean_of_the_last_blocks_map(
    published: dict[str, Tensor], tmp_path: Path
) -> None:
    model = load(saved(published, tmp_path), channels=1)
    maps: list[Tensor] = []
    model.blocks.register_forward_hook(lambda _module, _inputs, output: maps.append(output))  # type: ignore[union-attr]
    pool_last_block(model, 3)  # type: ignore[arg-type]
    with torch.inference_mode():
        logits = model(torch.randn(2, 1, 64, 64))
        expected = model.head.fc(maps[0].mean(dim=(1, 2)))  # type: ignore[operator,union-attr]
    assert logits.shape == (2, 3)
    torch.testing.assert_close(logits, expected)


def test_a_whole_classifier_is_built_from_the_configured_entry(
    published: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("usfmae.models.classifiers.sam_options", lambda rate: sam_options(rate) | SMALL)
    entry = Model(title="UltraSam", timm=NAME, weights="checkpoint", checkpoint="ultrasam")
    path = saved(published, tmp_path)
    built = build_classifier(entry, None, classes=3, size=32, channels=1, drop_path=0.1, weights=path)
    trunk = {ours: published[theirs] for theirs, ours in places(2).items() if not ours.startswith("neck.")}
    state = built.state_dict()
    assert set(state) == {*trunk, "head.fc.weight", "head.fc.bias"}
    assert all(torch.equal(state[key], trunk[key]) for key in trunk if not key.startswith("patch_embed"))
    assert built(torch.randn(2, 1, 32, 32)).shape == (2, 3)
    twin = entry.model_copy(
        update={"weights": "scratch"}
    )  # what explain and predict load a run's weights into
    build_classifier(twin, None, classes=3, size=32, channels=1).load_state_dict(state)
