"""`config/datasets.yaml`: one entry a dataset: where it comes from, what its files mean, who may use it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from usfmae.settings.base import Strict


class SimulatedAccess(Strict):
    """A release made by the simulator in `usfmae.corpus.phantom`."""

    host: Literal["simulated"]
    anatomy: Literal["kidney", "neck", "breast", "sweep"]
    """What is simulated; `sweep` mixes all three without labels."""
    subjects: dict[str, Annotated[int, Field(ge=1)]]
    """Number of subjects by class."""
    frames_per_subject: Annotated[int, Field(ge=1)] = 4
    difficulty: Annotated[float, Field(ge=0, le=1)] = 0.5
    """0: classes are far apart; 1: they overlap."""
    seed: int = 0
    defects: bool = True
    """Plant what real releases contain: burnt-in text, a corrupt file, duplicates, a missing row."""


class PackageAccess(Strict):
    """Files that an installed Python package ships."""

    host: Literal["package"]
    package: str
    """Import name, for example `pydicom`."""
    folder: str
    """Folder inside the package."""


class FolderAccess(Strict):
    """A folder that a person has put on this machine."""

    host: Literal["folder"]
    folder: str
    """Path of the folder; environment variables (`${DATA}`) are expanded."""


class Table(Strict):
    """The release's CSV, and which of its columns mean what. Column names are the release's own."""

    file: str
    """Path inside the release."""
    frame: str
    """Column that names the frame: its path, its file name, or its file name without ending."""
    subject: str | None = None
    label: str | None = None
    fold: str | None = None
    """Column of the official test fold."""
    split: str | None = None
    """Column of the official split."""
    join: dict[str, str] = {}
    """Further CSV files of the release, joined on the `frame` column: file → its column of that name."""


class Licence(Strict):
    name: str
    """SPDX identifier, or the publisher's words; `unknown` where none is stated."""
    use: Literal["open", "non_commercial", "agreement", "unknown"] = "unknown"
    redistribution: bool = False
    """Whether images may be passed on."""


class Dataset(Strict):
    """One dataset."""

    title: str
    anatomy: str
    access: Annotated[SimulatedAccess | PackageAccess | FolderAccess, Field(discriminator="host")]
    licence: Licence
    citation: str
    include: list[str] = ["**/*"]
    """Patterns of the files that hold frames, relative to the release."""
    exclude: list[str] = []
    """Patterns of files that do not (masks, thumbnails)."""
    masks: str | None = None
    """Path of a frame's mask, with `{stem}`, `{folder}` and `{name}` of the frame's own path. A
    regular expression can cut the stem: see `mask_stem`."""
    mask_stem: str | None = None
    """Regular expression whose first group, found in the frame's stem, becomes `{stem}` in `masks`."""
    table: Table | None = None
    label_pattern: str | None = None
    """Where no table says it: regular expression whose first group, found in the path, is the label."""
    subject_pattern: str | None = None
    """Likewise for the subject. A frame without a subject is its own subject."""
    evaluation: bool = False
    """An evaluation set: left out of pretraining together with its duplicates."""

    @property
    def simulated(self) -> bool:
        return self.access.host == "simulated"


class DatasetsFile(Strict):
    datasets: dict[str, Dataset] = {}
