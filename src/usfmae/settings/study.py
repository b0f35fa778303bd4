"""`config/config.yaml`: which corpora, tasks, models and recipes a study runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from usfmae.settings.access import Download
from usfmae.settings.base import NO_EFFECT, Strict, Text
from usfmae.settings.declared import Declared
from usfmae.settings.models import Positive

#: Kinds of licence, as `licence.use` of a dataset says.
Use = Literal["open", "non_commercial", "agreement", "unknown"]


class Duplicates(Strict):
    """When two frames count as the same picture."""

    hamming: Annotated[int, Field(ge=0, le=32)] = 6
    """Candidates, besides nearest neighbours by descriptor: perceptual hashes (64 bits) that differ in at
    most this many bits in one of 8 orientations."""
    correlation: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Confirmed: correlation of the aligned frames' fine detail at least this at 128 px and more, and at
    64 px and less half-way from it to 1. Copies of real frames reach 0.6 to 1, other frames
    0.3, and frames taken moments apart of one patient 0.3 to 0.7."""
    model: str | None = None
    """A model with published weights, whose embeddings' nearest neighbours are candidates too; null: none. It
    takes a pass of each frame; where the weights cannot be had, the report says so."""


class Corpus(Strict):
    """Datasets curated in one way."""

    datasets: list[str]
    licences: Annotated[list[Use], NO_EFFECT] = ["open", "non_commercial", "agreement"]
    """Kinds of licence that are used; a dataset of another kind is left out, and the report says so."""
    size: Positive
    """Side of a curated frame in pixels."""
    channels: Literal[1, 3] = 1
    """1: grey; 3: colour."""
    resize: Literal["letterbox", "squash"] = "letterbox"
    """Keep the aspect ratio and pad with black, or stretch to the square."""
    crop: bool = True
    """Cut off the black border around the insonified area."""
    cleaning: Literal["none", "published", "corrected"] = "none"
    """Removal of burnt-in annotations: none, USF-MAE's published method, or strokes and graphics only."""
    interpolation: Literal["bilinear", "nearest"] = "bilinear"
    """How a frame is brought to size: anti-aliased, or by the nearest pixel as USF-MAE does."""
    duplicates: Duplicates = Duplicates()


class Explain(Strict):
    recipe: str
    models: list[str]
    """Models whose Score-CAM maps are made."""


class Embedding(Strict):
    """A map of the corpus as each pretrained encoder sees it."""

    frames: Annotated[int, Field(ge=0)] = 200
    """Frames of each dataset on the map, at most, drawn by the seed; 0: no map."""
    perplexity: Annotated[float, Field(gt=1)] = 30.0
    """Of t-SNE: about how many neighbours a frame has; at most a third of the frames."""
    seed: int = 0


class Study(Strict):
    """Everything a run of the workflow makes."""

    title: Text
    corpora: list[str] = []
    """Corpora to make besides those that the tasks and pretraining recipes use."""
    pretrain: list[str] = []
    """Pretraining recipes."""
    tasks: list[str]
    models: list[str]
    reference: str
    """The model that every other is compared with."""
    recipe: str
    """Fine-tuning recipe, the same for every model."""
    seeds: list[int] = [0]
    fractions: list[Annotated[float, Field(gt=0, le=1)]] = [1.0]
    """Shares of the training subjects used. With several, label efficiency is measured."""
    shortcuts: bool = False
    """Also judge the test frames without the lesion, in every task whose datasets have masks."""
    explain: Explain
    embedding: Embedding = Embedding()
    declared: Annotated[Declared, NO_EFFECT] = Declared()
    """What only a person can say; the reporting checklists print it."""


class Statistics(Strict):
    resamples: Annotated[int, Field(ge=100)] = 10_000
    """Draws of the subject-cluster bootstrap, and swaps of the permutation test."""
    seed: int = 0
    rope: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Half the width of the region of practical equivalence, in the primary metric's unit."""


class Tracking(Strict):
    log_weights: bool = False
    """Copy weights into MLflow instead of naming them by path and sha256."""


class StudyFile(Strict):
    study: Study
    corpora: dict[str, Corpus]
    download: Annotated[Download, NO_EFFECT] = Download()
    statistics: Statistics = Statistics()
    tracking: Tracking = Tracking()
