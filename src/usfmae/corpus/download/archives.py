"""Brings a dataset's files into `archives/` and makes its `release/` of them."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock, Timeout

from usfmae.corpus.download.catalogues import FileToFetch
from usfmae.corpus.download.hosts import REMOTE
from usfmae.corpus.download.members import is_litter, readable
from usfmae.corpus.download.pins import Contents, Expected, Pins, Sums, read_downloads
from usfmae.corpus.download.space import need_room
from usfmae.corpus.download.transfer import transfer
from usfmae.corpus.download.unavailable import NO_ROOM, Damaged, Unavailable, no_room
from usfmae.corpus.download.unpack import Unpacked, archives_among, budget_of, is_archive, unpack
from usfmae.corpus.download.web import Web, without_secrets
from usfmae.progress import progress
from usfmae.record import sha256, write_json
from usfmae.settings.access import Download, RemoteFile
from usfmae.settings.datasets import Dataset

#: Above this number the files are loose images: several at once, one progress for all.
MANY = 10
Entry = dict[str, Any]
"""A file in `downloads.json`: `name, url, bytes, sha256, checked`, `placed` (by a person) and, where it is
packed anew each time, `contents`."""


def fetch_release(
    name: str, dataset: Dataset, folder: Path, download: Download, lock: Path | None
) -> tuple[Path, dict[Path, str], list[Entry]]:
    """Fetches and unpacks a dataset: the folder of its release, sha256 by path, and its downloads.

    While another process fetches the same dataset this waits, and then finds the files here. Raises
    Unavailable.
    """
    locks = folder.parent / ".locks"
    with _alone(locks / f"dataset-{name}.lock", name):
        work = _Work(dataset, folder, Web(download, locks), Pins(name, lock, folder))
        try:
            work.collect()
            digests = work.release()
        except OSError as error:
            if error.errno in NO_ROOM:
                raise no_room(folder) from None
            raise
        finally:
            work.write_downloads()
        if not download.keep_archives:
            work.remove_archives()
    release = folder / "release"
    root = _repository(release) if dataset.access.host == "github" else release
    return root, {release / path: digest for path, digest in digests.items()}, list(work.entries.values())


def _repository(release: Path) -> Path:
    """GitHub packs a repository into a folder named after the commit; paths in the registry start below."""
    inside = list(release.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else release


@contextmanager
def _alone(path: Path, name: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another process fetches {name}: waiting for it", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class _Work:
    """One dataset on its way from the host to its release."""

    def __init__(self, dataset: Dataset, folder: Path, web: Web, pins: Pins) -> None:
        self.dataset, self.folder, self.web, self.pins = dataset, folder, web, pins
        self.archives = folder / "archives"
        self.archives.mkdir(parents=True, exist_ok=True)
        self.before: dict[str, Entry] = {entry["name"]: entry for entry in read_downloads(folder)}
        self.entries: dict[str, Entry] = {}
        files: list[RemoteFile] = getattr(dataset.access, "files", [])
        self.registry = {file.name: file for file in files}
        self.fetched: set[str] = set()

    def collect(self) -> None:
        """Sees that every file lies in `archives/` and is what it must be."""
        files = self._offered()
        self.wanted = {file.name for file in files}
        twice = [name for name, times in Counter(file.name for file in files).items() if times > 1]
        if twice:
            raise Unavailable(f"the host lists more than one file called {twice[0]}")
        for file in files:
            if PurePosixPath(file.name).is_absolute() or ".." in PurePosixPath(file.name).parts:
                raise Unavailable(f"the host lists a file outside of its dataset: {file.name!r}")
        need_room(
            self.dataset, [file for file in files if not (self.archives / file.name).is_file()], self.folder
        )
        if len(files) <= MANY:
            for file in files:
                self.entries[file.name] = self._one(file)
            return
        with ThreadPoolExecutor(self.web.download.at_once) as pool:
            try:
                entries = pool.map(self._one, files)
                for entry in progress(entries, description=self.folder.name, total=len(files), unit="file"):
                    self.entries[entry["name"]] = entry
            finally:
                pool.shutdown(cancel_futures=True)

    def _offered(self) -> list[FileToFetch]:
        """What the host lists. Where it cannot be asked, or there is none, what a person has put here."""
        access = self.dataset.access
        try:
            if access.host == "folder":
                account = f" ({access.account})" if access.account else ""
                raise Unavailable(f"only a person can fetch it{account}")
            return REMOTE[access.host](access, self.web)
        except Unavailable as reason:
            here = {path.relative_to(self.archives).as_posix(): path for path in self._lying()}
            if not here or any(self.archives.rglob("*.part")):
                raise
            if access.host != "folder":
                print(f"{reason}; going on with what lies in {self.archives}", flush=True)
        named = {name: self.registry.get(name, RemoteFile(name=name)) for name in here}
        return [
            FileToFetch(name, file.url or "", file.bytes, file.md5, file.sha256, repacked=file.repacked)
            for name, file in named.items()
            if name in self.registry or is_archive(here[name])
        ]

    def _lying(self) -> list[Path]:
        """Every file in `archives/` that belongs to the release."""
        paths = sorted(path for path in self.archives.rglob("*") if path.is_file())
        whole = [path for path in paths if not path.name.endswith((".part", ".part.validator"))]
        return [path for path in whole if not is_litter(path.relative_to(self.archives).parts)]

    def _one(self, file: FileToFetch) -> Entry:
        """Fetches a file, or checks the one that lies here already."""
        target = self.archives / file.name
        stated = self.registry.get(file.name)
        stated_here = stated is not None and bool(stated.md5 or stated.sha256)
        pin = None if file.repacked or stated_here else self.pins.of(file.name)
        expected = [Expected(file.bytes, file.md5, file.sha256), *([pin] if pin else [])]
        there = target.is_file()
        if there:
            sums = Sums.of(target)
            for difference in filter(None, (one.difference(file.name, sums) for one in expected)):
                raise Unavailable(f"{difference}; it lies in {self.archives}: remove it there first")
        else:
            sums = transfer(file, target, self.web, expected)
            self.fetched.add(file.name)
        return {
            "name": file.name,
            "url": without_secrets(file.url) if file.url else None,
            "bytes": sums.bytes,
            "sha256": sums.sha256,
            "checked": "published" if file.md5 or file.sha256 else "pinned" if pin else "first",
            "placed": there and self.before.get(file.name, {}).get("placed", True),
            "repacked": file.repacked,
        }

    def release(self) -> dict[str, str]:
        """Unpacks what lies in `archives/` into `release/`, in place of the one before; sha256 by path."""
        temporary, release = self.folder / ".unpacking", self.folder / "release"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        archives, parts = archives_among(self._belonging())
        into = Unpacked(temporary, budget_of([*archives, *parts], self.dataset.unpacked_bytes))
        try:
            for path in self._belonging():
                if path not in archives and path not in parts:
                    self._add(path, into)
            for path in archives:
                self._unpack(path, into)
            before = self.folder / ".before"
            shutil.rmtree(before, ignore_errors=True)
            if release.exists():
                release.rename(before)
            temporary.rename(release)
            shutil.rmtree(before, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return into.sha256

    def _belonging(self) -> list[Path]:
        """What lies here, but for files that an earlier version of the dataset consisted of."""
        old = {name for name, entry in self.before.items() if not entry["placed"]} - self.wanted
        return [path for path in self._lying() if path.relative_to(self.archives).as_posix() not in old]

    def _add(self, path: Path, into: Unpacked) -> None:
        """Takes a loose file over as it is; the disk holds it once."""
        name = path.relative_to(self.archives).as_posix()
        target = into.root / readable(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except OSError:  # a file system without links
            shutil.copy2(path, target)
        known = self.entries.get(name)
        into.sha256[readable(name)] = known["sha256"] if known else sha256(path)

    def _unpack(self, path: Path, into: Unpacked) -> None:
        name = path.relative_to(self.archives)
        entry = self.entries.get(name.as_posix())
        try:
            paths = unpack(path, into, name.parent.as_posix().removeprefix("."))
        except Damaged:
            if entry and entry["checked"] == "first" and entry["name"] in self.fetched:
                path.unlink()  # else the next run would take it for what a person has put here
                del self.entries[entry["name"]]
            raise
        if entry and entry.pop("repacked"):
            sizes = {p: (into.root / p).stat().st_size for p in paths}
            contents = Contents.of({p: into.sha256[p] for p in paths}, sizes)
            if pin := self.pins.of(f"{name.as_posix()}/"):
                if difference := pin.difference(f"the contents of {name.as_posix()}", contents):
                    raise Unavailable(difference)
                entry["checked"] = "pinned"
            entry["contents"] = {"bytes": contents.bytes, "sha256": contents.sha256}

    def write_downloads(self) -> None:
        """Keeps what is known of files that were not reached this time."""
        known = self.before | self.entries
        write_json(self.folder / "downloads.json", {"downloads": [known[name] for name in sorted(known)]})

    def remove_archives(self) -> None:
        """Removes what was fetched; what a person has put here is theirs."""
        for name, entry in self.entries.items():
            if not entry["placed"]:
                (self.archives / name).unlink()
