"""Checksums: what a file must be, where that is written, and the table that travels with the project.

A file is compared with all that is known of it: what its publisher states (the registry, else the host's
catalogue) and, unless the registry itself states a checksum, what an earlier download found: the line in the
tracked `config/checksums.lock`, else the entry in `resources/<dataset>/downloads.json`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from usfmae.record import atomic

HEAD = "# dataset\tname\tbytes\tsha256 (made by `snakemake pin`; a name ending in / is an archive's contents)"
Block = bytes
Lock = dict[tuple[str, str], tuple[int, str]]
"""(dataset, name) → (bytes, sha256)."""


@dataclass
class Sums:
    """Size and digests of bytes that pass by."""

    bytes: int = 0
    _sha256: Any = field(default_factory=hashlib.sha256, repr=False)
    _md5: Any = field(default_factory=lambda: hashlib.md5(usedforsecurity=False), repr=False)

    def update(self, block: Block) -> None:
        self.bytes += len(block)
        self._sha256.update(block)
        self._md5.update(block)

    @property
    def sha256(self) -> str:
        return str(self._sha256.hexdigest())

    @property
    def md5(self) -> str:
        return str(self._md5.hexdigest())

    @classmethod
    def of(cls, path: Path) -> Sums:
        sums = cls()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                sums.update(block)
        return sums


@dataclass(frozen=True)
class Expected:
    """What a file must be; None where it is not known."""

    bytes: int | None = None
    md5: str | None = None
    sha256: str | None = None
    pin: str | None = None
    """The file that holds the pin; None: its publisher states it."""

    def difference(self, name: str, found: Sums | Contents) -> str | None:
        """A sentence with both sums and what to do, or None where it fits."""
        for what in ("sha256", "md5", "bytes"):
            wanted, have = getattr(self, what), getattr(found, what)
            if wanted is not None and wanted != have:
                break
        else:
            return None
        if self.pin:
            return (
                f"{name} has changed: {what} {have}, pinned {wanted} in {self.pin}. If it is a new version "
                "that you want, remove that line and fetch it again"
            )
        return (
            f"{name} is not what its publisher states: {what} {have}, stated {wanted}. Fetch it again; if it "
            "stays so, see its page for a new version and correct the registry"
        )


@dataclass(frozen=True)
class Contents:
    """What an archive holds: bytes of all members, and a digest over their paths and digests."""

    bytes: int
    sha256: str
    md5: None = None

    @classmethod
    def of(cls, digests: dict[str, str], sizes: dict[str, int]) -> Contents:
        text = "".join(f"{path}\0{digest}\n" for path, digest in sorted(digests.items()))
        return cls(sum(sizes.values()), hashlib.sha256(text.encode()).hexdigest())


class Pins:
    """What earlier downloads of one dataset found: in the tracked lock, else on this machine."""

    def __init__(self, dataset: str, lock: Path | None, folder: Path) -> None:
        here = folder / "downloads.json"
        self._known = {}
        for name, size, digest in map(pin_of, read_downloads(folder)):
            self._known[name] = Expected(size, sha256=digest, pin=str(here))
        for (of, name), (size, digest) in read_lock(lock).items():
            if of == dataset:
                self._known[name] = Expected(size, sha256=digest, pin=str(lock))

    def of(self, name: str) -> Expected | None:
        """The pin of a file, or of an archive's contents (`name/`)."""
        return self._known.get(name)


def read_lock(lock: Path | None) -> Lock:
    """The tracked pins; none where there is no such file. Raises ValueError that names an unreadable line."""
    pins: Lock = {}
    if lock is None or not lock.is_file():
        return pins
    for number, line in enumerate(lock.read_text(encoding="utf-8").splitlines(), 1):
        if line and not line.startswith("#"):
            try:
                dataset, name, size, digest = line.split("\t")
                pins[dataset, name] = (int(size), digest)
            except ValueError:
                wanted = "dataset, name, bytes and sha256 with tabs between"
                raise ValueError(f"{lock}, line {number}: expected {wanted}: {line!r}") from None
    return pins


def read_downloads(folder: Path) -> list[dict[str, Any]]:
    """`downloads.json` of `resources/<dataset>/`: what was fetched there before; empty where nothing was."""
    file = folder / "downloads.json"
    return json.loads(file.read_text(encoding="utf-8"))["downloads"] if file.is_file() else []


def pin_of(entry: dict[str, Any]) -> tuple[str, int, str]:
    """Name, bytes and sha256 to pin: the file's, or its contents' where it is packed anew each time."""
    if contents := entry.get("contents"):
        return f"{entry['name']}/", contents["bytes"], contents["sha256"]
    return entry["name"], entry["bytes"], entry["sha256"]


def gather(resources: Path, lock: Path) -> int:
    """Writes the pins of every `resources/*/downloads.json` into `lock`, sorted, and returns their number.

    Only of datasets that are available; lines of datasets that were not fetched on this machine stay.
    """
    pins = read_lock(lock)
    for file in sorted(resources.glob("*/downloads.json")):
        fetched = file.with_name("fetched.json")
        if not fetched.is_file() or json.loads(fetched.read_text(encoding="utf-8"))["status"] != "available":
            continue
        for entry in read_downloads(file.parent):
            name, size, digest = pin_of(entry)
            pins[file.parent.name, name] = (size, digest)
    lines = [
        f"{dataset}\t{name}\t{size}\t{digest}" for (dataset, name), (size, digest) in sorted(pins.items())
    ]
    with atomic(lock) as temporary:
        temporary.write_text("\n".join([HEAD, *lines]) + "\n", encoding="utf-8")
    return len(pins)
