"""A fine-tuned model with all that it needs to judge an image file, in memory and as a folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from usfmae.corpus.curation.source import curated_frames
from usfmae.corpus.readers import ReadOptions
from usfmae.corpus.releases.layout import TEXT_ENDINGS, Source, release_files
from usfmae.deployment.distance import FeatureDistance
from usfmae.evaluation.calibration import calibrated
from usfmae.evaluation.estimates import probability_columns
from usfmae.evaluation.metrics import predict
from usfmae.models.channels import MEAN, STD
from usfmae.models.checkpoints import load_weights, save_weights
from usfmae.models.classifiers import build_classifier
from usfmae.record import write_json
from usfmae.settings.datasets import Volume
from usfmae.settings.models import Encoder, Model
from usfmae.settings.study import Corpus
from usfmae.training.batches import normalise, to_float
from usfmae.training.features import last_layer, pooled

#: Frames in a forward pass.
BATCH = 32


class ModelError(ValueError):
    """A folder holds no model that can be used; the message says why and what to do."""


@dataclass(frozen=True)
class Predictor:
    """What judges an image: how it becomes a frame, the network, and how its output is read."""

    model: Model
    encoder: Encoder | None
    corpus: Corpus
    """Size, channels, crop, cleaning: as the training frames were made."""
    reading: ReadOptions
    """How volumes and arrays of the training data were read; all frames of a file are."""
    classes: list[str]
    positive: str | None
    threshold: float | None
    """Of two classes: `positive` is predicted from this probability on. Fixed on the validation frames."""
    temperature: float
    """Fitted on the validation frames."""
    distance: FeatureDistance
    network: nn.Module

    @property
    def columns(self) -> list[str]:
        """The columns of `predict`."""
        judged = ["predicted", "confidence", "distance", "out_of_distribution", "problem"]
        return ["path", "frame", *probability_columns(self.classes), *judged]

    def predict(self, files: Iterable[Path]) -> Iterator[pd.DataFrame]:
        """Tables of at most 32 rows, a row a frame of the files, in their order; columns as in `columns`.

        `probability_<class>` are the network's, as in `predictions.parquet`; `predicted` goes by the
        threshold; `confidence` is the calibrated probability of the predicted class; `distance` as in
        `FeatureDistance`. A file or frame that cannot be judged is a row with a `problem` and no numbers.
        """
        rows = (row for file in files for row in self._rows(file))
        while batch := list(islice(rows, BATCH)):
            table = pd.DataFrame([row for row, _ in batch])
            frames = [frame for _, frame in batch if frame is not None]
            if frames:
                judged = self.judge(np.stack(frames)).set_index(table.index[table["problem"].isna()])
                table = table.join(judged)
            yield table.reindex(columns=self.columns)

    def judge(self, frames: np.ndarray) -> pd.DataFrame:
        """The columns of `predict` but path, frame and problem, for frames as curated: uint8 `(n, S, S)` or
        `(n, S, S, 3)`."""
        stacked = torch.from_numpy(frames)
        probabilities, features = forward(
            self.network, stacked[:, None] if frames.ndim == 3 else stacked.permute(0, 3, 1, 2)
        )
        codes = predict(probabilities, self.classes, self.positive, self.threshold)
        distances = self.distance(features)
        return pd.DataFrame(probabilities, columns=probability_columns(self.classes)).assign(
            predicted=np.array(self.classes, dtype=object)[codes],
            confidence=calibrated(probabilities, self.temperature)[np.arange(len(codes)), codes],
            distance=distances,
            out_of_distribution=distances > self.distance.threshold,
        )

    def _rows(self, file: Path) -> Iterator[tuple[dict[str, Any], np.ndarray | None]]:
        """(path, frame number and problem, the frame as curated or None) for each frame of a file."""
        source = Source(str(file), exists=file.is_file())
        for row, arrays in curated_frames("", source, Path(), self.corpus, self.reading, lambda _: None):
            told = {"path": str(file), "frame": row["frame_index"], "problem": row["drop_reason"]}
            yield told, arrays[0] if arrays else None

    def save(self, folder: Path) -> None:
        """Writes what `load` reads. No file of it holds code."""
        channels = self.corpus.channels
        write_json(
            folder / "model.json",
            {"model": self.model.model_dump(), "encoder": self.encoder and self.encoder.model_dump()},
        )
        normalisation = {"mean": MEAN[channels], "std": STD[channels]}
        reading = {"volume": self.reading.volume.model_dump(), "array": self.reading.array}
        write_json(
            folder / "preprocessing.json",
            {"corpus": self.corpus.effective(), "reading": reading, "normalisation": normalisation},
        )
        write_json(folder / "labels.json", {"classes": self.classes, "positive": self.positive})
        write_json(
            folder / "decision.json",
            {
                "threshold": self.threshold,
                "temperature": self.temperature,
                "distance_threshold": self.distance.threshold,
            },
        )
        save_weights(folder / "model.safetensors", self.network.state_dict())
        statistics = {"means": self.distance.means, "precision": self.distance.precision}
        save_weights(
            folder / "features.safetensors", {key: torch.from_numpy(v) for key, v in statistics.items()}
        )

    @classmethod
    def load(cls, folder: Path) -> Predictor:
        """From what `save` wrote. Raises ModelError where a file is missing."""
        try:
            told = {
                name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
                for name in ("model", "preprocessing", "labels", "decision")
            }
            statistics = load_file(folder / "features.safetensors")
        except FileNotFoundError as error:
            raise ModelError(f"{folder} is not a whole export: {error.filename} is missing") from None
        corpus, classes = Corpus.model_validate(told["preprocessing"]["corpus"]), told["labels"]["classes"]
        reading = told["preprocessing"]["reading"]
        model = Model.model_validate(told["model"]["model"])
        encoder = told["model"]["encoder"] and Encoder.model_validate(told["model"]["encoder"])
        decision = told["decision"]
        return cls(
            model=model,
            encoder=encoder,
            corpus=corpus,
            reading=ReadOptions(volume=Volume.model_validate(reading["volume"]), array=reading["array"]),
            classes=classes,
            positive=told["labels"]["positive"],
            threshold=decision["threshold"],
            temperature=decision["temperature"],
            distance=FeatureDistance(**statistics, threshold=decision["distance_threshold"]),
            network=trained_network(folder / "model.safetensors", model, encoder, corpus, len(classes)),
        )


def trained_network(
    weights: Path, model: Model, encoder: Encoder | None, corpus: Corpus, classes: int
) -> nn.Module:
    """The classifier with its fine-tuned weights, ready to judge. Raises ModelError where they do not fit."""
    network = build_classifier(
        model.model_copy(update={"weights": "scratch", "pretrain": None, "checkpoint": None}),
        encoder,
        classes=classes,
        size=corpus.size,
        channels=corpus.channels,
    )
    try:
        network.load_state_dict(load_weights(weights))
    except RuntimeError as error:
        raise ModelError(
            f"{weights} does not fit the model it should be, {model.title}: the run was made with other "
            f"settings, or by a protocol that does not keep a whole classifier. {error}"
        ) from None
    return network.to("cuda" if torch.cuda.is_available() else "cpu").eval()


@torch.inference_mode()
def forward(network: nn.Module, frames: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities `(n, classes)`, float64, and the last layer's input `(n, D)`, of uint8 `(n, C, S, S)`."""
    device = next(network.parameters()).device
    features = pooled(network, normalise(to_float(frames.to(device))))
    probabilities = last_layer(network)(features).softmax(dim=1)
    return probabilities.cpu().numpy().astype(np.float64), features.cpu().numpy()


def image_files(paths: Iterable[Path]) -> list[Path]:
    """The files named, and those below the folders named, but for tables and texts; in order."""
    found: list[Path] = []
    for path in paths:
        inside = [path / name for name in release_files(path)] if path.is_dir() else [path]
        found += [p for p in inside if p == path or not p.name.lower().endswith(TEXT_ENDINGS)]
    return found
