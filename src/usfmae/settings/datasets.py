"""`config/datasets.yaml`: one entry a dataset: where it comes from, what its files mean, who may use it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from usfmae.settings.access import Access, Count
from usfmae.settings.base import NO_EFFECT, Strict, Text


class Table(Strict):
    """The release's table (CSV, text list, spreadsheet, COCO or other JSON records) and which of its columns
    mean what. Column names are the release's own."""

    file: str
    """Path inside the release, or a pattern of several files with the same columns."""
    frame: str
    """Column that names the frame: its path or the end of it, with or without ending. Several columns:
    `{view}/{name}`."""
    subject: str | None = None
    label: str | None = None
    fold: str | None = None
    """Column of the official test fold."""
    split: str | None = None
    """Column of the official split."""
    join: dict[str, str] = {}
    """Further tables of the release, joined on the `frame` column: file → its column of that name."""
    columns: list[str] = []
    """Names of the columns where the file has no header."""
    path_pattern: str | None = None
    """Regular expression on the table's own path; its named groups become columns."""
    only: dict[str, str] = {}
    """Column → value of the rows that count; all others are left out."""
    required: bool = True
    """Whether the release is incomplete without it; if not, what it would say is unknown."""


class Licence(Strict):
    name: str
    """SPDX identifier, or the publisher's words; `unknown` where none is stated."""
    use: Literal["open", "non_commercial", "agreement", "unknown"] = "unknown"
    redistribution: bool | None = None
    """Whether images may be passed on; null: not known, treated as no."""
    derivatives: bool = True
    """Whether changed copies (extracted or cleaned frames) may be passed on."""
    conditions: Text | None = None
    """What passing on is bound to, in words."""


class Sampling(Strict):
    """Which frames of a video or volume are used: spread evenly over it, first and last included."""

    every: Annotated[int, Field(ge=1)] = 1
    """Smallest step between two frames."""
    at_most: Annotated[int, Field(ge=1)] | None = None
    """Largest number of frames of one video or volume."""


class Volume(Strict):
    """How a volume is cut into frames. Axes are those of the array as SimpleITK gives it (z, y, x)."""

    axis: Annotated[int, Field(ge=0, le=3)] = 0
    """The axis that frames are counted along."""
    flip: list[Annotated[int, Field(ge=0, le=1)]] = []
    """Axes of the frame that are turned round afterwards: 0 top and bottom, 1 left and right."""
    transpose: bool = False
    """Exchange the frame's rows and columns (before flipping)."""
    window: tuple[float, float] | None = None
    """Intensities that become 0 and 255; by default 8-bit values stay and others are stretched over the
    range of the whole volume."""


class Counts(Strict):
    """What the release holds, as published. Null: not known."""

    files: Count | None = None
    """Files that hold frames: images, videos or volumes."""
    subjects: Count | None = None
    frames: Count | None = None
    """Frames of all videos or volumes, before sampling."""
    labels: dict[str, Count] = {}
    """Files of each label."""


class Overlap(Strict):
    """What two datasets share, or one holds twice, before anybody has looked at the pictures."""

    expected: Literal["shared", "none", "unknown"]
    """`shared`: frames are; `none`: none among the files that are used; `unknown`: nobody can say."""
    frames: Annotated[int | None, Field(ge=1)] = None
    """Frames of this dataset with a copy in the other one; null: not known how many."""
    across_splits: bool = False
    """Of one dataset: the copies lie in different parts of its official split."""
    note: Text


class Dataset(Strict):
    """One dataset."""

    title: Text
    number: Annotated[int, Field(ge=1, le=46)] | None = None
    """Its place in OpenUS-46."""
    anatomy: Text
    page: Text | None = None
    """Where a person reads about it."""
    access: Access
    bytes: Annotated[Count | None, NO_EFFECT] = None
    """Size of the download."""
    unpacked_bytes: Annotated[Count | None, NO_EFFECT] = None
    """Size on disk after unpacking."""
    licence: Annotated[Licence, NO_EFFECT]
    citation: Text
    doi: Text | None = None
    media: Literal["image", "video", "volume", "mixed"] = "image"
    counts: Annotated[Counts, NO_EFFECT] = Counts()
    sampling: Sampling = Sampling()
    volume: Volume = Volume()
    array: str | None = None
    """Name of the array that holds the frames in an HDF5, MAT or NPZ file."""
    array_subject: str | None = None
    """Name of an array beside it, of one entry a frame: the frame's subject."""
    include: list[str] = ["**/*"]
    """Patterns of the files that hold frames, relative to the release."""
    exclude: list[str] = []
    """Patterns of files that do not (masks, thumbnails)."""
    masks: str | list[str] | None = None
    """Path of a frame's mask, with `{stem}`, `{name}`, `{folder}` and `{parent}` (the folder above) of the
    frame's own path; of several the first that exists. `mask_stem` can cut the stem."""
    mask_stem: str | None = None
    """Regular expression whose first group, found in the frame's stem, becomes `{stem}` in `masks`."""
    table: Table | None = None
    label_pattern: str | None = None
    """Where no table says it: regular expression whose groups, found in the path, are the label; several
    are joined by a hyphen."""
    label_names: dict[str, str] = {}
    """Label of the release → what it stands for, where the release writes a number or an abbreviation."""
    subject_pattern: str | None = None
    """Likewise for the subject. A frame without a subject is its own subject."""
    split_pattern: str | None = None
    """Likewise for the official split."""
    evaluation: bool = False
    """An evaluation set: left out of pretraining together with its duplicates."""

    in_usf_mae: Annotated[bool | None, NO_EFFECT] = None
    """Whether USF-MAE was pretrained on it; null: not known."""
    overlaps: Annotated[dict[str, Overlap], NO_EFFECT] = {}
    """Other dataset, or this one → what is known or suspected to be shared."""
    notes: Annotated[list[str], NO_EFFECT] = []
    """Known doubts and traps."""

    @property
    def simulated(self) -> bool:
        return self.access.host == "simulated"


class DatasetsFile(Strict):
    datasets: dict[str, Dataset] = {}
