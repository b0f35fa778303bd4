"""The one error that is a result: a dataset cannot be had now."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable
from pathlib import Path

#: Errors of the operating system that mean: no room (EFBIG: a limit on the size of files).
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

#: What a person runs where the cause may have gone.
RETRY = "`snakemake retry`"


class Unavailable(Exception):
    """The dataset cannot be had now; the message says why and what a person can do.

    It goes into `fetched.json` as the reason, the dataset counts as empty, and the workflow goes on.
    """


class Damaged(Unavailable):
    """An archive is cut short, damaged or encrypted."""


def no_room(folder: Path) -> Unavailable:
    return Unavailable(f"the disk is full, or a quota used up, at {folder}: make room, then {RETRY}")


def too_large(archive: Path, limit: int) -> Unavailable:
    return Unavailable(
        f"{archive.name} unpacks to more than {limit / 1e9:.3g} GB, far more than expected, and was refused "
        "as a decompression bomb: if it is right, correct `unpacked_bytes` in the registry"
    )


def unavailable_datasets(resources: Path, datasets: Iterable[str]) -> dict[str, str]:
    """Dataset → why it could not be had, as its `fetched.json` below `resources` says; without the others."""
    found = {
        name: json.loads((resources / name / "fetched.json").read_text(encoding="utf-8")) for name in datasets
    }
    return {name: fetched["reason"] for name, fetched in found.items() if fetched["status"] != "available"}
