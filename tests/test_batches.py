"""Batches: the right frame for each name, and an order that follows from the seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fake_corpus import write_dataset
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from usfmae.training.batches import (
    FrameStore,
    denormalise,
    epoch_order,
    normalise,
    step_seed,
    to_float,
)


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    for seed, (name, subjects) in enumerate({"neck": 3, "kidney": 1, "breast": 5}.items()):
        write_dataset(tmp_path, name, subjects=subjects, seed=seed)
    return [tmp_path / name for name in ("neck", "kidney", "breast")]


def test_frames_of_several_datasets_come_in_the_order_asked(folders: list[Path]) -> None:
    store = FrameStore(folders)
    truth = {}
    for folder in folders:
        for row, frame in enumerate(np.load(folder / "frames.npy")):
            truth[f"{folder.name}/s{row // 2}.png#{row % 2}"] = frame
    assert len(store) == len(truth) == 18
    asked = [*np.random.default_rng(0).permutation(sorted(truth)), "kidney/s0.png#1", "neck/s0.png#0"]
    frames = store.gather(store.rows(asked))
    assert frames.shape == (20, 1, 16, 16)
    assert frames.dtype == torch.uint8
    for name, frame in zip(asked, frames[:, 0].numpy(), strict=True):
        assert np.array_equal(frame, truth[name])


def test_colour_frames_have_their_channels_first(tmp_path: Path) -> None:
    table = write_dataset(tmp_path, "colour", subjects=2)
    frames = np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3), dtype=np.uint8)
    np.save(tmp_path / "colour" / "frames.npy", frames)
    store = FrameStore([tmp_path / "colour"])
    assert (store.size, store.channels) == (16, 3)
    gathered = store.gather(store.rows(table["frame_id"][2:4]))
    assert np.array_equal(gathered.numpy(), frames[2:4].transpose(0, 3, 1, 2))


def test_a_frame_that_the_corpus_lacks_is_named(folders: list[Path]) -> None:
    with pytest.raises(KeyError, match=r"no frame 'neck/s99\.png#0'"):
        FrameStore(folders).rows(["neck/s0.png#0", "neck/s99.png#0"])


def test_a_dropped_frame_is_no_frame_of_the_corpus(folders: list[Path]) -> None:
    with pytest.raises(KeyError, match=r"neck/broken\.png#0"):
        FrameStore(folders).rows(["neck/broken.png#0"])


@pytest.mark.parametrize("channels", [1, 3])
def test_denormalise_is_the_inverse_of_normalise(channels: int) -> None:
    frames = torch.rand(4, channels, 8, 8)
    assert torch.allclose(denormalise(normalise(frames)), frames, atol=1e-6)
    assert (denormalise(normalise(frames) + 100) == 1).all()
    assert (denormalise(normalise(frames) - 100) == 0).all()


def test_uint8_becomes_0_to_1() -> None:
    assert to_float(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.integers(1, 200), st.integers(0, 10**6), st.integers(0, 500))
def test_an_epochs_order_is_a_permutation_that_depends_on_seed_and_epoch_alone(
    n: int, seed: int, epoch: int
) -> None:
    order = epoch_order(n, seed, epoch)
    np.random.seed(epoch)  # noqa: NPY002 - the global state must not matter
    torch.manual_seed(epoch)
    assert np.array_equal(order, epoch_order(n, seed, epoch))
    assert np.array_equal(np.sort(order), np.arange(n))


def test_orders_of_other_epochs_and_seeds_differ() -> None:
    orders = {tuple(epoch_order(20, seed, epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_each_step_has_a_seed_of_its_own_that_torch_takes() -> None:
    seeds = {step_seed(s, e, i) for s in range(4) for e in range(30) for i in range(30)}
    assert len(seeds) == 4 * 30 * 30
    assert all(0 <= seed < 2**63 for seed in seeds)
    torch.manual_seed(max(seeds))
