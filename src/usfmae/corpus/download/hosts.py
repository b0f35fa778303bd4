"""Where datasets come from: one function a host, found by the `host` of a dataset's `access`.

`LOCAL` hosts put the release on this machine's disk (or find it there) and return its folder. `REMOTE` hosts
(`usfmae.corpus.download.catalogues`) only say which files to fetch; all are then fetched the same way.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from usfmae.corpus.download import catalogues
from usfmae.corpus.download.catalogues import Catalogue, FileToFetch
from usfmae.corpus.download.unavailable import Unavailable
from usfmae.corpus.simulation.release import write_release
from usfmae.progress import progress
from usfmae.settings.access import FolderAccess, PackageAccess, SimulatedAccess


def simulated(access: SimulatedAccess, folder: Path) -> Path:
    """Simulates a release into `folder`, in place of what an earlier one left there."""
    shutil.rmtree(folder, ignore_errors=True)
    write_release(
        folder,
        anatomy=access.anatomy,
        subjects=access.subjects,
        frames_per_subject=access.frames_per_subject,
        difficulty=access.difficulty,
        seed=access.seed,
        defects=access.defects,
        progress=progress,
    )
    return folder


def package(access: PackageAccess, folder: Path) -> Path:
    """Finds the folder inside an installed package; nothing is copied."""
    try:
        spec = importlib.util.find_spec(access.package)
    except ModuleNotFoundError:  # the package around it is not there
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(f"the Python package {access.package!r} is not installed")
    return _local(Path(spec.submodule_search_locations[0]) / access.folder)


def own_folder(access: FolderAccess, folder: Path) -> Path:
    """Finds the folder that a person has put on this machine; nothing is copied."""
    return _local(expanded(access.folder or ""))


def expanded(folder: str) -> Path:
    """The path with `~` and `${VARIABLES}` filled in. A variable that is not set stays as it is written."""
    return Path(os.path.expandvars(folder)).expanduser()


def _local(folder: Path) -> Path:
    if not folder.is_dir():
        raise Unavailable(f"there is no folder {folder}; put the release there, or correct `access.folder`")
    return folder.resolve()


LOCAL: dict[str, Callable[[Any, Path], Path]] = {
    "simulated": simulated,
    "package": package,
    "folder": own_folder,
}
REMOTE: dict[str, Callable[[Any, Catalogue], list[FileToFetch]]] = {
    "http": catalogues.plain,
    "tcia": catalogues.plain,
    "zenodo": catalogues.zenodo,
    "figshare": catalogues.figshare,
    "mendeley": catalogues.mendeley,
    "github": catalogues.github,
    "google_drive": catalogues.google_drive,
    "kaggle_dataset": catalogues.kaggle_dataset,
    "kaggle_competition": catalogues.kaggle_competition,
}
