"""What an archive lists: the members that a release may hold, and what an archive is refused for."""

from __future__ import annotations

import posixpath
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from usfmae.corpus.download.unavailable import Damaged, Unavailable

#: Files that one dataset may unpack to; the largest release has a quarter of a million frames.
MOST_FILES = 1_000_000
#: Bytes that a path can have (PATH_MAX); a zip keeps the target of a link as the content of a file.
LONGEST_PATH = 4096
ENDINGS = r"\.(zip|tar|(tar\.|t)(gz|bz2?|xz)|7z|rar|change2zip|(7z|zip)\.001)$"
LITTER = {"__macosx", ".ds_store", "thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Member:
    """A file in an archive."""

    name: str
    bytes: int
    link: str | None
    """Where it points, for a link."""
    special: bool
    """A device, a pipe, a socket."""
    open: Callable[[], Any] = BytesIO
    file: Path | None = None
    """Where it lies, for a member that a program has unpacked."""


def has_archive_name(name: str) -> bool:
    return re.search(ENDINGS, name, re.IGNORECASE) is not None


def zip_members(opened: zipfile.ZipFile) -> Iterator[Member]:
    for info in opened.infolist():
        mode = info.external_attr >> 16
        if info.flag_bits & 1:
            raise Damaged(f"{opened.filename} is encrypted")
        if not info.is_dir():
            link = _target(opened, info) if stat.S_ISLNK(mode) else None
            kind = stat.S_IFMT(mode) if mode else 0
            special = kind not in (0, stat.S_IFREG, stat.S_IFLNK)
            yield Member(info.filename, info.file_size, link, special, partial(opened.open, info))


def _target(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    """Where a link points. Refused unread where it is longer than any path: it would be a bomb in memory."""
    if info.file_size > LONGEST_PATH:
        raise Unavailable(
            f"{Path(str(opened.filename)).name} was refused: its link {info.filename!r} unpacks to "
            f"{info.file_size:,} bytes, which is no path"
        )
    return opened.read(info).decode("utf-8", "surrogateescape")


def tar_members(opened: tarfile.TarFile) -> Iterator[Member]:
    """The members as they come. A hard link is a second name of an earlier file: a file with its content."""
    files: dict[str, tarfile.TarInfo] = {}
    for info in opened:
        if info.isdir():
            continue
        link, content = info.linkname if info.issym() else None, info
        if info.islnk():
            target = posixpath.normpath(info.linkname)
            if target in files:
                content = files[target]
            else:  # out of the archive, or to what is no file of it
                link = f"/{info.linkname}"
        if content.isreg():
            files[posixpath.normpath(info.name)] = content
        special = not (content.isreg() or link)
        yield Member(info.name, content.size, link, special, partial(opened.extractfile, content))


def named(members: Iterable[Member], archive: Path, before: int = 0) -> list[tuple[str, Member]]:
    """The members that a release holds, with their paths. `before`: files that it holds already.

    Raises Unavailable for what no release holds: paths and links that lead out, devices, too many files.
    """
    found = []
    for number, member in enumerate(members, before + 1):
        if number > MOST_FILES:
            raise too_many(archive)
        if path := safe(member, archive):
            found.append((path, member))
    return found


def too_many(archive: Path) -> Unavailable:
    return Unavailable(
        f"{archive.name} was refused: it unpacks to more than {MOST_FILES:,} files, more than any release has"
    )


def safe(member: Member, archive: Path) -> str | None:
    """The member's path with `/` between folders and without odd bytes; None for what is left out.

    Raises Unavailable for what no release holds: paths and links that lead out of it, devices.
    """
    name = readable(member.name).replace("\\", "/")
    parts = PurePosixPath(name).parts
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in parts or "\0" in name:
        raise Unavailable(f"{archive.name} was refused: its member {name!r} leads out of the release")
    if member.link is not None:
        end = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.link))
        if end.startswith(("/", "..")):
            raise Unavailable(f"{archive.name} was refused: its link {name!r} leads out of the release")
        return None
    if member.special:
        raise Unavailable(f"{archive.name} was refused: its member {name!r} is a device")
    if not parts or is_litter(parts):
        return None
    return "/".join(parts)


def is_litter(parts: tuple[str, ...]) -> bool:
    """Whether a path is what desktops and version control leave behind: no part of a release."""
    return any(part.lower() in LITTER or part.startswith(".") for part in parts)


def readable(name: str) -> str:
    """A name as UTF-8 can write it; bytes that are none are read as Latin-1."""
    raw = name.encode("utf-8", errors="surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
