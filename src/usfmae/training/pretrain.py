"""Pretrains a masked autoencoder on a corpus."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from usfmae.models.checkpoints import save_weights
from usfmae.models.mae import MaskedAutoencoder, build_encoder
from usfmae.record import Run, atomic, sha256, write_table
from usfmae.settings.models import Encoder
from usfmae.settings.recipes import PretrainRecipe
from usfmae.training.augment import augment
from usfmae.training.batches import FrameStore, denormalise, epoch_order, normalise, step_seed, to_float
from usfmae.training.loop import TrainingError, Work, autocast, device_name, device_of, fit

#: Frames in the reconstruction figure.
SHOWN = 8


def pretrain(
    name: str,
    recipe: PretrainRecipe,
    encoder: Encoder,
    *,
    corpus: Path,
    evaluation_datasets: list[str],
    datasets: list[str],
    simulated: bool,
    out: Path,
    checkpoints: Path,
    folds: Path | None = None,
) -> None:
    """Writes `encoder.safetensors`, `mae.safetensors`, `history.parquet`, `reconstructions.npz` and
    `run.json` into `out`.

    Frames of `evaluation_datasets`, and frames in one group with any of them, are left out unless the
    recipe includes them; so are those that `folds` (the table of the task in `recipe.leave_out`) holds
    back. An interrupted run continues from `checkpoints`, which is removed at the end. Raises
    TrainingError where too few frames are left, or the fold to leave out is not there.
    """
    parameters = recipe.effective() | {"encoder": encoder.effective(), "encoder_name": recipe.encoder}
    run = Run("pretrain", out, wildcards={"recipe": name}, parameters=parameters)
    folders = [corpus / dataset for dataset in datasets]
    store = FrameStore(folders)
    tables = [corpus / "groups.parquet", *([folds] if folds else [])]
    inputs = [*tables, *(folder / "frames.npy" for folder in folders)]
    left_out = evaluation_datasets if recipe.evaluation_frames == "exclude" else []
    train, validation, excluded = pretraining_frames(
        pd.read_parquet(corpus / "groups.parquet"),
        left_out,
        recipe.validation_fraction,
        recipe.seed,
        held_back_frames(recipe, folds),
    )
    batch = recipe.training.batch_size
    if len(train) < batch or validation.empty:
        raise TrainingError(
            f"pretraining {name}: {len(train)} training and {len(validation)} validation frames are left, "
            f"a batch needs {batch}; {excluded} frames are left out because they belong to evaluation sets"
        )
    device = device_of(recipe.training)
    torch.manual_seed(recipe.seed)
    model = MaskedAutoencoder(
        build_encoder(size=store.size, channels=store.channels, **encoder.model_dump()),
        decoder_width=recipe.decoder_width,
        decoder_depth=recipe.decoder_depth,
        decoder_heads=recipe.decoder_heads,
        mask_ratio=recipe.mask_ratio,
        normalise_patches=recipe.normalise_patches,
    ).to(device)
    train_rows, validation_rows = store.rows(train), store.rows(validation)

    def step_loss(epoch: int, step: int) -> torch.Tensor:
        order = epoch_order(len(train_rows), recipe.seed, epoch)
        rows = train_rows[order[step * batch : (step + 1) * batch]]
        frames = normalise(augment(store.gather(rows).to(device), recipe.augmentation))
        with autocast(recipe.training, device):
            return model(frames)[0]

    history = fit(
        Work(
            model=model,
            steps=len(train_rows) // batch,
            batch=batch,
            step_loss=step_loss,
            after_epoch=lambda _: {
                "validation_loss": validation_loss(model, store, validation_rows, batch, recipe, device)
            },
        ),
        recipe.training,
        seed=recipe.seed,
        description=f"pretraining {name}",
        checkpoints=checkpoints / _identity(parameters, left_out, inputs),
    )
    save_weights(out / "encoder.safetensors", model.encoder.state_dict())
    save_weights(out / "mae.safetensors", model.state_dict())
    write_table(out / "history.parquet", history)
    _save_reconstructions(model, store, validation_rows, recipe, device, out / "reconstructions.npz")
    last = history.iloc[-1]
    run.finish(
        metrics={"train_loss": last["train_loss"], "validation_loss": last["validation_loss"]},
        counts={"train": len(train), "validation": len(validation), "left_out": excluded},
        inputs=inputs,
        outputs=[out / "encoder.safetensors", out / "mae.safetensors", out / "history.parquet"],
        simulated=simulated,
        device=device_name(device),
    )
    shutil.rmtree(checkpoints, ignore_errors=True)


def _identity(parameters: dict[str, Any], left_out: list[str], inputs: list[Path]) -> str:
    """Names the checkpoints of this recipe on these frames, so that no changed run continues an old one."""
    content = json.dumps([parameters, left_out, [sha256(path) for path in inputs]], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def held_back_frames(recipe: PretrainRecipe, folds: Path | None) -> pd.Series | tuple[str, ...]:
    """Ids of the frames that test or hold out in the fold that the recipe leaves out."""
    if recipe.leave_out is None:
        return ()
    if folds is None:
        raise TrainingError(
            f"the recipe leaves out a fold of {recipe.leave_out.task}: give its folds.parquet"
        )
    table = pd.read_parquet(folds)
    held_back = (table["fold"] == recipe.leave_out.fold) & table["role"].isin(["test", "holdout"])
    if not held_back.any():
        raise TrainingError(f"{folds}: there is no fold {recipe.leave_out.fold}, which the recipe leaves out")
    return table.loc[held_back, "frame_id"]


def pretraining_frames(
    groups: pd.DataFrame,
    left_out: list[str],
    validation_fraction: float,
    seed: int,
    held_back: pd.Series | tuple[str, ...] = (),
) -> tuple[pd.Series, pd.Series, int]:
    """(training frame ids, validation frame ids, number of frames left out).

    A group that touches a dataset of `left_out` or a frame of `held_back` is left out whole; validation
    is a share of the other groups.
    """
    touches = groups["dataset"].isin(left_out) | groups["frame_id"].isin(held_back)
    touched = groups.loc[touches, "group"].unique()
    free = groups[~groups["group"].isin(touched)]
    names = np.sort(free["group"].unique())
    np.random.default_rng(seed).shuffle(names)
    chosen = names[: max(1, round(validation_fraction * len(names)))]
    is_validation = free["group"].isin(chosen)
    excluded = len(groups) - len(free)
    return free.loc[~is_validation, "frame_id"], free.loc[is_validation, "frame_id"], excluded


@torch.inference_mode()
def validation_loss(
    model: MaskedAutoencoder,
    store: FrameStore,
    rows: np.ndarray,
    batch: int,
    recipe: PretrainRecipe,
    device: torch.device,
) -> float:
    """Mean masked loss over frames without augmentation, with the same masks at every epoch."""
    model.eval()
    total = 0.0
    for step, start in enumerate(range(0, len(rows), batch)):
        part = rows[start : start + batch]
        frames = normalise(to_float(store.gather(part).to(device)))
        with autocast(recipe.training, device):
            loss, _, _ = model(frames, _noise(model, len(part), recipe.seed, step).to(device))
        total += float(loss) * len(part)
    return total / len(rows)


def _noise(model: MaskedAutoencoder, n: int, seed: int, step: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step_seed(seed, 0, step))
    return torch.rand(n, model.encoder.patch_embed.num_patches, generator=generator)


def _save_reconstructions(
    model: MaskedAutoencoder,
    store: FrameStore,
    rows: np.ndarray,
    recipe: PretrainRecipe,
    device: torch.device,
    path: Path,
) -> None:
    """original, masked (masked patches −1) and reconstructed frames, float32 `(n, H, W)` grey."""
    model.eval()
    chosen = rows[np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).astype(int)]
    frames = normalise(to_float(store.gather(chosen).to(device)))
    noise = _noise(model, len(chosen), recipe.seed, 0).to(device)
    masked, filled = model.reconstruct(frames, noise)
    pictures = {
        "original": denormalise(frames),
        "masked": torch.where(masked == 0, -1.0, denormalise(masked)),
        "reconstructed": denormalise(filled),
    }
    with atomic(path) as temporary:
        arrays: dict[str, Any] = {name: frames.mean(1).cpu().numpy() for name, frames in pictures.items()}
        np.savez_compressed(temporary, **arrays)
