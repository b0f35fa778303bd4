"""Weights on disk: whole or refused, and never silently left out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from usfmae.models import channels as channels_module
from usfmae.models.checkpoints import CheckpointError, load_encoder, load_mae, load_weights, save_weights
from usfmae.models.mae import MaskedAutoencoder, build_encoder, positions
from usfmae.training import batches

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
        CheckpointError, match=r"does not fit the model; missing: blocks\.0\.attn\.qkv\.weight"
    ):
        load_encoder(classifier("avg"), pretrained)


def test_a_surplus_key_is_named(pretrained: Path) -> None:
    rewrite(pretrained, decoder=torch.zeros(2))
    with pytest.raises(CheckpointError, match=r"surplus: decoder$"):
        load_encoder(classifier("avg"), pretrained)


def test_a_misshapen_key_is_named_with_both_shapes(pretrained: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"misshapen: blocks\.0\.attn\.proj\.bias \(16,\) instead of \(24,\)"
    ):
        load_encoder(classifier("avg", width=24), pretrained)


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


def mae(*, normalise_patches: bool = False, **changes: object) -> MaskedAutoencoder:
    """A small model in which no weight is 0."""
    decoder = {"decoder_width": 24, "decoder_depth": 1, "decoder_heads": 2, "mask_ratio": 0.5}
    model = MaskedAutoencoder(encoder(**changes), **decoder, normalise_patches=normalise_patches)  # type: ignore[arg-type]
    for value in model.parameters():
        if value.requires_grad:
            torch.nn.init.normal_(value, std=0.2)
    return model.eval()


def saved(model: torch.nn.Module, folder: Path) -> Path:
    save_weights(folder / "weights.safetensors", model.state_dict())
    return folder / "weights.safetensors"


@pytest.mark.parametrize(("size", "other"), [(16, 32), (32, 16), (16, 20)])
def test_another_frame_size_interpolates_the_positions_and_keeps_the_rest(
    size: int, other: int, tmp_path: Path
) -> None:
    source, model = mae(size=size), mae(size=other)
    load_mae(model, saved(source, tmp_path))
    own, grid = model.encoder.pos_embed, other // 4
    assert torch.equal(own[:, 0], source.encoder.pos_embed[:, 0])  # the class token's
    patches = source.encoder.pos_embed[:, 1:].unflatten(1, (size // 4, size // 4)).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(patches, (grid, grid), mode="bicubic", antialias=True)
    torch.testing.assert_close(own[:, 1:].unflatten(1, (grid, grid)).permute(0, 3, 1, 2), expected)
    assert torch.equal(model.decoder_positions, positions((grid, grid), 24))
    assert torch.equal(model.encoder.blocks[1].mlp.fc1.weight, source.encoder.blocks[1].mlp.fc1.weight)
    assert torch.equal(model.decoder_head.weight, source.decoder_head.weight)


def test_a_decoder_with_learned_positions_keeps_them_and_takes_no_other_frame_size(tmp_path: Path) -> None:
    source = mae()
    source.decoder_positions += 0.1
    same = mae()
    load_mae(same, saved(source, tmp_path))
    assert torch.equal(same.decoder_positions, source.decoder_positions)
    with pytest.raises(CheckpointError, match="decoder_positions are not the fixed sine-cosine ones"):
        load_mae(mae(size=32), tmp_path / "weights.safetensors")


def test_positions_of_no_square_grid_are_refused(pretrained: Path) -> None:
    rewrite(pretrained, pos_embed=torch.zeros(1, 13, 16))
    with pytest.raises(CheckpointError, match=r"positions \(1, 13, 16\) are no square grid"):
        load_encoder(classifier("avg"), pretrained)


def test_another_patch_size_is_refused(pretrained: Path) -> None:
    with pytest.raises(
        CheckpointError, match="has patches of 4 x 4 pixels, the encoder of 8 x 8: `patch_size`"
    ):
        load_encoder(classifier("avg", patch_size=8), pretrained)


def test_another_decoder_is_named_key_by_key(tmp_path: Path) -> None:
    path = saved(mae(), tmp_path)
    model = mae()
    model.decoder_blocks.append(model.decoder_blocks[0])
    with pytest.raises(CheckpointError, match=r"missing: decoder_blocks\.1\."):
        load_mae(model, path)


def grey_frames(channels: int) -> torch.Tensor:
    """The same grey frames, normalised as training does it for 1 or 3 channels."""
    grey = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    return batches.normalise(grey.expand(-1, channels, -1, -1))


@pytest.mark.parametrize(("theirs", "ours"), [(3, 1), (1, 3)])
def test_other_channels_leave_the_encoders_output_on_grey_frames(
    theirs: int, ours: int, tmp_path: Path
) -> None:
    source, model = encoder(channels=theirs).eval(), classifier("token", channels=ours).eval()
    load_encoder(model, saved(source, tmp_path))
    expected = source.forward_features(grey_frames(theirs))
    torch.testing.assert_close(model.forward_features(grey_frames(ours)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("theirs", "ours"), [(3, 1), (1, 3)])
def test_other_channels_reconstruct_the_same_grey_value(theirs: int, ours: int, tmp_path: Path) -> None:
    source, model = mae(channels=theirs), mae(channels=ours)
    load_mae(model, saved(source, tmp_path))
    noise = torch.rand(4, 16)

    def grey(mae: MaskedAutoencoder, channels: int) -> torch.Tensor:
        """Predicted grey value of each pixel, 0 to 1 `(N, L, p*p)`."""
        _, prediction, _ = mae(grey_frames(channels), noise)
        mean, std = torch.tensor(channels_module.MEAN[channels]), torch.tensor(channels_module.STD[channels])
        return (prediction.unflatten(-1, (-1, channels)) * std + mean).mean(dim=-1)

    torch.testing.assert_close(grey(model, ours), grey(source, theirs), rtol=0, atol=1e-5)


def test_predictions_of_normalised_patches_are_averaged_over_the_channels(tmp_path: Path) -> None:
    source, model = mae(channels=3), mae(channels=1, normalise_patches=True)
    load_mae(model, saved(source, tmp_path))
    noise = torch.rand(4, 16)
    _, prediction, _ = model(grey_frames(1), noise)
    _, expected, _ = source(grey_frames(3), noise)
    expected = expected.unflatten(-1, (-1, 3)).mean(dim=-1)
    torch.testing.assert_close(prediction, expected, rtol=0, atol=1e-5)
