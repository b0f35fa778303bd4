"""Score-CAM: the map of grad-cam, on transformers and convolutional networks, and what it does beyond it."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from usfmae.explain.layers import target_layer
from usfmae.explain.scorecam import class_token_alone, clustered, score_cam

torch.set_num_threads(1)
SIZE = 64


def sharpened(model: nn.Module) -> nn.Module:
    """Random weights that answer to their input: freshly made ones give near-equal scores to all masks."""
    torch.manual_seed(1)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.copy_(torch.randn_like(module.weight) * 2 / module.in_features**0.5)
            if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    return model.eval()


def vision_transformer(**changes: object) -> nn.Module:
    shape = {"img_size": SIZE, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 3}
    return sharpened(timm.models.VisionTransformer(**(shape | changes)))


MODELS = {
    "transformer with class token": vision_transformer,
    "transformer with mean of tokens": lambda: vision_transformer(global_pool="avg"),
    "transformer with registers": lambda: vision_transformer(reg_tokens=4),
    "resnet": lambda: sharpened(
        timm.models.ResNet(timm.models.resnet.BasicBlock, (1, 1, 1, 1), 3, channels=(16, 32, 48, 64))
    ),
    "densenet": lambda: sharpened(
        timm.models.DenseNet(growth_rate=12, block_config=(2, 2, 2), num_classes=3)
    ),
}


def images(n: int = 2, width: int = SIZE) -> Tensor:
    """Smooth random images (n, 3, 64, width): neighbouring pixels are alike, as in a picture."""
    coarse = torch.randn(n, 3, 8, width // 8, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(coarse, (SIZE, width), mode="bicubic")


def grad_cam_maps(model: nn.Module, inputs: Tensor, targets: Tensor) -> np.ndarray:
    """Maps (N, H, W) of the grad-cam package as it is shipped."""
    from pytorch_grad_cam import ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    layer, tokens = target_layer(model)
    rows = inputs.shape[-2] // 8

    def grid(activations: Tensor) -> Tensor:  # (N, T, D) -> (N, D, h, w)
        patches = activations[:, model.num_prefix_tokens :]
        return patches.reshape(len(patches), rows, -1, patches.shape[-1]).permute(0, 3, 1, 2)

    with ScoreCAM(model, [layer], reshape_transform=grid if tokens else None) as cam:
        return cam(inputs, [ClassifierOutputTarget(int(target)) for target in targets])


@pytest.mark.parametrize("name", MODELS)
def test_maps_equal_those_of_grad_cam(name: str) -> None:
    model, inputs, targets = MODELS[name](), images(), torch.tensor([0, 2])
    layer, tokens = target_layer(model)
    # 50 does not divide the number of channels: a batch spans two images.
    maps = score_cam(model, inputs, targets, layer=layer, tokens=tokens, batch_size=50)
    expected = grad_cam_maps(model, inputs, targets)
    assert maps.shape == (2, SIZE, SIZE) and maps.dtype == np.float32
    assert expected.std(axis=(1, 2)).min() > 0.05  # an empty map would prove nothing
    np.testing.assert_allclose(maps, expected, atol=1e-3)


def test_maps_equal_those_of_grad_cam_on_images_that_are_not_square() -> None:
    model, inputs, targets = vision_transformer(img_size=(SIZE, 96)), images(1, width=96), torch.tensor([1])
    layer, tokens = target_layer(model)
    maps = score_cam(model, inputs, targets, layer=layer, tokens=tokens)
    np.testing.assert_allclose(maps, grad_cam_maps(model, inputs, targets), atol=1e-3)


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_the_last_block_computes_no_more_than_the_score_needs_and_the_score_is_the_same(pool: str) -> None:
    model, inputs, seen = vision_transformer(global_pool=pool), images(), []
    model.blocks[-1].mlp.register_forward_hook(lambda *args: seen.append(args[2].shape[1]))
    whole = model(inputs)
    with class_token_alone(model):
        torch.testing.assert_close(model(inputs), whole)
    torch.testing.assert_close(model(inputs), whole, rtol=0, atol=0)
    assert seen == [65, 1 if pool == "token" else 65, 65]


class BlockModel(nn.Module):
    """Sixteen channels, each one cell of a 4 x 4 grid of brightness; class 1 is the brightness of cell 5."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.cells = nn.Conv2d(1, 16, 1, bias=False)  # only a place for the device
        self.features = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:  # (N, 1, H, W) -> (N, 2)
        grid = self.pool(x)  # (N, 1, 4, 4)
        one_cell = torch.eye(16).view(1, 16, 4, 4)
        self.features(grid * one_cell)  # (N, 16, 4, 4)
        cells = grid.flatten(1)  # (N, 16)
        return 50 * torch.stack([cells[:, 10], cells[:, 5]], dim=1)


def test_the_map_points_at_the_block_that_decides_the_score() -> None:
    model = BlockModel()
    inputs, targets = torch.ones(2, 1, 32, 32), torch.tensor([1, 0])
    maps = score_cam(model, inputs, targets, layer=model.features, tokens=False)
    for found, (row, column) in zip(maps, [(1, 1), (2, 2)], strict=True):  # cells 5 and 10
        cell = found.reshape(4, 8, 4, 8).mean(axis=(1, 3))  # (4, 4)
        assert np.unravel_index(cell.argmax(), cell.shape) == (row, column)
        assert found.min() == 0 and found.max() == 1


def test_a_constant_channel_is_no_evidence() -> None:
    model, constant = BlockModel(), BlockModel()
    constant.features.register_forward_hook(
        lambda _module, _inputs, output: torch.cat([output, torch.full_like(output[:, :3], 7.0)], dim=1)
    )
    inputs, targets = torch.rand(1, 1, 32, 32), torch.tensor([1])
    maps = [score_cam(m, inputs, targets, layer=m.features, tokens=False) for m in (model, constant)]
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-6)


def test_an_image_without_evidence_gets_an_empty_map() -> None:
    model = BlockModel()
    maps = score_cam(model, torch.zeros(1, 1, 32, 32), torch.tensor([1]), layer=model.features, tokens=False)
    assert not maps.any()


def test_the_baseline_is_what_a_mask_leaves() -> None:
    model, seen = BlockModel(), []
    model.register_forward_pre_hook(lambda _module, args: seen.append(args[0].amin().item()))
    score_cam(
        model, torch.ones(1, 1, 32, 32), torch.tensor([1]), layer=model.features, tokens=False, baseline=-3.0
    )
    assert seen[0] == 1 and seen[1] == -3


def test_a_score_that_is_not_finite_is_refused_with_the_image_it_came_from() -> None:
    model, inputs = BlockModel(), torch.rand(3, 1, 32, 32)
    inputs[1, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"images \[1\]"):
        score_cam(model, inputs, torch.tensor([1, 1, 1]), layer=model.features, tokens=False)


def test_bfloat16_gives_nearly_the_map_of_float32() -> None:
    model, inputs, targets = MODELS["resnet"](), images(), torch.tensor([0, 2])
    layer, tokens = target_layer(model)
    single = score_cam(model, inputs, targets, layer=layer, tokens=tokens)
    half = score_cam(model, inputs, targets, layer=layer, tokens=tokens, precision="bfloat16")
    assert 0 < np.abs(half - single).mean() < 0.05


def test_softmax_scores_compare_the_target_with_the_other_classes() -> None:
    model, inputs = BlockModel(), torch.rand(1, 1, 32, 32)
    arguments = {"layer": model.features, "tokens": False}
    logit = score_cam(model, inputs, torch.tensor([1]), **arguments)
    softmax = score_cam(model, inputs, torch.tensor([1]), score="softmax", **arguments)
    assert softmax.max() == 1 and not np.allclose(softmax, logit)


def test_the_gain_over_the_baseline_is_refused_where_it_would_change_nothing() -> None:
    model = BlockModel()
    with pytest.raises(ValueError, match="softmax over channels takes it out"):
        score_cam(model, images(1)[:, :1], torch.tensor([1]), layer=model.features, tokens=False, gain=True)


@pytest.mark.parametrize("normalisation", ["relu", "none"])
def test_the_gain_is_what_a_channel_adds_to_the_bare_baseline(normalisation: str) -> None:
    model, inputs = BlockModel(), torch.full((2, 1, 32, 32), 0.6)
    inputs[0, :, 8:16, 8:16] = 1.0  # cell 5, which is the score, above the baseline and below it
    inputs[1, :, 8:16, 8:16] = 0.2
    arguments = {"layer": model.features, "tokens": False, "normalisation": normalisation, "baseline": 0.5}
    plain, gain = (
        score_cam(model, inputs, torch.tensor([1, 1]), **arguments, gain=gain) for gain in (False, True)
    )
    cells = gain[0].reshape(4, 8, 4, 8).mean(axis=(1, 3))
    assert cells.argmax() == 5 and np.abs(gain[0] - plain[0]).max() > 0.01
    assert plain[1].max() == 1 and not gain[1].any()


class OpposedModel(BlockModel):
    """Two channels that share cell 0: one lights cell 5, which speaks for class 1, one cell 10, against."""

    def forward(self, x: Tensor) -> Tensor:  # (N, 1, H, W) -> (N, 2)
        cells = self.pool(x).flatten(1)  # (N, 16)
        places = torch.zeros(2, 16)
        places[0, [0, 5]], places[1, [0, 10]] = 1.0, 1.0
        self.features((cells[:, None] * places).unflatten(2, (4, 4)))  # (N, 2, 4, 4)
        evidence = 50 * (cells[:, 5] - cells[:, 10])
        return torch.stack([-evidence, evidence], dim=1)


def test_a_negative_gain_counts_against_its_channel_unless_it_is_cut() -> None:
    model = OpposedModel()
    cut, signed = (
        score_cam(
            model,
            torch.ones(1, 1, 32, 32),
            torch.tensor([1]),
            layer=model.features,
            tokens=False,
            gain=True,
            normalisation=name,
        )[0]
        for name in ("relu", "none")
    )
    assert cut[12, 12] > 0.8 and cut[:4, :4].max() > 0.8  # cells 5 and 0
    assert signed[12, 12] > 0.8 and signed[:4, :4].max() < 0.1
    assert cut[20, 20] < 0.1 and signed[20, 20] < 0.1  # cell 10


def test_a_group_for_each_channel_gives_the_exact_map_and_fewer_groups_nearly_so() -> None:
    model, inputs, targets = MODELS["resnet"](), images(), torch.tensor([0, 2])
    layer, tokens = target_layer(model)
    exact, all_groups = (
        score_cam(model, inputs, targets, layer=layer, tokens=tokens, clusters=clusters)
        for clusters in (None, 64)
    )
    passes: list[int] = []
    model.register_forward_pre_hook(lambda _module, args: passes.append(len(args[0])))
    few = score_cam(model, inputs, targets, layer=layer, tokens=tokens, clusters=8)
    np.testing.assert_allclose(all_groups, exact, atol=1e-4)
    assert 1e-4 < np.abs(few - exact).mean() < 0.2
    assert sum(passes) == 2 + 2 * 8  # the images themselves, and a mask a group


def test_groups_hold_channels_of_like_shape_and_leave_out_constant_ones() -> None:
    ramp = torch.linspace(0, 1, 4).repeat(4, 1)
    channels = torch.stack([ramp, 5 * ramp + 2, ramp.T, 3 * ramp.T, torch.ones(4, 4)])[None]  # (1, 5, 4, 4)
    varies = torch.tensor([[True, True, True, True, False]])
    shapes, found, member = clustered(channels, varies, 3)
    a, b, c, d, _ = member[0].tolist()
    assert a == b != c == d and found.sum() == 2
    torch.testing.assert_close(shapes[0, a], ramp)


def test_the_target_layer_is_the_last_norm_or_the_last_stage() -> None:
    transformer, resnet = vision_transformer(), timm.create_model("resnet18")
    assert target_layer(transformer) == (transformer.blocks[1].norm1, True)
    assert target_layer(resnet) == (resnet.layer4, False)
    assert target_layer(resnet, "layer3.1") == (resnet.layer3[1], False)
    densenet = timm.create_model("densenet121")
    assert target_layer(densenet) == (densenet.features.norm5, False)


def test_an_unknown_layer_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="layer9"):
        target_layer(timm.create_model("resnet18"), "layer9")
    with pytest.raises(ValueError, match="name one"):
        target_layer(BlockModel())


def test_tokens_that_form_no_grid_are_refused() -> None:
    model = vision_transformer()
    model.num_prefix_tokens = 0  # so the class token is taken for a patch
    with pytest.raises(ValueError, match="65 tokens"):
        score_cam(model, images(1), torch.tensor([0]), layer=target_layer(model)[0], tokens=True)
