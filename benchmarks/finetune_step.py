"""Fine-tuning, images a second: ours beside the loop of timm's own training script.

    USFMAE_REAL_DATA=<folder> python -m benchmarks.finetune_step [--model resnet18] [--size 64] [--batch 32]

Both train the same network from the same weights with fused AdamW, on the same real frames in batches of
the same size. Theirs is train.py's step (forward, loss, backward, clipped gradient, optimiser, schedule) on
timm's `ImageDataset` and `create_loader`, which decode and augment frame by frame, in this process: once the
release's own files, and once PNG files that have the network's size already, which favours theirs. Ours is
`usfmae.training.loop.fit`: frames from the memory map, augmented a batch at a time. The last contender is
timm's step alone, on one batch in memory: what its loop would reach if frames cost nothing. `bf16` is the
recipe key `precision: bfloat16`, and `--amp --amp-dtype bfloat16` of train.py. With one thread
the seconds are processor time, which other jobs disturb less.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import timm
import torch
from timm.data import ImageDataset, create_loader
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn

from benchmarks.frames import Frames as Forms
from benchmarks.frames import prepare
from benchmarks.measure import Seconds, alternate, machine, ratio, table
from usfmae.settings.recipes import FinetuneRecipe
from usfmae.settings.tasks import Task
from usfmae.settings.training import Training
from usfmae.training.batches import FrameStore
from usfmae.training.loop import fit
from usfmae.training.processes import Processes
from usfmae.training.supervised import Frames, Trainer

OURS, OURS_BF16, STEP = "ours", "ours, bf16", "timm's step alone"
RELEASED, THEIRS = "timm's train.py, the release's files", "timm's train.py, files of the network's size"
RELEASED_BF16 = "timm's train.py in bf16, the release's files"
CLASSES = 2
#: Frames of the validation that ends an epoch of ours; theirs has none.
VALIDATED = 2


def compare(model: str, size: int, batch: int, steps: int, rounds: int, forms: Forms) -> Seconds:
    """Seconds that each contender takes for `steps` batches, a value a round."""
    cpu = torch.device("cpu")
    loop = Training(epochs=1, batch_size=batch, learning_rate=1e-4, device="cpu")
    frames = FrameStore(forms.folders)
    names = frames.table["frame_id"][: steps * batch + VALIDATED]
    target = np.arange(len(names)) % CLASSES
    rows = pd.DataFrame({"frame_id": names, "target": target, "label": np.array(["a", "b"])[target]})
    rows["role"] = ["train"] * (steps * batch) + ["validation"] * VALIDATED
    split = {"kind": "grouped", "folds": 2}
    classes = {"a": ["a"], "b": ["b"]}
    task = Task(title="", corpus="", datasets=[], classes=classes, positive="b", split=split)  # type: ignore[arg-type]

    def ours(training: Training) -> None:
        recipe = FinetuneRecipe(title="", training=training, class_weights=False)
        inputs = Frames(frames, recipe.augmentation)
        trainer = Trainer(network(model), inputs, rows, task, recipe, 0, cpu)
        fit(trainer.work(), training, seed=0, description="ours", at=Processes(cpu))

    def theirs(files: list[Path], bf16: bool = False) -> None:
        dataset = ImageDataset(str(forms.pngs[0].parents[1]), input_img_mode="L")
        dataset.reader.samples = [(str(path), i % CLASSES) for i, path in enumerate(files[: steps * batch])]
        loader = create_loader(
            dataset,
            (1, size, size),
            batch,
            is_training=True,
            mean=(0.449,),
            std=(0.226,),
            scale=(0.6, 1.0),
            color_jitter=(0.1, 0.1, 0.0),  # brightness, contrast: as ours
            num_workers=0,
            persistent_workers=False,
            use_prefetcher=False,
            device=cpu,
        )
        _train(network(model), loader, loop, bf16)

    inputs = torch.randn(batch, 1, size, size), torch.arange(batch) % CLASSES

    def alone() -> None:
        _train(network(model), [inputs] * steps, loop)

    one = torch.get_num_threads() == 1
    contenders: dict[str, Callable[[], object]] = {
        OURS: partial(ours, loop),
        OURS_BF16: partial(ours, loop.model_copy(update={"precision": "bfloat16"})),
        RELEASED: partial(theirs, forms.originals or forms.pngs),
        RELEASED_BF16: partial(theirs, forms.originals or forms.pngs, bf16=True),
        THEIRS: partial(theirs, forms.pngs),
        STEP: alone,
    }
    return alternate(contenders, rounds, clock=time.process_time if one else time.perf_counter)


def network(model: str) -> nn.Module:
    """The same weights each time."""
    torch.manual_seed(0)
    built: nn.Module = timm.create_model(model, num_classes=CLASSES, in_chans=1)
    return built.to(memory_format=torch.channels_last)


def _train(model: nn.Module, batches: object, loop: Training, bf16: bool = False) -> None:
    """One epoch as `train_one_epoch` of timm's train.py takes it, without its printing."""
    optimiser = create_optimizer_v2(
        model, opt="adamw", lr=loop.learning_rate, weight_decay=loop.weight_decay, fused=True
    )
    schedule = CosineLRScheduler(optimiser, t_initial=1000, t_in_epochs=False)
    criterion = nn.CrossEntropyLoss()
    model.train()
    batch: tuple[Tensor, Tensor]
    for number, batch in enumerate(batches):  # type: ignore[call-overload]
        frames, targets = batch
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = criterion(model(frames.contiguous(memory_format=torch.channels_last)), targets)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step_update(number)
        loss.item()


def show(seconds: Seconds, images: int) -> str:
    rows = []
    for name, values in seconds.items():
        faster = [f"{ratio(seconds, name, own):.2f}" for own in (OURS, OURS_BF16)]
        rows.append([name, f"{median(values):.2f}", f"{images / median(values):.0f}", *faster])
    return table(["training", "seconds", "images/s", "ours is so many times as fast", "ours in bf16"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    images = wanted.steps * wanted.batch
    with tempfile.TemporaryDirectory() as folder:
        forms = prepare(Path(folder) / "frames", wanted.size, images + VALIDATED)
        print(f"\n{wanted.model}, {wanted.size} px, batch {wanted.batch}; {machine('timm')}\n")
        seconds = compare(wanted.model, wanted.size, wanted.batch, wanted.steps, wanted.rounds, forms)
    print(show(seconds, images))
    print(f"\nAt the end: {machine()}")


if __name__ == "__main__":
    main()
