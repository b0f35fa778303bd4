"""Unpacks archives into a release: safely, twice deep, and nothing outside of it.

Each archive is laid out as a desktop does it: what lies in one folder of its own stays so, anything else goes
into a folder named after the archive; likewise where the files of an earlier archive would be overwritten.
An archive inside an archive is unpacked where it lies, in place of it.

An archive is refused as a whole when a path in it is absolute or leads out of the release (also by `..` or a
link), when it holds a device, or when it unpacks to more bytes or files than its limit. Symbolic links within
it and the litter of desktops (`__MACOSX`, `.DS_Store`, `Thumbs.db`) are left out.
"""

from __future__ import annotations

import errno
import hashlib
import lzma
import posixpath
import re
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from usfmae.corpus.download import programs
from usfmae.corpus.download.members import ENDINGS, Member, has_archive_name, named, tar_members, zip_members
from usfmae.corpus.download.unavailable import NO_ROOM, Damaged, Unavailable, no_room, too_large
from usfmae.progress import progress
from usfmae.record import sha256

BLOCK = 1 << 20
#: An archive may unpack to this many times its size where the registry does not say how much to expect.
#: Ultrasound shrinks by less than 20; empty label volumes, a small part of any release, by up to 1000.
RATIO = 200
#: And to this many times the registry's figure where it does: such figures are rounded.
SLACK = 1.5
#: Archives inside archives are unpacked to this depth.
DEPTH = 2
#: Stored, Deflate, BZIP2, LZMA; not Deflate64, which Windows uses above 2 GB.
PYTHON_HAS = (0, 8, 12, 14)
#: What Python's modules raise on an archive that is none, or one no more.
BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, ValueError, LookupError, OverflowError, NotImplementedError),
)
#: What the system says of a name that is too long, or of a file where a folder should be, and the reverse.
NO_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)
MAGIC = {
    b"PK": "zip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
    b"\x1f\x8b": "tar",
    b"BZh": "tar",
    b"\xfd7zXZ": "tar",
}


@dataclass
class Budget:
    """Bytes that may still be written."""

    limit: int
    written: int = 0

    def spend(self, size: int, archive: Path) -> None:
        self.written += size
        self.check(0, archive)

    def check(self, more: int, archive: Path) -> None:
        if self.written + more > self.limit:
            raise too_large(archive, self.limit)


@dataclass
class Unpacked:
    """What lies in a release: path → sha256, as it was written."""

    root: Path
    budget: Budget
    sha256: dict[str, str] = field(default_factory=dict)


def budget_of(archives: list[Path], unpacked_bytes: int | None) -> Budget:
    """The limit for all archives of a dataset together."""
    if unpacked_bytes:
        return Budget(int(unpacked_bytes * SLACK))
    return Budget(RATIO * sum(path.stat().st_size for path in archives))


def is_archive(path: Path) -> bool:
    """Whether a file is to be unpacked: by its name, or by its content where it has no ending.

    Other files that happen to be zip archives (.xlsx, .npz) or are only compressed (.nii.gz) are not.
    """
    if has_archive_name(path.name):
        return True
    return not path.suffix and _magic(path) is not None


def parts_of(archive: Path) -> list[Path]:
    """The further parts of a multi-part archive, beside the file that names it."""
    name, stem = archive.name, re.escape(archive.stem)
    if archive.suffix.lower() in (".zip", ".change2zip"):
        others = rf"{stem}\.z\d\d+"
    elif archive.suffix == ".001":
        others = rf"{stem}\.\d{{3}}"
    elif first := re.fullmatch(r"(.*\.part)0*1\.rar", name, re.IGNORECASE):
        others = rf"{re.escape(first[1])}\d+\.rar"
    elif archive.suffix.lower() == ".rar":
        others = rf"{stem}\.r\d\d"
    else:
        return []
    siblings = sorted(archive.parent.iterdir())
    return [p for p in siblings if p.name != name and re.fullmatch(others, p.name, re.IGNORECASE)]


def archives_among(paths: list[Path]) -> tuple[list[Path], set[Path]]:
    """The archives to unpack, and the further parts that go with them."""
    found = [path for path in paths if is_archive(path)]
    parts = {part for path in found for part in parts_of(path)}
    return [path for path in found if path not in parts], parts


def unpack(archive: Path, into: Unpacked, where: str = "", depth: int = 1) -> list[str]:
    """Unpacks `archive` below the folder `where` of a release and returns the paths it gave there.

    Raises Damaged, or Unavailable where it is refused, no program is there for it, or the disk is full.
    """
    try:
        paths = _unpack(archive, into, where)
    except BROKEN as error:
        raise _damaged(archive, error) from None
    except OSError as error:
        if error.errno in NO_ROOM:
            raise no_room(into.root) from None
        if error.errno in NO_NAME:
            raise Unavailable(
                f"{archive.name} was refused: a name in it cannot be written here ({error.strerror}: "
                f"{str(error.filename)[-60:]!r})"
            ) from None
        if error.errno in (None, errno.EINVAL):  # of gzip and bz2; of zipfile, sent to a place that is none
            raise _damaged(archive, error) from None
        raise
    if depth > DEPTH:
        return paths
    inner, parts = archives_among([into.root / path for path in paths])
    for path in inner:
        paths += unpack(path, into, posixpath.dirname(path.relative_to(into.root).as_posix()), depth + 1)
    for path in [*inner, *parts]:
        path.unlink()
        name = path.relative_to(into.root).as_posix()
        del into.sha256[name]
        paths.remove(name)
    return paths


def _damaged(archive: Path, error: Exception) -> Damaged:
    return Damaged(f"{archive.name} is cut short or damaged ({error}); remove it and fetch it again")


def _unpack(archive: Path, into: Unpacked, where: str) -> list[str]:
    kind = _magic(archive) or ("tar" if ".t" in archive.name else "zip")
    if parts_of(archive) or archive.suffix == ".001":
        kind = "several parts"
    if kind == "zip":
        with zipfile.ZipFile(archive) as opened:
            if all(info.compress_type in PYTHON_HAS for info in opened.infolist()):
                return _write(archive, zip_members(opened), into, where)
    if kind == "tar":
        with tarfile.open(archive) as opened_tar:
            return _write(archive, tar_members(opened_tar), into, where)
    with programs.unpacked(archive, into.root, into.budget.limit - into.budget.written) as members:
        return _write(archive, members, into, where)


def _write(archive: Path, members: Iterable[Member], into: Unpacked, where: str) -> list[str]:
    found = named(members, archive, len(into.sha256))
    listed = sum(member.bytes for _, member in found)
    into.budget.check(listed, archive)
    free = shutil.disk_usage(into.root).free
    if listed > free:
        raise Unavailable(
            f"{archive.name} unpacks to {listed / 1e9:.3g} GB and {free / 1e9:.3g} GB are free at {into.root}"
        )
    folder = posixpath.join(where, _folder(archive, [path for path, _ in found], into, where))
    paths = []
    shown = progress(found, description=f"unpacking {archive.name}", unit="file")
    for path, member in shown if len(found) > 1 else found:
        full = posixpath.join(folder, path)
        target = into.root / full
        target.parent.mkdir(parents=True, exist_ok=True)
        if member.file:
            into.budget.spend(member.bytes, archive)
            into.sha256[full] = sha256(member.file)
            member.file.replace(target)
        else:
            into.sha256[full] = _copied(member, target, into.budget, archive)
        paths.append(full)
    return list(dict.fromkeys(paths))


def _copied(member: Member, target: Path, budget: Budget, archive: Path) -> str:
    """Writes a member, counting its bytes as they come: a listing can lie. Returns its sha256."""
    digest = hashlib.sha256()
    with member.open() as source, target.open("wb") as out:
        while block := source.read(BLOCK):
            budget.spend(len(block), archive)
            digest.update(block)
            out.write(block)
    return digest.hexdigest()


def _folder(archive: Path, paths: list[str], into: Unpacked, where: str) -> str:
    """The folder that an archive's files go to, `""` where they bring their own."""
    own = re.sub(ENDINGS, "", archive.name, flags=re.IGNORECASE)
    tops = {path.partition("/")[0] for path in paths}
    alone = len(tops) == 1 and all("/" in path for path in paths)
    taken = any(posixpath.join(where, path) in into.sha256 for path in paths)
    if alone and not taken:
        return ""
    folder, number = own, 2
    while any(known.startswith(posixpath.join(where, folder, "")) for known in into.sha256):
        folder, number = f"{own}-{number}", number + 1
    return folder


def _magic(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(265)
    if head[257:262] == b"ustar":
        return "tar"
    return next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)
