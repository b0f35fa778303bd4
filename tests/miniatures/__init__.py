"""A miniature of every dataset of OpenUS-46, written against the fact file and not against our readers.

`write_miniature(key, folder)` builds the release as its documentation describes it; `hosted` packs it as its
publisher does. Numbers of frames are made up; folders, names, formats, masks, tables and traps come from the
facts. Where the fact file is silent the choice is marked `chosen`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from miniatures import abdomen, breast, fetal, heart_and_lung, small_parts
from miniatures.hosts import archives_by_hand, hosted
from miniatures.release import Copy, Planted, Release

__all__ = ["KEYS", "SECOND_LAYOUTS", "Copy", "Planted", "archives_by_hand", "hosted", "write_miniature"]

BUILDERS: dict[str, Callable[[Release], None]] = {
    name: function
    for module in (abdomen, breast, fetal, heart_and_lung, small_parts)
    for name, function in vars(module).items()
    if getattr(function, "__module__", None) == module.__name__  # not what the module imports
    and not name.startswith("_")
    and list(getattr(function, "__annotations__", ())) == ["release", "return"]
}
SECOND_LAYOUTS = {"mmotu_2d_drive": "mmotu_2d"}
"""A further layout that the facts document → its dataset."""
KEYS = sorted(BUILDERS.keys() - SECOND_LAYOUTS.keys())


def write_miniature(key: str, folder: Path) -> Planted:
    """Writes the release of `key` into `folder` and returns what curation must find in it."""
    release = Release(key, folder)
    BUILDERS[key](release)
    return release.close()
