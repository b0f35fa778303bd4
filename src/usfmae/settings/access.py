"""Where a dataset comes from: one model a host, told apart by the key `host`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from usfmae.settings.base import NO_EFFECT, Strict, Text

Count = Annotated[int, Field(ge=0)]


class SimulatedAccess(Strict):
    """A release made by the simulator in `usfmae.corpus.simulation.phantom`."""

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


class RemoteFile(Strict):
    """One file as its publisher offers it."""

    name: str
    """Name it is stored under, below `resources/<dataset>/archives/`."""
    url: str | None = None
    """Address; needed where the host has no catalogue of its own (`http`)."""
    id: str | None = None
    """The host's own number or key of the file (figshare, Google Drive)."""
    bytes: Count | None = None
    md5: str | None = None
    sha256: str | None = None
    """Checksums as published; where there is none, the first download pins it."""
    repacked: bool = False
    """The server packs the archive anew at each download: what it holds is compared, not its own bytes."""
    documented: Annotated[bool, NO_EFFECT] = True
    """Whether the address was read in published code or documentation, or put together from a pattern."""


class Remote(Strict):
    """What all hosts have in common that are reached over a network."""

    files: list[RemoteFile] = []
    """The files to fetch. Empty: every file that the host lists."""
    account: Text | None = None
    """Account or token that the host asks for."""
    instructions: Text | None = None
    """What a person must do where the download cannot be had without one."""


class HttpAccess(Remote):
    """Plain addresses, each with its own `url`."""

    host: Literal["http"]


class TciaAccess(Remote):
    """The Cancer Imaging Archive: files of a collection on its web server, each with its own `url`."""

    host: Literal["tcia"]
    collection: str


class ZenodoAccess(Remote):
    host: Literal["zenodo"]
    record: int


class FigshareAccess(Remote):
    """A public article; a file without its article is named by `id`."""

    host: Literal["figshare"]
    article: int | None = None


class MendeleyAccess(Remote):
    host: Literal["mendeley"]
    dataset: str
    """Key of the dataset, for example `3ksd7w7jkx`."""
    version: Annotated[int, Field(ge=1)]


class GithubAccess(Remote):
    """The archive of a repository at one commit (or branch, where no commit is known)."""

    host: Literal["github"]
    repository: str
    """`owner/name`."""
    commit: str


class GoogleDriveAccess(Remote):
    """Public files by `id`, or all files of a public folder."""

    host: Literal["google_drive"]
    folder: str | None = None


class KaggleDatasetAccess(Remote):
    host: Literal["kaggle_dataset"]
    dataset: str
    """`owner/name`."""


class KaggleCompetitionAccess(Remote):
    """A competition's data; its rules must have been accepted in a browser once."""

    host: Literal["kaggle_competition"]
    competition: str


class FolderAccess(Strict):
    """Files that a person has put on this machine."""

    host: Literal["folder"]
    folder: str | None = None
    """Path of the release; environment variables (`${DATA}`) are expanded. It is used where it lies. By
    default `resources/<dataset>/archives/`, whose archives are unpacked."""
    files: list[RemoteFile] = []
    """The archives that belong there, where their names are known."""
    account: Text | None = None
    instructions: Text | None = None
    """How a person gets the files."""


Access = Annotated[
    SimulatedAccess
    | PackageAccess
    | FolderAccess
    | HttpAccess
    | TciaAccess
    | ZenodoAccess
    | FigshareAccess
    | MendeleyAccess
    | GithubAccess
    | GoogleDriveAccess
    | KaggleDatasetAccess
    | KaggleCompetitionAccess,
    Field(discriminator="host"),
]


class Download(Strict):
    """How the network is used."""

    keep_archives: bool = True
    """Keep downloaded archives beside what they unpack to."""
    at_once: Annotated[int, Field(ge=1, le=3)] = 3
    """Transfers at once from one host, counted over all jobs on this machine."""
    attempts: Annotated[int, Field(ge=1)] = 5
    """How often a broken transfer is taken up again before the dataset counts as unavailable."""
    mirrors: dict[str, str] = {}
    """Base address → the one to use in its place, for an institution's mirror: `https://zenodo.org: …`."""
