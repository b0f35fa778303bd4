"""What the model makes of a few fixed frames: kept at each epoch to look at, and at some for the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from usfmae.models.mae import MaskedAutoencoder
from usfmae.record import atomic
from usfmae.training.batches import denormalise

#: Frames that are shown.
SHOWN = 8
#: Epochs whose reconstructions are kept for the report, spread over the run; the last is among them.
KEPT = 12


class Reconstructions:
    """Fixed frames `(n, C, H, W)`, normalised, and fixed masks, reconstructed at each epoch.

    A panel for people lies in `folder/epoch-<e>.png`: original, masked and reconstructed, a row each. What
    the report needs is written by `save`.
    """

    def __init__(self, frames: Tensor, noise: Tensor, folder: Path, epochs: int) -> None:
        self.frames, self.noise, self.folder = frames, noise, folder
        self.kept = sorted({round(e) for e in np.linspace(0, epochs - 1, KEPT)})

    def show(self, model: MaskedAutoencoder, epoch: int) -> None:
        """Writes the panel of an epoch; where it is kept for the report, its arrays too."""
        model.eval()
        masked, filled = model.reconstruct(self.frames, self.noise)
        original = denormalise(self.frames)
        hidden = torch.where(masked == 0, 0.0, denormalise(masked))
        rows = [_row(pictures) for pictures in (original, hidden, denormalise(filled))]
        with atomic(self.folder / f"epoch-{epoch:04d}.png") as temporary:
            Image.fromarray(np.concatenate(rows)).save(temporary)
        if epoch in self.kept:
            with atomic(self.folder / f"epoch-{epoch:04d}.npz") as temporary:
                np.savez(
                    temporary,
                    original=_grey(original),
                    masked=_grey(torch.where(masked == 0, -1.0, denormalise(masked))),
                    reconstructed=_grey(denormalise(filled)),
                )

    def save(self, path: Path) -> None:
        """original, masked (masked patches −1) and reconstructed frames, float32 `(n, H, W)` grey, of the
        last epoch; `epochs` `(e,)` and `over_epochs` `(e, n, H, W)`, uint8, of those kept on the way."""
        parts = [np.load(self.folder / f"epoch-{epoch:04d}.npz") for epoch in self.kept]
        arrays: dict[str, Any] = {name: parts[-1][name] for name in parts[-1].files}
        arrays["epochs"] = np.array(self.kept)
        arrays["over_epochs"] = np.stack(
            [(255 * part["reconstructed"]).round().astype(np.uint8) for part in parts]
        )
        with atomic(path) as temporary:
            np.savez_compressed(temporary, **arrays)


def _grey(pictures: Tensor) -> np.ndarray:
    return np.asarray(pictures.mean(dim=1).cpu())


def _row(pictures: Tensor) -> np.ndarray:
    """uint8 `(H, n * W)`."""
    grey = np.asarray((255 * pictures.mean(dim=1)).round().byte().cpu())  # (n, H, W)
    return np.concatenate(list(grey), axis=1)
