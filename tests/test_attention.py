"""Attention rollout, gradient x attention and Grad-CAM: what they compute, and where they do not apply."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from test_scorecam import MODELS, images, vision_transformer
from torch import Tensor, nn

from usfmae.explain.attention import (
    NotApplicable,
    attention_rollout,
    gradient_attention,
    rollout,
    weighted_by_gradient,
)
from usfmae.explain.layers import target_layer
from usfmae.explain.methods import grad_cam, maps_by
from usfmae.settings.recipes import ExplainRecipe

torch.set_num_threads(1)
TARGETS = torch.tensor([0, 2])


def attention(blocks: int = 3, tokens: int = 5) -> list[Tensor]:
    """Random attention (2, 4, tokens, tokens) of each block; rows sum to one."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 4, tokens, tokens, generator=generator).softmax(dim=-1) for _ in range(blocks)]


def test_rows_of_the_rollout_sum_to_one() -> None:
    joint = rollout(attention())
    torch.testing.assert_close(joint.sum(dim=-1), torch.ones(2, 5))
    assert (joint > 0).all()


def test_the_rollout_multiplies_the_blocks_from_the_last_to_the_first() -> None:
    first, last = attention(2)
    mixed = [0.5 * block[0].mean(dim=0).numpy() + 0.5 * np.eye(5) for block in (first, last)]
    np.testing.assert_allclose(rollout([first, last])[0], mixed[1] @ mixed[0], rtol=1e-5)


def test_attention_without_a_gradient_for_the_target_is_left_out() -> None:
    blocks = attention(1)
    gradient = torch.zeros_like(blocks[0])
    gradient[:, 0, 0, 3], gradient[:, 0, 0, 4] = 2.0, -1.0
    joint = weighted_by_gradient(blocks, [gradient])
    expected = torch.eye(5).repeat(2, 1, 1)
    expected[:, 0, 3] = 2.0 * blocks[0][:, 0, 0, 3] / 4  # mean over four heads
    torch.testing.assert_close(joint, expected)


def looking_at(patch: int, pool: str) -> nn.Module:
    """One block whose attention goes to one patch whatever the image, by a position that all queries seek."""
    model = vision_transformer(depth=1, num_heads=1, global_pool=pool, class_token=True)
    block = model.blocks[0]
    with torch.no_grad():
        model.patch_embed.proj.weight.mul_(0.01)
        model.pos_embed.zero_()
        model.pos_embed[0, 1 + patch, 0] = 50.0
        weight, bias = block.attn.qkv.weight, block.attn.qkv.bias
        weight[: 2 * 48].zero_(), bias[: 2 * 48].zero_()
        bias[0], weight[48, 0] = 40.0, 1.0  # every query asks for what only this key has
    return model


def cell_of_peak(found: np.ndarray) -> tuple[int, int]:
    """Row and column of the patch with the highest mean, of 8 x 8 patches."""
    cells = found.reshape(8, 8, 8, 8).mean(axis=(1, 3))
    return divmod(int(cells.argmax()), 8)


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_the_map_points_at_the_patch_that_the_model_attends_to(pool: str) -> None:
    maps = attention_rollout(looking_at(19, pool), images(), TARGETS)
    assert maps.shape == (2, 64, 64) and maps.dtype == np.float32
    assert maps.min() == 0 and maps.max() == 1
    assert [cell_of_peak(found) for found in maps] == [divmod(19, 8)] * 2


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_gradient_attention_points_there_for_the_classes_that_the_patch_speaks_for(pool: str) -> None:
    maps = gradient_attention(looking_at(19, pool), images(1).expand(3, -1, -1, -1), torch.arange(3))
    speaking = [cell_of_peak(found) for found in maps if found.any()]
    assert 1 <= len(speaking) < 3 and set(speaking) == {divmod(19, 8)}


def test_reading_the_attention_leaves_the_model_as_it_was() -> None:
    model, inputs = vision_transformer(), images()
    before = model(inputs)
    attention_rollout(model, inputs, TARGETS)
    gradient_attention(model, inputs, TARGETS)
    assert torch.equal(model(inputs), before)
    assert all(block.attn.fused_attn for block in model.blocks)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(weight.grad is None for weight in model.parameters())


def test_only_gradient_attention_depends_on_the_class() -> None:
    model, inputs = vision_transformer(), images()
    other = torch.tensor([1, 1])
    assert np.array_equal(attention_rollout(model, inputs, TARGETS), attention_rollout(model, inputs, other))
    maps = [gradient_attention(model, inputs, targets) for targets in (TARGETS, other)]
    assert np.abs(maps[0] - maps[1]).max() > 0.05


@pytest.mark.parametrize("method", ["attention_rollout", "gradient_attention"])
@pytest.mark.parametrize("name", ["resnet10t", "swin_tiny_patch4_window7_224"])
def test_networks_without_global_attention_are_not_explained_by_it(name: str, method: str) -> None:
    recipe = ExplainRecipe(title="all", methods=[method])
    model = timm.create_model(name, num_classes=3)
    with pytest.raises(NotApplicable, match="no attention from every patch"):
        maps_by(method, model, images(), TARGETS, recipe, layer=None, baseline=0.0)


def test_a_pooling_that_is_not_known_is_not_guessed() -> None:
    model = timm.models.VisionTransformer(
        img_size=64, patch_size=16, embed_dim=48, depth=1, num_heads=3, num_classes=3, global_pool="map"
    )
    with pytest.raises(NotApplicable, match="'map'"):
        attention_rollout(model, images(), TARGETS)


@pytest.mark.parametrize("name", ["transformer with class token", "resnet"])
def test_grad_cam_weighs_channels_by_their_gradient_and_leaves_no_hook_and_no_gradient(name: str) -> None:
    model, inputs = MODELS[name](), images()
    layer, tokens = target_layer(model)
    maps = grad_cam(model, inputs, TARGETS, layer=layer, tokens=tokens)
    assert maps.shape == (2, 64, 64) and maps.min() >= 0 and maps.max() == pytest.approx(1, abs=1e-5)
    assert all(weight.grad is None for weight in model.parameters())
    assert not layer._forward_hooks

    features: list[Tensor] = []  # by hand: channels weighed by the mean gradient of the target's logit
    layer.register_forward_hook(lambda *args: features.append(args[2]))
    logits = model(inputs).gather(1, TARGETS[:, None]).sum()
    gradients = torch.autograd.grad(logits, features)[0]
    if tokens:
        grids = [t[:, 1:].unflatten(1, (8, 8)).permute(0, 3, 1, 2) for t in (features[0], gradients)]
    else:
        grids = [features[0], gradients]
    weights = grids[1].mean(dim=(2, 3), keepdim=True)
    coarse = (weights * grids[0]).sum(dim=1).relu().detach().numpy()
    for found, expected in zip(maps, coarse, strict=True):
        side = 64 // len(expected)
        middle = found[side // 2 :: side, side // 2 :: side]  # a cell's middle, nearly
        assert np.corrcoef(middle.ravel(), expected.ravel())[0, 1] > 0.95
