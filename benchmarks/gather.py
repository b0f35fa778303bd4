"""Frames from the disk to the network, on one core: the memory map beside PNG files and webdataset.

    USFMAE_REAL_DATA=… python -m benchmarks.gather

Prints two Markdown tables and a line. First table: uint8 batches of 64 frames, 256 px, in random order; from
webdataset in the order of its tar, which is the best it can do. Second table: float32 batches after the
augmentation of USF-MAE's authors (US_data_loading.py), normalised, 224 px, three channels; their transforms
on a PNG folder, ours with the settings of `usfmae_published`. Speeds are frames for each second of processor
time, medians; the files are in the page cache. The line: the share of a step that the device waits for frames
in a pretraining with this corpus.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch
import webdataset
import yaml
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from benchmarks.frames import Frames, prepare
from benchmarks.measure import Seconds, alternate, device, machine, ratio, table
from usfmae.settings.models import Encoder
from usfmae.settings.pretraining import PretrainRecipe
from usfmae.settings.recipes import RecipesFile
from usfmae.settings.training import Augmentation, Training
from usfmae.training.augment import augment
from usfmae.training.batches import MEAN, STD, FrameStore, normalise, with_channels
from usfmae.training.pretrain import Job, pretrain

BATCH = 64
#: Batches in a round; ours is a hundred times as fast, and a round of it must be long enough to be timed.
BATCHES, OUR_BATCHES = 4, 200
#: Frames of each dataset in the pretraining that is watched for waiting.
FEW = 150
OURS, PNG, WEBDATASET = "memory map (ours)", "PNG, Pillow", "webdataset, tar of PNGs"


def decode(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def webdataset_batches(tar: Path, transform: Callable[[Image.Image], Tensor] | None = None) -> object:
    """Its documented way, in one process: uint8 `(64, H, W)`, or what `transform` makes of a Pillow image."""
    samples = webdataset.WebDataset(str(tar), shardshuffle=False).repeat()
    if transform is None:
        samples = samples.decode("l8").to_tuple("png")
    else:
        samples = samples.decode("pilrgb").to_tuple("png").map_tuple(transform)
    return iter(samples.batched(BATCH))


def authors_transform(size: int) -> Callable[[Image.Image], Tensor]:
    """USF-MAE's training transforms, in their order."""
    return transforms.Compose(
        [
            transforms.Resize((size, size), interpolation=InterpolationMode.NEAREST),
            transforms.RandomRotation((0, 90)),
            transforms.RandomHorizontalFlip(0.5),
            transforms.RandomVerticalFlip(0.5),
            transforms.RandomResizedCrop(size, scale=(0.5, 2.0)),
            transforms.ToTensor(),
            transforms.Normalize(MEAN[3], STD[3]),
        ]
    )


def published_augmentation() -> Augmentation:
    """Of the recipe that does what the authors' notebook does."""
    text = Path(__file__).parents[1].joinpath("config/recipes.yaml").read_text(encoding="utf-8")
    return RecipesFile.model_validate(yaml.safe_load(text)).recipes.pretrain["usfmae_published"].augmentation


def times(count: int, run: Callable[[], object]) -> None:
    """Lets go of each batch before the next, as training does: new memory costs a page fault each 4 kB."""
    for _ in range(count):
        run()


def plain(frames: Frames, rounds: int) -> Seconds:
    """Seconds of processor time for each frame, without augmentation."""
    store, rng, tar = FrameStore(frames.folders), np.random.default_rng(0), webdataset_batches(frames.tar)

    def rows() -> np.ndarray:
        return rng.integers(0, len(store), BATCH)

    contenders: dict[str, Callable[[], object]] = {
        OURS: lambda: times(OUR_BATCHES, lambda: store.gather(rows())),
        PNG: lambda: times(BATCHES, lambda: np.stack([decode(frames.pngs[i]) for i in rows()])),
        WEBDATASET: lambda: times(BATCHES, lambda: next(tar)),
    }
    return per_frame(contenders, rounds)


def augmented(frames: Frames, rounds: int, settings: Augmentation) -> Seconds:
    """Seconds of processor time for each frame, with the same augmentation on all sides."""
    store, rng = FrameStore(frames.folders), np.random.default_rng(0)
    transform = authors_transform(store.size)
    tar = webdataset_batches(frames.tar, transform)

    def authors() -> Tensor:
        return torch.stack(
            [transform(Image.open(frames.pngs[i]).convert("RGB")) for i in rng.integers(0, len(store), BATCH)]
        )

    def ours(channels: int) -> Tensor:
        images = augment(store.gather(rng.integers(0, len(store), BATCH)), settings)
        return normalise(with_channels(images, channels))

    assert ours(3).shape == authors().shape == (BATCH, 3, store.size, store.size)
    contenders: dict[str, Callable[[], object]] = {
        OURS: lambda: times(BATCHES, lambda: ours(3)),
        f"{OURS}, one channel": lambda: times(BATCHES, lambda: ours(1)),
        "authors' transforms, folder of PNGs": lambda: times(BATCHES, lambda: authors()),
        "authors' transforms, webdataset": lambda: times(BATCHES, lambda: next(tar)),
    }
    return per_frame(contenders, rounds)


def per_frame(contenders: dict[str, Callable[[], object]], rounds: int) -> Seconds:
    seconds = alternate(contenders, rounds, clock=time.process_time)
    batches = dict.fromkeys(contenders, BATCHES) | ({OURS: OUR_BATCHES} if PNG in contenders else {})
    return {name: [s / batches[name] / BATCH for s in values] for name, values in seconds.items()}


def show(seconds: Seconds) -> str:
    rows = [
        [name, f"{1 / median(values):,.0f}", f"{ratio(seconds, name, OURS):,.1f}"]
        for name, values in seconds.items()
    ]
    return table(["frames from", "frames/s, one core", "ours is faster by"], rows)


def waiting_share(frames: Frames, folder: Path, encoder: Encoder, augmentation: Augmentation) -> pd.Series:
    """The last epoch of a pretraining with this corpus: `waiting_share`, `images_per_second`."""
    training = Training(epochs=2, batch_size=BATCH, learning_rate=1e-3, precision="bfloat16")
    recipe = PretrainRecipe(
        title="ViT-Ti/16",
        encoder="tiny",
        corpus="benchmark",
        decoder_width=128,
        decoder_depth=2,
        decoder_heads=4,
        augmentation=augmentation,
        training=training,
    )
    out = folder / "results" / "pretrain" / "benchmark"
    job = Job(
        name="benchmark",
        recipe=recipe,
        encoder=encoder,
        corpus=frames.corpus,
        datasets=frames.datasets,
        evaluation_datasets=[],
        simulated=False,
        out=out,
        checkpoints=folder / "checkpoints",
    )
    pretrain(job)
    return pd.read_parquet(out / "history.parquet").iloc[-1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=1500, help="at most so many of each dataset")
    parser.add_argument("--rounds", type=int, default=9)
    wanted = parser.parse_args()
    published = published_augmentation()
    cores = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        torch.set_num_threads(1)
        for size in (256, 224):
            frames = prepare(Path(folder, str(size)), size, wanted.frames)
            megabytes = sum(path.stat().st_size for path in frames.pngs) / 1e6
            what = "uint8" if size == 256 else "float32, augmented"
            print(
                f"\n{len(frames.pngs):,} frames of {size} px (PNG: {megabytes:.0f} MB), {what}; "
                f"{machine('torchvision', 'pillow', 'webdataset', 'numpy')}\n"
            )
            run = plain(frames, wanted.rounds) if size == 256 else augmented(frames, wanted.rounds, published)
            print(show(run), flush=True)
        torch.set_num_threads(cores)
        few = prepare(Path(folder, "few"), 224, min(wanted.frames, FEW))
        encoder = Encoder(width=192, depth=12, heads=3, patch_size=16)
        epoch = waiting_share(few, Path(folder), encoder, published)
    print(
        f"\nPretraining ViT-Ti/16 in bf16 with the augmentation, {device().type}: "
        f"{epoch['images_per_second']:.0f} frames/s, {epoch['waiting_share']:.3%} of the time waiting for "
        f"frames; {machine()}"
    )


if __name__ == "__main__":
    main()
