"""A tiny study on image files of its own, fine-tuned by the functions that the workflow calls."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import yaml

from usfmae.cli import CONFIG, CONFIG_FILES
from usfmae.corpus.curation.frames import curate
from usfmae.corpus.download.fetch import fetch
from usfmae.deployment.export import export
from usfmae.evaluation.folds import split_task
from usfmae.evaluation.predictions import read_predictions
from usfmae.evaluation.tables import statistics_tables
from usfmae.record import write_table
from usfmae.settings import Settings, load
from usfmae.training.finetune import finetune

STUDY: dict[str, Any] = {
    "study": {
        "title": "squares",
        "tasks": ["squares"],
        "models": ["tiny"],
        "reference": "tiny",
        "recipe": "tiny",
        "explain": {"recipe": "demo", "models": ["tiny"]},
    },
    "corpora": {"squares": {"datasets": ["squares"], "size": 32, "cleaning": "corrected"}},
    "datasets": {
        "squares": {
            "title": "Squares",
            "anatomy": "none",
            "access": {"host": "folder"},
            "licence": {"name": "CC-BY-NC-4.0", "use": "non_commercial"},
            "citation": "none",
            "table": {"file": "labels.csv", "frame": "file", "subject": "subject", "label": "label"},
        }
    },
    "encoders": {"tiny": {"width": 16, "depth": 2, "heads": 2, "patch_size": 8}},
    "models": {"tiny": {"title": "Tiny, from scratch", "encoder": "tiny"}},
    "recipes": {
        "finetune": {
            "tiny": {
                "title": "tiny",
                "augmentation": {
                    "crop_area": [1, 1],
                    "crop_ratio": [1, 1],
                    "rotation_degrees": [0, 0],
                    "horizontal_flip": 0,
                    "brightness": 0,
                    "contrast": 0,
                },
                "training": {"epochs": 40, "batch_size": 8, "learning_rate": 1.0e-2, "device": "cpu"},
            }
        }
    },
    "tasks": {
        "squares": {
            "title": "Upper or lower",
            "corpus": "squares",
            "datasets": ["squares"],
            "classes": {"lower": ["lower"], "upper": ["upper"]},
            "positive": "upper",
            "split": {"kind": "grouped", "folds": 2, "validation": 0.3},
            "notes": "A doubt that the card must name.",
        }
    },
}


def picture(rng: np.random.Generator, upper: bool) -> np.ndarray:
    """Speckle in a black border, uint8 (72, 90), with a bright square in one half."""
    frame = np.zeros((72, 90), np.uint8)
    inside = cv2.GaussianBlur(rng.integers(20, 130, (60, 70), dtype=np.uint8), (5, 5), 0)
    top = int(rng.integers(3, 12)) + (0 if upper else 30)
    left = int(rng.integers(5, 45))
    inside[top : top + 15, left : left + 15] = 230
    frame[6:66, 10:80] = inside
    return frame


def write_release(folder: Path, subjects: int = 80) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(3)
    rows = []
    for number in range(subjects):
        name, upper = f"s{number}.png", number % 2 == 1
        cv2.imwrite(str(folder / name), picture(rng, upper))
        rows.append({"file": name, "subject": number, "label": "upper" if upper else "lower"})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)


@dataclass(frozen=True)
class ExportedStudy:
    root: Path
    settings: Settings
    config: Path

    @property
    def release(self) -> Path:
        return self.root / "release"

    @property
    def run(self) -> Path:
        return self.folds[0]

    @property
    def folds(self) -> list[Path]:
        run = self.root / "results/finetune/squares/tiny/tiny/fraction-1/seed-0"
        return [run / "fold-0", run / "fold-1"]

    @property
    def exported(self) -> Path:
        return self.root / "results/export/squares/tiny"

    @property
    def summary(self) -> Path:
        return self.root / "results/statistics/squares/summary.csv"

    def predictions(self, role: str) -> pd.DataFrame:
        """The run's own rows of a role, with the path of each frame's file."""
        table = pd.read_parquet(self.run / "predictions.parquet")
        names = table["frame_id"].str.extract(r"/([^/]+)#0$")[0]
        table = table.assign(path=[str(self.release / name) for name in names])
        return table[table["role"] == role].reset_index(drop=True)

    def export(self, out: Path, settings: Settings | None = None) -> None:
        export(
            self.run,
            settings or self.settings,
            wildcards={"task": "squares", "model": "tiny"},
            summary=self.summary,
            out=out,
        )


def make_study(root: Path) -> ExportedStudy:
    write_release(root / "release")
    access = {"host": "folder", "folder": str(root / "release")}
    overlay = STUDY | {"datasets": {"squares": STUDY["datasets"]["squares"] | {"access": access}}}
    config = root / "study.yaml"
    config.write_text(yaml.safe_dump(overlay), encoding="utf-8")
    settings = load(*(CONFIG / f"{name}.yaml" for name in CONFIG_FILES), config)
    study = ExportedStudy(root, settings, config)
    task, corpus = settings.tasks["squares"], root / "results/corpus/squares"
    dataset, fetched = settings.datasets["squares"], root / "resources/squares"
    fetch("squares", dataset, fetched)
    curation = settings.corpora["squares"]
    table = curate("squares", dataset, curation, fetched / "fetched.json", corpus / "squares", workers=1)
    groups = table[["frame_id", "subject"]].assign(dataset="squares", group=table["subject"])
    groups.to_parquet(corpus / "groups.parquet")
    split_task("squares", task, corpus=corpus, out=root / "results/finetune/squares")
    for fold, out in enumerate(study.folds):
        finetune(
            task,
            settings.models["tiny"],
            settings.recipes.finetune["tiny"],
            wildcards={"task": "squares", "model": "tiny", "fraction": 1, "seed": 0, "fold": fold},
            encoder=settings.encoder_of("tiny"),
            corpus=corpus,
            folds=root / "results/finetune/squares/folds.parquet",
            weights=None,
            simulated=False,
            out=out,
        )
    tables = statistics_tables(
        read_predictions([run / "predictions.parquet" for run in study.folds]),
        classes=list(task.classes),
        positive=task.positive,
        primary=task.metric,
        resamples=100,
        seed=0,
        reference="tiny",
    )
    write_table(study.summary, tables["summary"])
    return study
