"""Frames from the memory map to the device, in an order that depends on (seed, epoch) alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from usfmae.corpus.curated import read_corpus

#: ImageNet's channel means and deviations (0 to 1), which most published weights expect; grey: their mean.
MEAN = {1: (0.449,), 3: (0.485, 0.456, 0.406)}
STD = {1: (0.226,), 3: (0.229, 0.224, 0.225)}


class FrameStore:
    """Curated frames of several datasets, gathered by `frame_id` or position."""

    def __init__(self, folders: list[Path]) -> None:
        self.table, self._frames = read_corpus(folders)
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

    def gather(self, rows: np.ndarray) -> Tensor:
        """uint8 `(n, C, H, W)` of the given positions."""
        out = np.empty((len(rows), *self._frames[0].shape[1:]), dtype=np.uint8)
        which = np.searchsorted(self._starts, rows, side="right") - 1
        for dataset in np.unique(which):
            here = which == dataset
            out[here] = self._frames[dataset][rows[here] - self._starts[dataset]]
        frames = torch.from_numpy(out)
        return frames.permute(0, 3, 1, 2) if out.ndim == 4 else frames[:, None]


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


def _channel(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device).view(1, -1, 1, 1)


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of 0 … n−1 that depends on (seed, epoch) alone."""
    return np.random.default_rng([seed, epoch]).permutation(n)


def step_seed(seed: int, epoch: int, step: int) -> int:
    """A seed for everything random in one step: masks, augmentation, stochastic depth."""
    return int(np.random.SeedSequence([seed, epoch, step]).generate_state(1, np.uint64)[0] >> 1)
