"""A training so small that tests run it many times: a tiny masked autoencoder, four steps an epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from fake_corpus import ENCODER, training
from torch import Tensor, nn

from usfmae.models.mae import MaskedAutoencoder, build_encoder
from usfmae.settings.training import Augmentation
from usfmae.training.augment import augment
from usfmae.training.batches import epoch_order, normalise
from usfmae.training.loop import Work, fit
from usfmae.training.processes import Processes

Result = tuple[pd.DataFrame, dict[str, Tensor]]
STEPS, BATCH = 4, 6
FRAMES = torch.randint(
    0, 256, (STEPS * BATCH, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


HERE = Processes(torch.device("cpu"))
#: Columns of the history that no two runs share.
MEASURED = ["images_per_second", "waiting_share", "utilisation", "memory_gb"]


def make_work(during: Callable[[int, int], None] = lambda _epoch, _step: None) -> Work:
    """A tiny masked autoencoder with all that is random in pretraining; `during` is called in each step."""
    torch.manual_seed(7)
    model = MaskedAutoencoder(
        build_encoder(size=16, channels=1, drop_path_rate=0.2, **ENCODER.model_dump()),
        decoder_width=16,
        decoder_depth=1,
        decoder_heads=2,
        mask_ratio=0.75,
    )

    def loss_of(model: nn.Module, epoch: int, step: int, _part: int) -> Tensor:
        during(epoch, step)
        rows = epoch_order(len(FRAMES), 3, epoch)[step * BATCH : (step + 1) * BATCH]
        loss: Tensor = model(normalise(augment(FRAMES[rows], Augmentation())))[0]
        return loss

    @torch.inference_mode()
    def after_epoch(_: int, pause: Callable[[], None]) -> dict[str, float]:
        model.eval()
        noise = torch.rand(4, 16, generator=torch.Generator().manual_seed(1))
        pause()
        return {"validation_loss": float(model(normalise(FRAMES[:4] / 255), noise)[0])}

    return Work(model, STEPS, BATCH, loss_of, after_epoch)


def run(work: Work, folder: Path | None, **changes: object) -> Result:
    history = fit(work, training(**changes), seed=3, description="test", at=HERE, checkpoints=folder)
    return history.drop(columns=MEASURED), work.model.state_dict()
