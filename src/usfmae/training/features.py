"""Features of a frozen encoder: computed once for a task, read by every fold and seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from usfmae.models.classifiers import build_classifier
from usfmae.progress import progress
from usfmae.record import atomic, write_json, write_table
from usfmae.settings.models import Encoder, Model
from usfmae.settings.tasks import Task
from usfmae.training.batches import FrameStore, normalise, to_float
from usfmae.training.processes import TrainingError

#: Frames that go through the encoder at once.
BATCH = 64


def extract_features(
    task: Task,
    model: Model,
    *,
    encoder: Encoder | None,
    corpus: Path,
    folds: Path,
    weights: Path | None,
    seed: int,
    kind: Literal["pooled", "tokens"],
    out: Path,
) -> None:
    """Writes the features of all frames of a task, whole and unchanged, to `out` (`.npy`).

    `pooled`: float32 `(N, D)`, what the network's last layer sees. `tokens`: float16 `(N, T, D)`, the patches
    of the last block, or the cells of the last convolutional map. Beside it `.parquet`, the `frame_id` of
    each row, and `.json`, the fingerprint of the encoder. `seed` decides the weights of a model from scratch.
    Raises TrainingError where a feature is not finite.
    """
    store = FrameStore([corpus / dataset for dataset in task.datasets])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    network = build_classifier(
        model,
        encoder,
        classes=len(task.classes),
        size=store.size,
        channels=store.channels,
        weights=weights,
    )
    encoder_digest = fingerprint(network)
    network.to(device).eval()
    read = pooled if kind == "pooled" else tokens
    frame_ids = pd.read_parquet(folds)["frame_id"].drop_duplicates().sort_values(ignore_index=True)
    rows = store.rows(frame_ids)
    with atomic(out) as temporary:
        array = None
        starts = range(0, len(rows), BATCH)
        for start in progress(starts, description=f"{kind} features of {model.title}", unit="batch"):
            frames = normalise(to_float(store.gather(rows[start : start + BATCH]).to(device)))
            with torch.inference_mode():
                found = read(network, frames).cpu().numpy()
            if array is None:
                shape, kept = (len(rows), *found.shape[1:]), np.float32 if kind == "pooled" else np.float16
                array = np.lib.format.open_memmap(temporary, mode="w+", dtype=kept, shape=shape)
            array[start : start + BATCH] = found
            if not np.isfinite(array[start : start + BATCH]).all():
                raise TrainingError(
                    f"{model.title}: a feature of frame {frame_ids[start]} or later is not finite"
                )
        assert array is not None
        array.flush()
    write_table(out.with_suffix(".parquet"), frame_ids.to_frame())
    write_json(out.with_suffix(".json"), {"encoder": encoder_digest})


class Features:
    """Features by frame, memory-mapped."""

    def __init__(self, path: Path, network: nn.Module) -> None:
        """`network` is the model that the features must be of: else TrainingError is raised."""
        said = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["encoder"]
        if said != fingerprint(network):
            raise TrainingError(
                f"{path} was computed with other encoder weights than those of this fold and seed: delete "
                "it, and it is made again"
            )
        self.array = np.load(path, mmap_mode="r")
        ids = pd.read_parquet(path.with_suffix(".parquet"))["frame_id"]
        self._position = pd.Series(np.arange(len(ids)), index=ids)
        self._path = path

    def rows(self, frame_ids: pd.Series) -> np.ndarray:
        """Positions `(n,)` of frames. Raises KeyError naming one that was not there."""
        positions = self._position.reindex(frame_ids)
        if positions.isna().any():
            raise KeyError(
                f"{self._path} has no features of {positions.index[positions.isna()][0]!r}: delete it, "
                "and it is made again"
            )
        return positions.to_numpy(dtype=np.int64)

    def of(self, table: pd.DataFrame) -> np.ndarray:
        """float32 `(n, …)` of the rows of a table with `frame_id`."""
        return self.array[self.rows(table["frame_id"])].astype(np.float32)

    def as_they_are(self, rows: np.ndarray, device: torch.device) -> Tensor:
        """float32 `(n, …)` at these positions."""
        return torch.from_numpy(self.array[rows].astype(np.float32)).to(device)

    for_training = as_they_are  # what is cached cannot be augmented


def last_layer(network: nn.Module) -> nn.Linear:
    """The layer that turns pooled features into logits. Raises TrainingError where there is none."""
    find: Callable[[], nn.Module] = getattr(network, "get_classifier", nn.Identity)
    head = find()
    layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise TrainingError(f"{type(network).__name__}: no last linear layer was found, so nothing to probe")
    return layers[-1]


def pooled(network: nn.Module, frames: Tensor) -> Tensor:
    """`(n, D)`: what the last layer sees of frames `(n, C, H, W)`."""
    seen: list[Tensor] = []
    hook = last_layer(network).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        network(frames)
    finally:
        hook.remove()
    return seen[0].float()


def tokens(network: nn.Module, frames: Tensor) -> Tensor:
    """`(n, T, D)`: the patches of the last block without class and register tokens, or the cells of a map."""
    found: Tensor = network.forward_features(frames)  # type: ignore[operator]
    if found.ndim == 4 and getattr(network, "output_fmt", "NCHW") == "NHWC":  # (n, h, w, D)
        return found.flatten(1, 2).float()
    if found.ndim == 4:  # (n, D, h, w)
        return found.flatten(2).transpose(1, 2).float()
    prefix = int(getattr(network, "num_prefix_tokens", 0))
    return found[:, prefix:].float()


def fingerprint(network: nn.Module) -> str:
    """sha256 of all weights but the last layer's, which is new and random."""
    last = {id(parameter) for parameter in last_layer(network).parameters()}
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict(keep_vars=True).items()):
        if id(value) not in last:
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
