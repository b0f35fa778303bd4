"""A tiny curated corpus, as docs/contracts.md describes it, with a class signal that is easy to learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from usfmae.settings.models import Encoder
from usfmae.settings.pretraining import PretrainRecipe
from usfmae.settings.tasks import Task
from usfmae.settings.training import Augmentation, Training

torch.set_num_threads(1)

ENCODER = Encoder(width=16, depth=2, heads=2, patch_size=4)
UNCHANGED = Augmentation(
    crop_area=(1, 1), crop_ratio=(1, 1), rotation_degrees=(0, 0), horizontal_flip=0, brightness=0, contrast=0
)
LABELS = ("normal", "cystic")


def training(**changes: Any) -> Training:
    return Training(**{"epochs": 3, "batch_size": 8, "learning_rate": 1e-3, "device": "cpu"} | changes)


def pretrain_recipe(**changes: Any) -> PretrainRecipe:
    values = {"title": "tiny", "encoder": "tiny", "corpus": "fake", "validation_fraction": 0.2}
    decoder = {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}
    return PretrainRecipe(**values | decoder | {"training": training()} | changes)


def task(**changes: Any) -> Task:
    values = {
        "title": "fake",
        "corpus": "fake",
        "datasets": ["neck"],
        "classes": {label: [label] for label in LABELS},
        "positive": "cystic",
        "split": {"kind": "grouped", "folds": 2, "holdout": 0.2, "validation": 0.25, "seed": 1},
    }
    return Task.model_validate(values | changes)


def write_dataset(
    corpus: Path, name: str, *, subjects: int = 24, frames_each: int = 2, size: int = 16, seed: int = 0
) -> pd.DataFrame:
    """Noise with a bright square `(size/4)`² in the upper half for `cystic`, in the lower for `normal`.

    The square is also the mask of all frames but the last. Returns the frames table, which ends with one
    dropped row.
    """
    rng = np.random.default_rng(seed)
    n, side = subjects * frames_each, size // 4
    frames = rng.integers(1, 120, (n, size, size), dtype=np.uint8)
    masks = np.zeros_like(frames)
    rows = []
    for i in range(n):
        subject, label = i // frames_each, LABELS[i // frames_each % 2]
        top = int(rng.integers(0, size // 2 - side)) + (size // 2 if label == "normal" else 0)
        left = int(rng.integers(0, size - side))
        frames[i, top : top + side, left : left + side] = 240
        masks[i, top : top + side, left : left + side] = i < n - 1
        rows.append(
            {
                "frame_id": f"{name}/s{subject}.png#{i % frames_each}",
                "source": f"s{subject}.png",
                "frame_index": i % frames_each,
                "subject": f"{name}/s{subject}",
                "label": label,
                "official_fold": None,
                "official_split": None,
                "has_mask": i < n - 1,
                "drop_reason": None,
            }
        )
    dropped = rows[-1] | {"frame_id": f"{name}/broken.png#0", "drop_reason": "unreadable: cut short"}
    table = pd.DataFrame([*rows, dropped])
    folder = corpus / name
    folder.mkdir(parents=True)
    np.save(folder / "frames.npy", frames)
    np.save(folder / "masks.npy", masks)
    table.to_parquet(folder / "frames.parquet")
    return table


def write_groups(corpus: Path, names: list[str], tied: dict[str, str] | None = None) -> pd.DataFrame:
    """`groups.parquet`: each subject is a group of its own, but `tied` subjects join the group of another."""
    tables = []
    for name in names:
        table = pd.read_parquet(corpus / name / "frames.parquet")
        table = table[table["drop_reason"].isna()].assign(dataset=name)
        tables.append(table[["frame_id", "dataset", "subject"]])
    groups = pd.concat(tables, ignore_index=True)
    groups["group"] = groups["subject"].replace(tied or {})
    groups.to_parquet(corpus / "groups.parquet")
    return groups


def make_corpus(tmp: Path, names: list[str], tied: dict[str, str] | None = None, **options: Any) -> Path:
    """The folder `<tmp>/results/corpus/fake` with datasets of different frames and their groups."""
    corpus = tmp / "results" / "corpus" / "fake"
    for seed, name in enumerate(names):
        write_dataset(corpus, name, seed=seed, **options)
    write_groups(corpus, names, tied)
    return corpus
