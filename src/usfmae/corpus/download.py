"""Fetches one dataset and says in `fetched.json` what is there."""

from __future__ import annotations

import hashlib
import importlib.util
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from usfmae.corpus.hosts import HOSTS, Unavailable, expanded
from usfmae.corpus.layout import release_files
from usfmae.progress import progress
from usfmae.record import sha256, write_json
from usfmae.settings.access import FolderAccess, PackageAccess
from usfmae.settings.datasets import Dataset


def fetch(name: str, dataset: Dataset, folder: Path) -> dict[str, Any]:
    """Makes the release of `dataset` available and writes `folder/fetched.json`, which it returns.

    A dataset that cannot be had has `status: unavailable` and a `reason`; this never raises for it.
    """
    fetched: dict[str, Any] = {
        "dataset": name,
        "licence": dataset.licence.model_dump(),
        "date": datetime.now(UTC).date().isoformat(),
        "status": "available",
        "reason": None,
        "root": None,
        "files": [],
    }
    try:
        root = HOSTS[dataset.access.host](dataset.access, folder)
    except Unavailable as reason:
        fetched |= {"status": "unavailable", "reason": str(reason)}
    else:
        # A release inside the workflow's own folder is named relative to it, so that the folder can move.
        fetched["root"] = root.relative_to(folder).as_posix() if root.is_relative_to(folder) else str(root)
        fetched["files"] = [
            {"path": path, "bytes": (root / path).stat().st_size, "sha256": sha256(root / path)}
            for path in progress(release_files(root), description=f"checksums of {name}", unit="file")
        ]
    write_json(folder / "fetched.json", fetched)
    return fetched


def listing_digest(dataset: Dataset) -> str:
    """Changes when files appear in, vanish from or change in a dataset's own folder, or when the package
    that ships them lies elsewhere; empty for other hosts.

    The download rule takes it as a parameter, so that placing the files makes that dataset alone stale.
    Names, sizes and times only: it runs at every start of Snakemake.
    """
    if isinstance(dataset.access, PackageAccess):
        spec = importlib.util.find_spec(dataset.access.package.partition(".")[0])
        return str(spec.origin) if spec else "not installed"
    if not isinstance(dataset.access, FolderAccess):
        return ""
    root = expanded(dataset.access.folder or "")
    digest = hashlib.sha256()
    for path in release_files(root) if root.is_dir() else []:
        status = (root / path).stat()
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
