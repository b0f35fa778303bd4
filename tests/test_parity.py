"""The masked autoencoder is Hugging Face's ViTMAE, weight by weight: loss and gradients in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor
from transformers import ViTMAEConfig, ViTMAEForPreTraining
from transformers.models.vit_mae.modeling_vit_mae import ViTMAEEmbeddings

from usfmae.models.checkpoints import load_mae
from usfmae.models.formats import our_names
from usfmae.models.mae import MaskedAutoencoder, build_encoder, positions, use_attention

torch.set_num_threads(1)

WIDTH, DECODER_WIDTH, SIZE, PATCH, CHANNELS = 64, 32, 32, 8, 3
GRID = (SIZE // PATCH, SIZE // PATCH)
Attention = Literal["fused", "plain"]


def config_of(**options: object) -> ViTMAEConfig:
    return ViTMAEConfig(
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=4 * WIDTH,
        image_size=SIZE,
        patch_size=PATCH,
        num_channels=CHANNELS,
        decoder_hidden_size=DECODER_WIDTH,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=4 * DECODER_WIDTH,
        **options,
    )


def make_theirs(*, normalise_patches: bool, attention: str, epsilon: float) -> ViTMAEForPreTraining:
    """Their model with random weights, none of them 0."""
    config = config_of(layer_norm_eps=epsilon, norm_pix_loss=normalise_patches, attn_implementation=attention)
    model = ViTMAEForPreTraining(config)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith(("position_embeddings", "decoder_pos_embed")):
                value.copy_(positions(GRID, value.shape[-1]))  # zeros in a model built from its config
            elif "norm" in name and name.endswith("weight"):
                value.copy_(1 + 0.2 * torch.randn(value.shape, generator=generator))
            else:
                fan_in = value.shape[1:].numel() if value.ndim > 1 else 25
                value.copy_(torch.randn(value.shape, generator=generator) / fan_in**0.5)
    return model.eval()


def make_ours(*, normalise_patches: bool, attention: Attention, epsilon: float) -> MaskedAutoencoder:
    shape = {"size": SIZE, "channels": CHANNELS, "patch_size": PATCH, "width": WIDTH, "depth": 2, "heads": 4}
    model = MaskedAutoencoder(
        build_encoder(**shape, layer_norm_epsilon=epsilon),  # type: ignore[arg-type]
        decoder_width=DECODER_WIDTH,
        decoder_depth=2,
        decoder_heads=2,
        mask_ratio=0.75,
        normalise_patches=normalise_patches,
        layer_norm_epsilon=epsilon,
    )
    use_attention(model, attention)
    return model.eval()


def split(gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value each with a gradient of its own, as Hugging Face has them."""
    parts = {}
    for name, gradient in gradients.items():
        if ".qkv." in name:
            for part, values in zip(("query", "key", "value"), gradient.chunk(3), strict=True):
                parts[name.replace("qkv", part)] = values
        else:
            parts[name] = gradient
    return parts


@pytest.mark.parametrize("epsilon", [1e-12, 1e-6])
@pytest.mark.parametrize("theirs_attention", ["sdpa", "eager"])
@pytest.mark.parametrize("attention", ["fused", "plain"])
@pytest.mark.parametrize("normalise_patches", [False, True])
def test_loss_and_every_gradient_are_those_of_hugging_face(
    normalise_patches: bool, attention: Attention, theirs_attention: str, epsilon: float, tmp_path: Path
) -> None:
    theirs = make_theirs(normalise_patches=normalise_patches, attention=theirs_attention, epsilon=epsilon)
    ours = make_ours(normalise_patches=normalise_patches, attention=attention, epsilon=epsilon)
    theirs.save_pretrained(tmp_path)
    load_mae(ours, tmp_path)
    generator = torch.Generator().manual_seed(8)
    frames = torch.randn(4, CHANNELS, SIZE, SIZE, generator=generator)
    noise = torch.rand(4, GRID[0] * GRID[1], generator=generator)
    loss, prediction, masked = ours(frames, noise)
    loss.backward()
    out = theirs(frames, noise=noise)
    out.loss.backward()
    assert torch.equal(torch.zeros_like(noise).scatter(1, masked, 1.0), out.mask)
    assert loss.item() == pytest.approx(out.loss.item(), rel=1e-5)
    theirs_masked = out.logits.gather(1, masked[..., None].expand_as(prediction))
    torch.testing.assert_close(prediction, theirs_masked, rtol=0, atol=1e-5)
    our_gradients = split({n: p.grad for n, p in ours.named_parameters() if p.grad is not None})
    their_gradients = split(
        our_names({n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}, tmp_path)
    )
    assert our_gradients.keys() == their_gradients.keys()
    assert len(our_gradients) == 76
    for name, expected in their_gradients.items():
        if name.endswith("key.bias"):  # adds the same to all scores of a token: no effect, in theory
            assert max(our_gradients[name].abs().max(), expected.abs().max()) < 1e-8, name
            continue
        assert expected.abs().max() > 1e-5, f"{name}: nothing to compare"
        assert (our_gradients[name] - expected).abs().max() <= 1e-5 * expected.abs().max(), name


def test_the_fixed_positions_are_those_of_hugging_face_and_facebook() -> None:
    embeddings = ViTMAEEmbeddings(config_of())
    embeddings.initialize_weights()
    torch.testing.assert_close(embeddings.position_embeddings.data, positions(GRID, WIDTH), rtol=0, atol=1e-6)


def test_the_two_ways_of_attention_are_different_code() -> None:
    fused, plain = (
        make_ours(normalise_patches=False, attention=kind, epsilon=1e-6) for kind in ("fused", "plain")
    )
    assert all(block.attn.fused_attn for block in [*fused.encoder.blocks, *fused.decoder_blocks])
    assert not any(block.attn.fused_attn for block in [*plain.encoder.blocks, *plain.decoder_blocks])


@pytest.mark.parametrize("epsilon", [1e-12, 1e-2])
def test_every_layer_norm_has_the_epsilon_that_was_asked_for(epsilon: float) -> None:
    model = make_ours(normalise_patches=False, attention="fused", epsilon=epsilon)
    found = {module.eps for module in model.modules() if isinstance(module, torch.nn.LayerNorm)}
    assert found == {epsilon}
