"""Augmentation: what it leaves alone, what it moves, and that a seed repeats it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fake_corpus import UNCHANGED
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from usfmae.settings.training import Augmentation
from usfmae.training.augment import augment, change, draw, random_affine


def only(**changes: Any) -> Augmentation:
    return Augmentation(**(UNCHANGED.model_dump() | changes))


def make_frames(n: int = 4, channels: int = 1, size: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("channels", [1, 3])
def test_settings_that_change_nothing_give_the_frames_back(channels: int) -> None:
    frames = make_frames(channels=channels)
    out = augment(frames, UNCHANGED)
    assert out.dtype == torch.float32
    assert (out - frames / 255).abs().max() < 1e-5


@pytest.mark.parametrize(("key", "axis"), [("horizontal_flip", 3), ("vertical_flip", 2)])
def test_a_sure_flip_flips_exactly(key: str, axis: int) -> None:
    frames = make_frames()
    assert (augment(frames, only(**{key: 1.0})) - (frames / 255).flip(axis)).abs().max() < 1e-5


def test_half_of_the_frames_flip_at_probability_one_half() -> None:
    torch.manual_seed(0)
    flipped = random_affine(2000, only(horizontal_flip=0.5))[:, 0, 0] < 0
    assert 0.45 < flipped.float().mean() < 0.55


@hypothesis_settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 0.7), st.floats(1.0, 1.4), st.floats(0, 180), st.integers(0, 1000))
def test_a_crop_keeps_its_share_of_the_area(area: float, ratio: float, degrees: float, seed: int) -> None:
    torch.manual_seed(seed)
    settings = only(
        crop_area=(area, area), crop_ratio=(1 / ratio, ratio), rotation_degrees=(-degrees, degrees)
    )
    matrices = random_affine(16, settings)[:, :, :2]
    assert torch.allclose(torch.linalg.det(matrices).abs(), torch.full((16,), area), rtol=1e-3)


@hypothesis_settings(max_examples=40, deadline=None)
@given(st.floats(0.05, 1.0), st.integers(0, 1000))
def test_a_crop_without_rotation_lies_inside_the_frame(low: float, seed: int) -> None:
    torch.manual_seed(seed)
    theta = random_affine(16, only(crop_area=(low, 1.0), crop_ratio=(0.75, 1.33)))
    corners = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [-1, 1, 1], [1, 1, 1]]).T  # (3, 4)
    assert (theta @ corners).abs().max() <= 1 + 1e-5


@hypothesis_settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 0.9), st.floats(0, 0.9))
def test_values_stay_between_0_and_1(seed: int, brightness: float, contrast: float) -> None:
    torch.manual_seed(seed)
    out = augment(make_frames(), Augmentation(brightness=brightness, contrast=contrast))
    assert out.min() >= 0 and out.max() <= 1
    assert out.isfinite().all()


def test_the_same_seed_changes_frames_in_the_same_way() -> None:
    outs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outs.append(augment(make_frames(), Augmentation()))
    assert torch.equal(outs[0], outs[1])
    assert not torch.allclose(outs[0], outs[2], atol=0.05)


def test_each_frame_of_a_batch_is_changed_in_its_own_way() -> None:
    torch.manual_seed(0)
    out = augment(make_frames(1).expand(8, -1, -1, -1), Augmentation())
    assert min((a - b).abs().max() for i, a in enumerate(out) for b in out[:i]) > 0.05


def test_black_padding_stays_black_when_the_brightness_rises() -> None:
    frames = torch.full((64, 1, 32, 32), 128, dtype=torch.uint8)
    frames[..., :8] = 0
    torch.manual_seed(0)
    out = augment(frames, only(brightness=0.5))
    assert out[..., :8].max() == 0
    assert out[..., 8:].amax() > 0.8


def test_brightness_shifts_and_contrast_scales_a_whole_frame() -> None:
    frames = make_frames(64).clamp(64, 150)
    torch.manual_seed(0)
    shift = augment(frames, only(brightness=0.2)) - frames / 255
    assert (shift.amax(dim=(1, 2, 3)) - shift.amin(dim=(1, 2, 3))).max() < 1e-4
    assert 0.15 < shift.abs().max() < 0.2
    torch.manual_seed(0)
    gain = augment(frames, only(contrast=0.2)) / (frames / 255)
    assert (gain.amax(dim=(1, 2, 3)) - gain.amin(dim=(1, 2, 3))).max() < 1e-4
    assert 1.15 < gain.max() < 1.2


def test_a_rotated_disc_stays_round_and_keeps_its_area() -> None:
    y, x = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
    disc = (255 * ((x - 6) ** 2 + y**2 < 100)).to(torch.uint8).expand(16, 1, 64, 64)
    torch.manual_seed(0)
    out = augment(disc, only(rotation_degrees=(-180, 180)))[:, 0]  # (16, 64, 64)
    mass = out.sum(dim=(1, 2))
    mean_x, mean_y = ((out * axis).sum(dim=(1, 2)) / mass for axis in (x, y))
    var_x = (out * (x - mean_x.view(-1, 1, 1)) ** 2).sum(dim=(1, 2)) / mass
    var_y = (out * (y - mean_y.view(-1, 1, 1)) ** 2).sum(dim=(1, 2)) / mass
    assert torch.allclose(var_x, var_y, rtol=0.03)
    assert torch.allclose(mass, disc[0].float().sum().div(255).expand(16), rtol=0.01)
    # It turns about the frame's middle: the distance of its centre from there stays.
    assert torch.allclose((mean_x**2 + mean_y**2).sqrt(), torch.full((16,), 6.0), atol=0.1)
    assert mean_y.abs().max() > 3


def test_a_crop_that_never_fits_becomes_the_whole_frame_as_in_torchvision() -> None:
    """USF-MAE asks for 0.5 to 2 times the area: the fact file's simulation of torchvision's rule."""
    torch.manual_seed(0)
    asked = {"crop_area": (0.5, 2.0), "crop_ratio": (3 / 4, 4 / 3), "crop_overflow": "whole"}
    matrices = random_affine(20_000, only(**asked))[:, :, :2]
    area = torch.linalg.det(matrices).abs()
    whole = area > 1 - 1e-6
    assert whole.float().mean() == pytest.approx(0.057, abs=0.005)
    assert area[~whole].mean() == pytest.approx(0.69, abs=0.005)
    assert area[~whole].min() >= 0.5 - 1e-6
    sides = matrices.abs().amax(dim=2)  # (n, 2): height, width
    assert sides.max() <= 1


def test_a_frame_turned_before_it_is_cropped_moves_the_crop_with_it() -> None:
    """Where the crop lies off the centre, turning about the frame's centre moves it, turning the crop not."""
    cropped = {"crop_area": (0.25, 0.25), "crop_ratio": (1, 1), "rotation_degrees": (90, 90)}
    places = {}
    for about in ("crop", "frame"):
        torch.manual_seed(0)
        places[about] = random_affine(8, only(**cropped, rotate_about=about))[:, :, 2]
    quarter_turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    assert torch.allclose(places["frame"], places["crop"] @ quarter_turn.T, atol=1e-6)


def test_rotation_stays_between_its_two_angles() -> None:
    torch.manual_seed(0)
    matrices = random_affine(2000, only(rotation_degrees=(0, 90)))
    angles = torch.rad2deg(torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert 0 <= angles.min() < 1
    assert 89 < angles.max() <= 90 + 1e-4


def test_part_of_a_batch_is_changed_as_it_is_in_the_whole_batch() -> None:
    """Each process takes its part: what it does to a frame must not depend on how many there are."""
    torch.manual_seed(0)
    frames, changes = make_frames(8), draw(8, Augmentation())
    assert torch.equal(change(frames, changes)[3:6], change(frames[3:6], changes[3:6]))
