"""The masked autoencoder: what is hidden, what the loss sees, and where tokens go back to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from usfmae.models.mae import MaskedAutoencoder, build_encoder, patchify, positions, unpatchify

torch.set_num_threads(1)


def make_model(*, size: int = 16, channels: int = 1, **options: Any) -> MaskedAutoencoder:
    torch.manual_seed(0)
    encoder = build_encoder(size=size, channels=channels, patch_size=4, width=16, depth=2, heads=2)
    decoder = {"decoder_width": 24, "decoder_depth": 1, "decoder_heads": 2}
    return MaskedAutoencoder(encoder, **{**decoder, "mask_ratio": 0.75, **options}).eval()


def make_frames(n: int = 4, *, size: int = 16, channels: int = 1) -> Tensor:
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(1))


def make_noise(n: int = 4, patches: int = 16) -> Tensor:
    return torch.rand(n, patches, generator=torch.Generator().manual_seed(2))


def mask_of(model: MaskedAutoencoder, frames: Tensor, noise: Tensor | None = None) -> Tensor:
    """`(N, L)`, 1 where a patch is masked."""
    _, _, masked = model(frames, noise)
    return torch.zeros(len(frames), model.encoder.patch_embed.num_patches).scatter(1, masked, 1.0)


def change_patches(frames: Tensor, where: Tensor, patch_size: int = 4) -> Tensor:
    """frames `(N, C, H, W)` with new pixels in the patches where `where (N, L)` is 1."""
    patches = patchify(frames, patch_size)
    patches = torch.where(where[..., None] > 0, 1 - patches + torch.rand_like(patches), patches)
    rows = frames.shape[2] // patch_size
    return unpatchify(patches, (rows, frames.shape[3] // patch_size), patch_size)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_prediction_has_all_pixels_of_each_masked_patch(channels: int) -> None:
    frames = make_frames(3, channels=channels)
    loss, prediction, masked = make_model(channels=channels)(frames)
    assert loss.shape == ()
    assert prediction.shape == (3, 12, 4 * 4 * channels)
    assert masked.shape == (3, 12)


def test_frames_of_another_size_than_the_encoder_s_are_refused() -> None:
    with pytest.raises(ValueError, match="frames of 20 x 20 pixels; this encoder takes 16 x 16"):
        make_model()(make_frames(size=20))


@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5, 0.6, 0.75, 0.9])
@pytest.mark.parametrize("size", [16, 20])
def test_each_frame_hides_the_share_of_patches_that_the_mask_ratio_says(ratio: float, size: int) -> None:
    length = (size // 4) ** 2
    mask = mask_of(make_model(size=size, mask_ratio=ratio), make_frames(5, size=size))
    assert (mask.sum(dim=1) == length - int(length * (1 - ratio))).all()


def test_at_least_one_patch_stays_visible() -> None:
    mask = mask_of(make_model(mask_ratio=0.99), make_frames())
    assert (mask.sum(dim=1) == 15).all()


def test_each_frame_and_each_step_has_its_own_mask() -> None:
    model = make_model()
    torch.manual_seed(3)
    first, second = mask_of(model, make_frames(32)), mask_of(model, make_frames(32))
    assert len(first.unique(dim=0)) > 28
    assert not torch.equal(first, second)
    assert first.mean(dim=0).min() > 0.3  # no patch is always visible


def test_the_smallest_noise_stays_visible() -> None:
    noise = make_noise()
    mask = mask_of(make_model(), make_frames(), noise)
    for i in range(len(noise)):
        assert set(noise[i].argsort()[:4].tolist()) == set((mask[i] == 0).nonzero()[:, 0].tolist())


def test_the_loss_is_the_mean_squared_error_of_masked_patches() -> None:
    model, frames = make_model(), make_frames()
    loss, prediction, masked = model(frames, make_noise())
    true = np.take_along_axis(patchify(frames, 4).numpy(), masked.numpy()[..., None], axis=1)
    assert loss.item() == pytest.approx(((prediction.detach().numpy() - true) ** 2).mean(), rel=1e-5)


def test_the_prediction_of_a_patch_is_that_of_its_place() -> None:
    """Another order of the masked patches, drawn by other noise, predicts the same."""
    model, frames, noise = make_model(), make_frames(), make_noise()
    _, prediction, masked = model(frames, noise)
    other = noise.clone()
    other.scatter_(1, masked, 2 + torch.rand(masked.shape))  # the same are masked
    _, again, order = model(frames, other)
    assert not torch.equal(order, masked)
    assert torch.allclose(in_places(again, order), in_places(prediction, masked), atol=1e-6)


def in_places(prediction: Tensor, masked: Tensor) -> Tensor:
    empty = torch.zeros(len(masked), 16, prediction.shape[-1])
    return empty.scatter(1, masked[..., None].expand_as(prediction), prediction.detach())


def test_masked_pixels_never_reach_the_encoder() -> None:
    model, frames = make_model(), make_frames()
    mask = mask_of(model, frames, make_noise())
    _, prediction, _ = model(frames, make_noise())
    _, masked_changed, _ = model(change_patches(frames, mask), make_noise())
    _, visible_changed, _ = model(change_patches(frames, 1 - mask), make_noise())
    assert torch.equal(prediction, masked_changed)
    assert not torch.allclose(prediction, visible_changed, atol=1e-3)


@hypothesis_settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(1, 8))
def test_unpatchify_is_the_inverse_of_patchify(
    n: int, channels: int, rows: int, columns: int, p: int
) -> None:
    frames = torch.arange(n * channels * rows * columns * p * p, dtype=torch.float32)
    frames = frames.view(n, channels, rows * p, columns * p)
    patches = patchify(frames, p)
    assert patches.shape == (n, rows * columns, p * p * channels)
    assert torch.equal(unpatchify(patches, (rows, columns), p), frames)
    # Patch 1 is the second of the first row (or of the first column), pixels first, channels last.
    row, column = divmod(min(1, rows * columns - 1), columns)
    picture = frames[0, :, row * p : (row + 1) * p, column * p : (column + 1) * p]
    assert torch.equal(patches[0, row * columns + column], picture.permute(1, 2, 0).flatten())


def test_normalised_patches_have_mean_0_and_variance_1() -> None:
    target = make_model(normalise_patches=True).target(patchify(make_frames(), 4))
    assert target.mean(-1).abs().max() < 1e-5
    assert (target.var(-1) - 1).abs().max() < 1e-3
    plain = patchify(make_frames(), 4)
    assert torch.equal(make_model().target(plain), plain)


def test_a_constant_patch_has_a_finite_target() -> None:
    assert make_model(normalise_patches=True).target(torch.zeros(1, 16, 16)).abs().max() == 0


def test_each_token_of_the_decoder_has_the_position_of_its_place() -> None:
    model, seen = make_model(decoder_depth=2), []
    model.decoder_blocks[0].register_forward_pre_hook(lambda block, given: seen.append(given[0]))
    model.decoder_embed = nn.Linear(16, 24)
    nn.init.zeros_(model.decoder_embed.weight)  # without content, a token is its position
    nn.init.zeros_(model.decoder_embed.bias)
    nn.init.zeros_(model.mask_token)
    _, _, masked = model(make_frames(), make_noise())
    for i, noise in enumerate(make_noise()):
        order = noise.argsort()
        assert torch.equal(masked[i], order[4:])
        expected = torch.cat([model.decoder_positions[0, :1], model.decoder_positions[0, 1:][order]])
        assert torch.equal(seen[0][i], expected)


def test_positions_are_distinct_and_the_class_token_has_none() -> None:
    table = positions((4, 5), 16)
    assert table.shape == (1, 21, 16)
    assert table[0, 0].abs().max() == 0
    distances = torch.cdist(table[0], table[0]) + 9 * torch.eye(21)
    assert distances.min() > 0.1
    # Neighbours in a row share half of the table, neighbours in a column the other half.
    grid = table[0, 1:].view(4, 5, 16)
    along_row, along_column = grid[0, 0] == grid[0, 1], grid[0, 0] == grid[1, 0]
    assert along_row.sum() >= 8 and along_column.sum() >= 8 and not (along_row & along_column).all()


def test_the_encoders_weights_fit_timms_vision_transformer() -> None:
    theirs = VisionTransformer(
        img_size=16, patch_size=4, in_chans=1, embed_dim=16, depth=2, num_heads=2, num_classes=0
    )
    ours = make_model().encoder
    theirs.load_state_dict(ours.state_dict(), strict=True)
    frames = make_frames()
    assert torch.allclose(theirs.eval().forward_features(frames), ours.forward_features(frames))


def test_with_all_patches_visible_the_encoder_is_timms_forward_pass() -> None:
    model = make_model()
    latent = model.encode(patchify(make_frames(), 4), torch.arange(16).repeat(4, 1))
    assert torch.allclose(latent, model.encoder.forward_features(make_frames()), atol=1e-5)


def test_encoder_positions_stay_fixed_while_it_pretrains() -> None:
    model = make_model()
    model(make_frames())[0].backward()
    assert model.encoder.pos_embed.grad is None
    trained = {name for name, value in model.named_parameters() if value.grad is not None}
    assert {"encoder.cls_token", "mask_token", "encoder.patch_embed.proj.weight"} <= trained


def test_a_patch_size_that_does_not_divide_the_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="patch_size 5 does not divide the corpus's frame size 16"):
        build_encoder(size=16, channels=1, patch_size=5, width=16, depth=1, heads=2)


@pytest.mark.parametrize("normalise_patches", [False, True])
def test_reconstructions_keep_visible_patches_exactly(normalise_patches: bool) -> None:
    model, frames = make_model(normalise_patches=normalise_patches), make_frames()
    masked, filled = model.reconstruct(frames, make_noise())
    _, prediction, places = model(frames, make_noise())
    assert masked.shape == filled.shape == frames.shape
    visible = mask_of(model, frames, make_noise()) == 0
    assert torch.equal(patchify(filled, 4)[visible], patchify(frames, 4)[visible])
    assert torch.equal(patchify(masked, 4)[visible], patchify(frames, 4)[visible])
    assert (patchify(masked, 4)[~visible] == 0).all()
    if not normalise_patches:
        assert torch.equal(patchify(filled, 4)[~visible], in_places(prediction, places)[~visible])


def test_predictions_of_normalised_patches_are_brought_back_to_pixels() -> None:
    model, frames = make_model(normalise_patches=True), make_frames()
    perfect = model.target(patchify(frames, 4))

    def decode(latent: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
        return perfect.gather(1, masked[..., None].expand(-1, -1, perfect.shape[-1]))

    model.decode = decode  # type: ignore[method-assign]
    _, filled = model.reconstruct(frames, make_noise())
    assert torch.allclose(filled, frames, atol=1e-5)


def test_a_few_steps_halve_the_loss_on_one_batch() -> None:
    model = make_model().train()
    y, x = np.mgrid[0:16, 0:16] / 16
    waves = [np.sin(5 * (a * x + b * y)) for a, b in ((1, 0), (0, 1), (1, 1), (1, -1))]
    frames = torch.tensor(np.stack(waves), dtype=torch.float32)[:, None]
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(80):
        optimiser.zero_grad()
        loss = model(frames, make_noise())[0]
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
