"""Reconstructions: a panel an epoch for people, and what the report draws, of some epochs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fake_corpus import ENCODER
from PIL import Image

from usfmae.models.mae import MaskedAutoencoder, build_encoder
from usfmae.training.batches import normalise
from usfmae.training.reconstructions import KEPT, Reconstructions

NOISE = torch.rand(3, 16, generator=torch.Generator().manual_seed(0))


def model(channels: int = 1) -> MaskedAutoencoder:
    torch.manual_seed(0)
    encoder = build_encoder(size=16, channels=channels, **ENCODER.model_dump())
    return MaskedAutoencoder(encoder, decoder_width=16, decoder_depth=1, decoder_heads=2, mask_ratio=0.75)


def frames(channels: int = 1) -> torch.Tensor:
    """float32 `(3, channels, 16, 16)` in 0 to 1, as grey levels are."""
    levels = torch.randint(0, 256, (3, 1, 16, 16), generator=torch.Generator().manual_seed(1))
    return (levels / 255).expand(-1, channels, -1, -1)


def test_a_panel_shows_original_masked_and_reconstructed_in_rows(tmp_path: Path) -> None:
    Reconstructions(normalise(frames()), NOISE, tmp_path, epochs=40).show(model(), 1)
    panel = np.asarray(Image.open(tmp_path / "epoch-0001.png"))
    assert panel.shape == (3 * 16, 3 * 16) and panel.dtype == np.uint8
    original, masked, filled = (panel[row * 16 : (row + 1) * 16] for row in range(3))
    expected = np.concatenate(list((255 * frames()[:, 0]).round().byte().numpy()), axis=1)
    assert np.abs(original.astype(int) - expected).max() <= 1
    visible = masked > 0
    assert 0.2 < visible.mean() <= 0.25
    assert np.array_equal(masked[visible], original[visible])
    assert np.array_equal(filled[visible], original[visible])
    assert (filled[~visible] != original[~visible]).mean() > 0.9
    assert not list(tmp_path.glob("*.npz")), "epoch 1 of 40 is not kept for the report"


@pytest.mark.parametrize(("epochs", "kept"), [(1, [0]), (5, [0, 1, 2, 3, 4]), (100, None)])
def test_the_kept_epochs_are_spread_and_hold_the_last(epochs: int, kept: list[int] | None) -> None:
    found = Reconstructions(frames(), NOISE, Path(), epochs).kept
    assert found == kept or (kept is None and len(found) == KEPT)
    assert (found[0], found[-1]) == (0, epochs - 1)
    assert max(np.diff(found), default=0) <= epochs / (KEPT - 1) + 1


def test_the_report_gets_the_last_epoch_and_those_on_the_way(tmp_path: Path) -> None:
    shown, network = Reconstructions(normalise(frames()), NOISE, tmp_path, epochs=20), model()
    for epoch in range(20):
        shown.show(network, epoch)
        with torch.no_grad():
            network.decoder_head.bias += 0.05  # each epoch is brighter
    shown.save(tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as saved:
        arrays = {name: saved[name] for name in saved.files}
    assert arrays["epochs"].tolist() == shown.kept
    assert arrays["over_epochs"].shape == (KEPT, 3, 16, 16) and arrays["over_epochs"].dtype == np.uint8
    last = (255 * arrays["reconstructed"]).round().astype(np.uint8)
    assert np.array_equal(arrays["over_epochs"][-1], last)
    hidden = arrays["masked"] == -1
    assert hidden.mean() == 0.75
    brightness = [pictures[hidden].mean() for pictures in arrays["over_epochs"]]
    assert brightness == sorted(brightness) and brightness[-1] > brightness[0] + 20


def test_colour_frames_are_shown_in_grey(tmp_path: Path) -> None:
    shown = Reconstructions(normalise(frames(3)), NOISE, tmp_path, epochs=1)
    shown.show(model(3), 0)
    shown.save(tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as saved:
        assert saved["original"].shape == (3, 16, 16)
        np.testing.assert_allclose(saved["original"], frames()[:, 0], atol=1e-5)
        assert (saved["masked"] == -1).mean() == 0.75


def test_showing_changes_neither_weights_nor_what_is_drawn_next(tmp_path: Path) -> None:
    network = model()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Reconstructions(normalise(frames()), NOISE, tmp_path, epochs=1).show(network, 0)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
