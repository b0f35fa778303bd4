"""Fetches one dataset and says in `fetched.json` what is there.

`resources/<dataset>/` holds `archives/` (as downloaded, or put there by a person), `release/` (unpacked) and
`downloads.json` (what was fetched, with its sha256: the pin that outlives a rerun).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from usfmae.corpus.download.hosts import LOCAL, expanded
from usfmae.corpus.download.pins import read_downloads
from usfmae.corpus.download.unavailable import Unavailable
from usfmae.corpus.releases.layout import missing, release_files
from usfmae.progress import progress
from usfmae.record import sha256, write_json
from usfmae.settings.access import Access, Download, FolderAccess, PackageAccess
from usfmae.settings.datasets import Dataset

DOWNLOAD = Download()
#: Files hashed at once: the digest lets other threads run.
THREADS = 2
#: What `fetched.json` says of each download.
KEPT = ("name", "url", "bytes", "sha256", "checked", "contents")


def fetch(
    name: str, dataset: Dataset, folder: Path, download: Download = DOWNLOAD, lock: Path | None = None
) -> dict[str, Any]:
    """Makes the release of `dataset` available and writes `folder/fetched.json`, which it returns.

    `lock` is the tracked table of checksums (see `pins`). A dataset that cannot be had has
    `status: unavailable` and a `reason` in one line, with what a person can do; this never raises for it.
    """
    fetched = _fetched(name, dataset, folder, download, lock)
    write_json(folder / "fetched.json", fetched)
    return fetched


def retry(
    releases: Mapping[str, Dataset], resources: Path, download: Download = DOWNLOAD, lock: Path | None = None
) -> dict[str, str | None]:
    """Tries again what could not be had before: name → why it still cannot, or None where it is here now.

    What still cannot be had keeps its `fetched.json`: nothing that was made without it becomes stale.
    A release that lies on this machine is left out: that it changed is seen by itself (`listing_digest`).
    """
    tried: dict[str, str | None] = {}
    for name, dataset in releases.items():
        file = resources / name / "fetched.json"
        if _is_used_in_place(dataset.access) or not file.is_file():
            continue
        if json.loads(file.read_text(encoding="utf-8"))["status"] == "available":
            continue
        fetched = _fetched(name, dataset, resources / name, download, lock)
        tried[name] = fetched["reason"]
        if fetched["status"] == "available":
            write_json(file, fetched)
    return tried


def _fetched(
    name: str, dataset: Dataset, folder: Path, download: Download, lock: Path | None
) -> dict[str, Any]:
    """What there is of a release now: the contents of `fetched.json`."""
    fetched: dict[str, Any] = {
        "dataset": name,
        "licence": dataset.licence.model_dump(),
        "date": datetime.now(UTC).date().isoformat(),
        "status": "available",
        "reason": None,
        "root": None,
        "files": [],
        "downloads": [],
    }
    digests: dict[Path, str] = {}
    try:
        if _is_used_in_place(dataset.access):
            root = LOCAL[dataset.access.host](dataset.access, folder)
        else:
            from usfmae.corpus.download.archives import fetch_release  # loads what speaks with the network

            root, digests, downloads = fetch_release(name, dataset, folder, download, lock)
            fetched["downloads"] = [{key: entry[key] for key in KEPT if key in entry} for entry in downloads]
            if lacks := missing(dataset, root):
                raise Unavailable(f"the release is not laid out as the registry says: {'; '.join(lacks)}")
    except Unavailable as reason:
        fetched |= {"status": "unavailable", "reason": _in_one_line(str(reason), dataset, folder)}
    else:
        # A release inside the workflow's own folder is named relative to it, so that the folder can move.
        fetched["root"] = root.relative_to(folder).as_posix() if root.is_relative_to(folder) else str(root)
        fetched["files"] = _listed(name, root, digests)
    return fetched


def _is_used_in_place(access: Access) -> bool:
    """Whether the release is made, or lies, where nothing has to be fetched or unpacked."""
    return access.host in LOCAL and not (isinstance(access, FolderAccess) and access.folder is None)


def _listed(name: str, root: Path, digests: dict[Path, str]) -> list[dict[str, Any]]:
    """Every file of the release; those that were not hashed while they were written are hashed now."""

    def entry(path: str) -> dict[str, Any]:
        file = root / path
        return {"path": path, "bytes": file.stat().st_size, "sha256": digests.get(file) or sha256(file)}

    paths = release_files(root)
    with ThreadPoolExecutor(THREADS) as pool:
        return list(
            progress(
                pool.map(entry, paths), description=f"checksums of {name}", total=len(paths), unit="file"
            )
        )


def _in_one_line(reason: str, dataset: Dataset, folder: Path) -> str:
    """The reason, and what a person can do where files can be put in place by hand."""
    access = dataset.access
    if not _is_used_in_place(access):
        page = f" from {dataset.page}" if dataset.page else ""
        how = getattr(access, "instructions", None) or f"Download the files by hand{page}"
        reason = (
            f"{reason}. By hand: {how.rstrip('. ')}; put the files into {folder / 'archives'}, run it again"
        )
    return " ".join(reason.split())


def listing_digest(dataset: Dataset, folder: Path | None = None) -> str:
    """Changes when a person's files appear, vanish or change: in a dataset's own folder, or in `archives/`
    of `folder` (`resources/<dataset>`); also when the package that ships them lies elsewhere.

    The download rule takes it as a parameter, so that placing the files makes that dataset alone stale. What
    a download has put into `archives/` does not count. Names, sizes and times only: it runs at every start
    of Snakemake. Empty where there is nothing of a person's.
    """
    access = dataset.access
    if isinstance(access, PackageAccess):
        spec = importlib.util.find_spec(access.package.partition(".")[0])
        return str(spec.origin) if spec else "not installed"
    if isinstance(access, FolderAccess) and access.folder is not None:
        return _digest(expanded(access.folder), set()) or hashlib.sha256().hexdigest()[:16]
    if _is_used_in_place(access) or folder is None or not (folder / "archives").is_dir():
        return ""
    ours = {entry["name"] for entry in read_downloads(folder) if not entry["placed"]}
    return _digest(folder / "archives", ours)


def _digest(root: Path, ours: set[str]) -> str:
    """Over name, size and time of each file; empty where there is none."""
    digest, found = hashlib.sha256(), False
    for path in release_files(root):
        if path not in ours and not path.endswith((".part", ".part.validator")):
            status = (root / path).stat()
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
            found = True
    return digest.hexdigest()[:16] if found else ""


def verify(resources: Path) -> list[str]:
    """Hashes everything again that `resources/*/fetched.json` lists, offline: one sentence a problem.

    Archives that were removed after unpacking (`keep_archives: false`) are no problem.
    """
    problems = []
    for file in sorted(resources.glob("*/fetched.json")):
        fetched = json.loads(file.read_text(encoding="utf-8"))
        if fetched["status"] != "available":
            continue
        wanted = [(file.parent / fetched["root"] / entry["path"], entry) for entry in fetched["files"]]
        archives = (
            (file.parent / "archives" / entry["name"], entry) for entry in fetched.get("downloads", [])
        )
        wanted += [(path, entry) for path, entry in archives if path.exists()]
        with ThreadPoolExecutor(THREADS) as pool:
            found = pool.map(lambda pair: _problem(*pair), wanted)
            shown = progress(found, description=file.parent.name, total=len(wanted), unit="file")
            problems += [f"{file.parent.name}: {problem}" for problem in shown if problem]
    return problems


def _problem(path: Path, entry: dict[str, Any]) -> str | None:
    if not path.is_file():
        return f"{path} is gone"
    size = path.stat().st_size
    if size != entry["bytes"]:
        return f"{path} has {size} bytes, {entry['bytes']} when it was fetched"
    if (found := sha256(path)) != entry["sha256"]:
        return f"{path} has changed: sha256 {found}, {entry['sha256']} when it was fetched"
    return None
