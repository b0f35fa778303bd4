"""Frames from the memory map to the device, in an order that depends on (seed, epoch) alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from usfmae.corpus.curated import read_corpus
from usfmae.models.channels import MEAN, STD

#: Weights of red, green and blue in grey (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)

Place = tuple[int, int, int]
"""Epoch, step, part."""


class FrameStore:
    """Curated frames of several datasets, gathered by `frame_id` or position."""

    def __init__(self, folders: list[Path]) -> None:
        self.table, maps = read_corpus(folders)
        self._frames = [np.asarray(frames) for frames in maps]  # plain arrays on the maps: faster to index
        sizes = [len(frames) for frames in self._frames]
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._position = pd.Series(np.arange(len(self.table)), index=self.table["frame_id"])
        shape = self._frames[0].shape
        self.size, self.channels = int(shape[1]), 3 if len(shape) == 4 else 1

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows(self, frame_ids: pd.Series | list[str]) -> np.ndarray:
        """Positions `(n,)` of frames. Raises KeyError naming one that the corpus does not hold."""
        positions = self._position.reindex(list(frame_ids))
        if positions.isna().any():
            absent = positions.index[positions.isna()][0]
            raise KeyError(f"the corpus holds no frame {absent!r}: run `snakemake corpus` again")
        return positions.to_numpy(dtype=np.int64)

    def dataset_of(self, rows: np.ndarray) -> np.ndarray:
        """Number `(n,)` of the folder that each position lies in."""
        return np.searchsorted(self._starts, rows, side="right") - 1

    def gather(self, rows: np.ndarray) -> Tensor:
        """uint8 `(n, C, H, W)` of the given positions."""
        out = np.empty((len(rows), *self._frames[0].shape[1:]), dtype=np.uint8)
        which = self.dataset_of(rows)
        own = rows - self._starts[which]  # positions in their datasets
        for place, (dataset, row) in enumerate(zip(which.tolist(), own.tolist(), strict=True)):
            out[place] = self._frames[dataset][row]
        frames = torch.from_numpy(out)
        return frames.permute(0, 3, 1, 2) if out.ndim == 4 else frames[:, None]


class Feeder:
    """Gathers the next parts while the device works on this one, and measures how long it had to wait."""

    def __init__(
        self,
        gather: Callable[[Place], Tensor],
        following: Callable[[Place], Place | None],
        device: torch.device,
        *,
        ahead: int = 2,
    ) -> None:
        """`gather` gives the frames of a place; `following` the place after it, None after the last one."""
        self._gather, self._following, self._device, self._ahead = gather, following, device, ahead
        self._pool = ThreadPoolExecutor(1)
        self._pending: dict[Place, Future[Tensor]] = {}
        self._seconds = 0.0

    def __call__(self, place: Place) -> Tensor:
        """The frames of a place, on their way to the device."""
        wanted: list[Place] = [place]
        while len(wanted) <= self._ahead and (after := self._following(wanted[-1])) is not None:
            wanted.append(after)
        for other in self._pending.keys() - set(wanted):
            self._pending.pop(other).cancel()
        for one in wanted:
            if one not in self._pending:
                self._pending[one] = self._pool.submit(self._prepare, one)
        started = time.monotonic()
        frames = self._pending.pop(place).result()
        self._seconds += time.monotonic() - started
        return frames.to(self._device, non_blocking=True)

    def forget(self) -> None:
        """Drops what was gathered ahead: from now on places mean other parts."""
        for future in self._pending.values():
            future.cancel()
        self._pending.clear()

    def waited(self) -> float:
        """Seconds waited since this was last asked."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _prepare(self, place: Place) -> Tensor:
        frames = self._gather(place)
        return frames.pin_memory() if self._device.type == "cuda" and not frames.is_cuda else frames


def to_float(frames: Tensor) -> Tensor:
    """uint8 `(n, C, H, W)` → float32 in 0 to 1."""
    return frames.float() / 255.0


def normalise(frames: Tensor) -> Tensor:
    """float32 `(n, C, H, W)` in 0 to 1, with the channel means and deviations taken out."""
    mean, std = (_channel(values[frames.shape[1]], frames) for values in (MEAN, STD))
    return (frames - mean) / std


def denormalise(frames: Tensor) -> Tensor:
    """The inverse of `normalise`, clipped to 0 to 1."""
    mean, std = (_channel(values[frames.shape[1]], frames) for values in (MEAN, STD))
    return (frames * std + mean).clamp(0, 1)


def with_channels(frames: Tensor, channels: int) -> Tensor:
    """float32 `(n, C, H, W)` in 0 to 1 as `(n, channels, H, W)`: grey three times over, or colour as grey."""
    if frames.shape[1] == channels:
        return frames
    if channels == 3:
        return frames.expand(-1, 3, -1, -1)
    return (frames * _channel(LUMA, frames)).sum(dim=1, keepdim=True)


def _channel(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device).view(1, -1, 1, 1)


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of 0 … n−1 that depends on (seed, epoch) alone."""
    return np.random.default_rng([seed, epoch]).permutation(n)


def weighted_order(datasets: np.ndarray, temperature: float, seed: int, epoch: int) -> np.ndarray:
    """`(n,)` numbers from 0 to n−1, an epoch in which a dataset of m frames is drawn m ** temperature times
    in proportion. `datasets`: `(n,)`, the dataset of each frame.

    A dataset's frames come in one permutation after the other, over all epochs, so none is drawn a second
    time before each was drawn once. Depends on (seed, epoch) alone.
    """
    names, sizes = np.unique(datasets, return_counts=True)
    if temperature == 1 or len(names) == 1:
        return epoch_order(len(datasets), seed, epoch)
    exact = len(datasets) * sizes**temperature / (sizes**temperature).sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact)[: len(datasets) - counts.sum()]] += 1  # the largest remainders
    parts = []
    for name, size, count in zip(names, sizes, counts, strict=True):
        own = np.flatnonzero(datasets == name)
        places = np.arange(epoch * count, (epoch + 1) * count)
        rounds = range(places[0] // size, places[-1] // size + 1) if count else range(0)
        orders = [np.random.default_rng([seed, int(name), r]).permutation(size) for r in rounds]
        if count:
            parts.append(own[np.concatenate(orders)[places - rounds[0] * size]])
    chosen = np.concatenate(parts)
    return chosen[epoch_order(len(chosen), seed, epoch)]


def step_seed(seed: int, epoch: int, step: int) -> int:
    """A seed for everything random in one step: masks, augmentation, stochastic depth."""
    return int(np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)[0] >> 1)
