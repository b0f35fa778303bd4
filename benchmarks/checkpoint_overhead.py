"""What one checkpoint and one resume an epoch cost.

    python -m benchmarks.checkpoint_overhead [--batch 8] [--threads 2]

First, ViT-B/16 MAE with its optimiser's state: seconds to save it (to the disk itself, fsync) and to restore
it, as a share of an epoch of 370,000 frames at the speed of a step measured here, in bf16; and the speed at
which the share would reach one per cent. Second, a small run of our whole loop: it stops by TERM at the end
of each epoch, with a checkpoint, and starts again from it; beside the same run without checkpoints, in turn.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.autoencoders import SHAPES, adamw, make_batch, make_ours, make_theirs, stepper
from benchmarks.measure import alternate, device, machine, ratio, table, wait
from usfmae.models.mae import MaskedAutoencoder, build_encoder
from usfmae.settings.training import Training
from usfmae.training.checkpointing import STOPPED, Checkpoints, Progress
from usfmae.training.loop import Work, fit
from usfmae.training.processes import Processes

#: Frames of OpenUS-46, as its README counts them.
EPOCH = 370_000


def large(shape: str, batch: int, rounds: int, folder: Path) -> dict[str, float]:
    """Medians: `step`, `save` and `restore` in seconds; `gigabytes` of a checkpoint."""
    theirs = make_theirs(shape)
    model = make_ours(theirs).to(device())
    frames, noise = make_batch(theirs, batch, device())
    optimiser = adamw(model)
    step = stepper(model, frames, noise, "bfloat16")
    states = Checkpoints(folder, model, optimiser)
    contenders: dict[str, Callable[[], object]] = {
        "step": lambda: step(optimiser),
        "save": lambda: states.save(Progress(step=1)),
        "restore": states.restore,
    }
    seconds = alternate(contenders, rounds)
    [file] = folder.iterdir()
    medians = {name: median(values) for name, values in seconds.items()}
    return medians | {"gigabytes": file.stat().st_size / 1e9}


def small_run(steps: int, epochs: int, folder: Path | None) -> int:
    """Trains a small autoencoder on noise; with a folder it stops and starts again at the end of each epoch.
    Gives the number of starts."""
    training = Training(epochs=epochs, batch_size=32, learning_rate=1e-3, checkpoint_minutes=1e9)
    seen: set[int] = set()
    starts = 0
    while True:
        starts += 1
        torch.manual_seed(0)
        encoder = build_encoder(size=64, channels=1, patch_size=8, width=96, depth=4, heads=4)
        shape = {"decoder_width": 64, "decoder_depth": 2, "decoder_heads": 4, "mask_ratio": 0.75}
        model = MaskedAutoencoder(encoder, **shape).to(device())  # type: ignore[arg-type]

        def loss(model: nn.Module, epoch: int, step: int, part: int) -> Tensor:
            found: Tensor = model(torch.randn(32, 1, 64, 64).to(device()))[0]
            return found

        def after_epoch(epoch: int, pause: Callable[[], None]) -> dict[str, float]:
            if folder is not None and epoch not in seen:
                seen.add(epoch)
                os.kill(os.getpid(), signal.SIGTERM)
                pause()
            return {}

        work = Work(model=model, steps=steps, batch=32, loss=loss, after_epoch=after_epoch)
        try:
            fit(work, training, seed=0, description="small", at=Processes(device()), checkpoints=folder)
        except SystemExit as stopped:
            if stopped.code != STOPPED or len(seen) < starts:  # a TERM that is not ours ends the benchmark
                raise
        else:
            wait()
            return starts


def small(steps: int, epochs: int, rounds: int) -> dict[str, float]:
    """Seconds of an epoch without checkpoints, and how many times as long one takes with a stop."""

    def stopped() -> None:
        with tempfile.TemporaryDirectory() as folder:
            assert small_run(steps, epochs, Path(folder)) == epochs + 1

    seconds = alternate({"none": lambda: small_run(steps, epochs, None), "stopped": stopped}, rounds)
    return {"epoch": median(seconds["none"]) / epochs, "ratio": ratio(seconds, "stopped", "none")}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="base")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60, help="of an epoch of the small run")
    parser.add_argument("--epochs", type=int, default=2, help="of the small run")
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    print(f"\n{machine()}\n")
    with tempfile.TemporaryDirectory() as folder:
        found = large(wanted.shape, wanted.batch, wanted.rounds, Path(folder))
    speed, cost = wanted.batch / found["step"], found["save"] + found["restore"]
    cells = [
        f"{found['gigabytes']:.2f} GB",
        f"{found['save']:.2f} s",
        f"{found['restore']:.2f} s",
        f"{speed:.1f}",
        f"{EPOCH / speed:,.0f} s",
        f"{cost * speed / EPOCH:.4%}",
        f"{EPOCH / 100 / cost:,.0f} images/s",
    ]
    columns = ["checkpoint", "save", "restore", "images/s", "an epoch", "share of it", "1 % at"]
    print(table(["MAE", *columns], [[wanted.shape, *cells]]), flush=True)
    run = small(wanted.steps, wanted.epochs, wanted.rounds)
    print(
        f"\nA small run with a stop, a checkpoint and a resume in each epoch of {run['epoch']:.1f} s takes "
        f"{run['ratio'] - 1:+.1%} of the time without. {machine()}"
    )


if __name__ == "__main__":
    main()
