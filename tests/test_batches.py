"""Batches: the right frame for each name, and an order that follows from the seed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_corpus import write_dataset
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from usfmae.training.batches import (
    Feeder,
    FrameStore,
    Place,
    denormalise,
    epoch_order,
    normalise,
    step_seed,
    to_float,
    weighted_order,
    with_channels,
)

CPU = torch.device("cpu")


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


def test_grey_as_colour_is_three_times_the_same_and_colour_as_grey_is_its_luma() -> None:
    grey = torch.rand(2, 1, 4, 4)
    colour = with_channels(grey, 3)
    assert colour.shape == (2, 3, 4, 4)
    assert all(torch.equal(colour[:, channel], grey[:, 0]) for channel in range(3))
    assert torch.allclose(with_channels(colour, 1), grey, atol=1e-6)
    red = torch.zeros(1, 3, 1, 1)
    red[:, 0] = 1
    assert with_channels(red, 1).item() == pytest.approx(0.299)
    for frames in (grey, colour):
        assert with_channels(frames, frames.shape[1]) is frames


SIZES = [400, 80, 20]
DATASETS = np.repeat([0, 1, 2], SIZES)


@hypothesis_settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 500))
def test_at_temperature_1_an_epoch_holds_each_frame_once(seed: int, epoch: int) -> None:
    order = weighted_order(DATASETS, 1, seed, epoch)
    assert np.array_equal(np.sort(order), np.arange(500))
    assert np.array_equal(order, epoch_order(500, seed, epoch))


@pytest.mark.parametrize(("temperature", "expected"), [(0, [167, 167, 166]), (0.5, [299, 134, 67])])
def test_a_temperature_below_1_draws_small_datasets_more_often(
    temperature: float, expected: list[int]
) -> None:
    """At 0 each as often as any other; at 0.5 as the roots of 400, 80 and 20 are to each other."""
    for epoch in range(3):
        order = weighted_order(DATASETS, temperature, 0, epoch)
        assert len(order) == 500
        assert np.bincount(DATASETS[order]) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("temperature", [0, 0.5])
def test_no_frame_comes_a_second_time_before_each_of_its_dataset_came_once(temperature: float) -> None:
    counts: Counter[int] = Counter()
    for epoch in range(7):
        counts.update(weighted_order(DATASETS, temperature, 3, epoch).tolist())
        for dataset in range(3):
            drawn = [counts[frame] for frame in np.flatnonzero(dataset == DATASETS)]
            assert max(drawn) - min(drawn) <= 1


def test_a_weighted_order_depends_on_seed_and_epoch_alone() -> None:
    orders = {(s, e): weighted_order(DATASETS, 0.5, s, e) for s in range(3) for e in range(3)}
    assert len({tuple(order) for order in orders.values()}) == 9
    np.random.seed(1)  # noqa: NPY002 - the global state must not matter
    assert all(
        np.array_equal(weighted_order(DATASETS, 0.5, *place), order) for place, order in orders.items()
    )


def test_the_datasets_of_a_weighted_order_are_mixed() -> None:
    first = DATASETS[weighted_order(DATASETS, 0, 0, 0)][:60]
    assert (np.bincount(first, minlength=3) > 8).all()


def frames_of(place: Place) -> torch.Tensor:
    return torch.tensor(place)


def following(place: Place) -> Place | None:
    """Two epochs of four steps."""
    epoch, step, _ = place
    number = 4 * epoch + step + 1
    return (*divmod(number, 4), 0) if number < 8 else None


def test_a_feeder_gives_what_is_asked_for_in_any_order() -> None:
    feeder = Feeder(frames_of, following, CPU)
    places = [(epoch, step, 0) for epoch in range(2) for step in range(4)]
    for asked in (places, places[::-1], [places[3], places[3], places[0], places[6]]):
        assert [tuple(feeder(place).tolist()) for place in asked] == asked
        assert len(feeder._pending) <= 2  # what is no longer on the way is let go


def test_a_feeder_gathers_each_part_once_and_ahead_of_the_asking() -> None:
    gathered: list[Place] = []
    ahead = threading.Event()

    def gather(place: Place) -> torch.Tensor:
        gathered.append(place)
        if place == (0, 2, 0):
            ahead.set()
        return frames_of(place)

    feeder = Feeder(gather, following, CPU)
    feeder((0, 0, 0))
    assert ahead.wait(10)  # two parts ahead, while nobody asks
    assert gathered == [(0, 0, 0), (0, 1, 0), (0, 2, 0)]
    for step in (1, 2, 3):
        feeder((0, step, 0))
    for step in range(4):
        feeder((1, step, 0))
    assert gathered == [(epoch, step, 0) for epoch in range(2) for step in range(4)]


def test_a_feeder_measures_how_long_it_was_waited_for() -> None:
    def slow(place: Place) -> torch.Tensor:
        time.sleep(0.1)
        return frames_of(place)

    feeder = Feeder(slow, following, CPU)
    feeder((0, 0, 0))
    assert 0.08 < feeder.waited() < 1
    assert feeder.waited() == 0
    time.sleep(0.5)  # the device works, and the next two parts are gathered
    feeder((0, 1, 0))
    assert feeder.waited() < 0.05


def test_what_goes_wrong_in_gathering_is_raised_where_the_part_is_asked_for() -> None:
    def gather(place: Place) -> torch.Tensor:
        if place == (0, 1, 0):
            raise OSError("the disk is gone")
        return frames_of(place)

    feeder = Feeder(gather, following, CPU)
    assert feeder((0, 0, 0)).tolist() == [0, 0, 0]
    with pytest.raises(OSError, match="the disk is gone"):
        feeder((0, 1, 0))
    assert feeder((0, 2, 0)).tolist() == [0, 2, 0]
