"""Diagnostics: a collapse is seen, and the operations are those counted by hand."""

from __future__ import annotations

import pytest
import torch
from fake_corpus import ENCODER

from usfmae.models.mae import MaskedAutoencoder, build_encoder, use_attention
from usfmae.training.diagnostics import (
    collapse_warning,
    effective_rank,
    embed,
    matmul_rate,
    operations,
    spread,
)


def tiny() -> MaskedAutoencoder:
    torch.manual_seed(0)
    encoder = build_encoder(size=16, channels=1, **ENCODER.model_dump())
    return MaskedAutoencoder(encoder, decoder_width=16, decoder_depth=1, decoder_heads=2, mask_ratio=0.75)


@pytest.mark.parametrize("rank", [1, 2, 7])
def test_the_effective_rank_counts_equally_long_directions(rank: int) -> None:
    embeddings = torch.zeros(64, 16)
    for direction in range(rank):  # orthogonal, of mean 0
        embeddings[2 * direction, direction], embeddings[2 * direction + 1, direction] = 1, -1
    assert effective_rank(embeddings + 5) == pytest.approx(rank, abs=1e-3)


def test_the_effective_rank_of_unequal_directions_lies_between() -> None:
    """Singular values 3 and 1: exp of the entropy of (3/4, 1/4) is 1.755 (Roy and Vetterli, section 2)."""
    embeddings = torch.tensor([[3.0, 0], [-3.0, 0], [0, 1.0], [0, -1.0]])
    assert effective_rank(embeddings) == pytest.approx(1.7548, abs=1e-3)


def test_the_spread_is_0_where_all_are_the_same_and_about_1_where_they_fill_all_directions() -> None:
    assert spread(torch.ones(100, 32)) == pytest.approx(0, abs=1e-6)
    noise = torch.randn(4000, 32, generator=torch.Generator().manual_seed(0))
    assert spread(noise) == pytest.approx(1, abs=0.02)
    assert spread(1000 * noise) == pytest.approx(spread(noise), abs=1e-5)  # directions, not lengths


def test_a_healthy_encoder_gives_no_warning_and_a_dead_one_is_named() -> None:
    assert collapse_warning(5.0, 0.3) is None
    for rank, wide in ((1.2, 0.3), (5.0, 0.001)):
        warning = collapse_warning(rank, wide)
        assert warning is not None and "may have collapsed" in warning
        assert f"{rank:.1f}" in warning and f"{wide:.3f}" in warning


def test_an_encoder_whose_tokens_are_constant_is_seen_as_collapsed() -> None:
    model = tiny().eval()
    frames = torch.randn(32, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    alive = embed(model, frames)
    assert alive.shape == (32, 16)
    assert collapse_warning(effective_rank(alive), spread(alive)) is None
    torch.nn.init.zeros_(model.encoder.patch_embed.proj.weight)
    dead = embed(model, frames)
    assert collapse_warning(effective_rank(dead), spread(dead)) is not None


def test_an_embedding_is_the_mean_of_the_patch_tokens_without_the_class_token() -> None:
    model = tiny().eval()
    frames = torch.randn(2, 1, 16, 16)
    with torch.inference_mode():
        tokens = model.encoder.forward_features(frames)
    assert tokens.shape == (2, 17, 16)
    assert torch.allclose(embed(model, frames), tokens[:, 1:].mean(1))


def blocks(tokens: int, width: int, depth: int) -> int:
    """Multiplications of transformer blocks: 12 width² a token, and 2 width for each pair of tokens."""
    return depth * (12 * tokens * width**2 + 2 * tokens**2 * width)


def test_operations_of_vit_base_are_those_counted_by_hand() -> None:
    """MAE ViT-B/16 at 224 px, 75 % masked, decoder of 8 blocks of 512: 57.4 GFLOP a trained frame.

    Forward and backward are three times forward, but for the gradient of the pixels, which nobody needs. Of
    the 196 patches 49 are embedded, and the last block's MLP and the head see the 147 masked ones.
    """
    with torch.device("meta"):
        encoder = build_encoder(size=224, channels=3, patch_size=16, width=768, depth=12, heads=12)
        model = MaskedAutoencoder(
            encoder, decoder_width=512, decoder_depth=8, decoder_heads=16, mask_ratio=0.75
        )
    embedding = 49 * 768 * 768
    encoded = embedding + blocks(50, 768, 12)
    decoded = 50 * 768 * 512 + blocks(197, 512, 8) - 8 * (197 - 147) * 512**2 + 147 * 512 * 768
    assert operations(model) == pytest.approx(6 * (encoded + decoded) - 2 * embedding, rel=1e-6)
    assert operations(model) == pytest.approx(57.4e9, rel=0.005)


def test_counting_leaves_the_model_as_it_was() -> None:
    model = tiny()
    use_attention(model, "fused")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    counted = operations(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.encoder.blocks[0].attn.fused_attn
    use_attention(model, "plain")
    assert operations(model) == counted


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_rate_of_the_device_is_measured(precision: str) -> None:
    assert 1e8 < matmul_rate(torch.device("cpu"), precision) < 1e14
