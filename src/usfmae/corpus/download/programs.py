"""Archives that need a program: 7z and multi-part zip through 7-Zip, rar through unar or 7-Zip."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from usfmae.corpus.download.members import MOST_FILES, Member, too_many
from usfmae.corpus.download.unavailable import RETRY, Damaged, Unavailable, too_large

SEVEN_ZIP = ("7zz", "7z", "7za")
#: Seconds between two looks at how much a program has written.
LOOK = 1.0


@contextmanager
def unpacked(archive: Path, beside: Path, limit: int) -> Iterator[list[Member]]:
    """The members of an archive, unpacked by a program into a temporary folder in `beside`.

    At most `limit` bytes: against the program's own listing first, then while it writes. Raises Unavailable
    where no program is there, where it fails, and where the limit is passed.
    """
    program = _program(archive)
    listed = _listed(program, archive)
    if listed > limit:
        raise too_large(archive, limit)
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=beside) as temporary:
        folder = Path(temporary) / "out"
        folder.mkdir()
        _extract(program, _gathered(archive, Path(temporary)), folder, limit)
        yield _members(folder)


def _program(archive: Path) -> str:
    with archive.open("rb") as file:
        rar = file.read(4) == b"Rar!"
    # Some builds of 7-Zip come without rar, so unar goes first for it.
    for name in ("unar", *SEVEN_ZIP) if rar else (*SEVEN_ZIP, "unar"):
        if shutil.which(name) and (name != "unar" or shutil.which("lsar")):
            return name
    wanted = "unar" if rar else "7-Zip (7zz) or unar"
    raise Unavailable(f"{archive.name} needs the program {wanted}: install it, then {RETRY}")


def _gathered(archive: Path, temporary: Path) -> Path:
    """The archive under the name that 7-Zip expects: links to all parts, the last one called .zip."""
    if archive.suffix.lower() == ".zip" or not archive.with_suffix(".z01").exists():
        return archive
    for part in archive.parent.glob("*"):
        if part.stem == archive.stem and re.fullmatch(r"\.z\d\d+", part.suffix, re.IGNORECASE):
            (temporary / part.name).symlink_to(part.absolute())
    whole = temporary / f"{archive.stem}.zip"
    whole.symlink_to(archive.absolute())
    return whole


def _listed(program: str, archive: Path) -> int:
    """Bytes that the archive says it unpacks to; refuses members that lead out of it, and too many."""
    with tempfile.TemporaryDirectory() as temporary:
        source = _gathered(archive, Path(temporary))
        if program == "unar":
            text = _run(["lsar", "-json", str(source)], archive)
            entries = json.loads(text).get("lsarContents", [])
            sizes = [int(entry.get("XADFileSize", 0)) for entry in entries]
            names = [str(entry.get("XADFileName", "")) for entry in entries]
        else:
            text = _run([program, "l", "-slt", "-ba", "-p", str(source)], archive)
            sizes = [int(size) for size in re.findall(r"^Size = (\d+)$", text, re.MULTILINE)]
            names = re.findall(r"^Path = (.*)$", text, re.MULTILINE)
    for name in names:
        if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
            raise Unavailable(f"{archive.name} was refused: its member {name!r} leads out of the release")
    if len(names) > MOST_FILES:
        raise too_many(archive)
    return sum(sizes)


def _run(command: list[str], archive: Path) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise _failed(command[0], archive)
    return done.stdout.decode("utf-8", errors="surrogateescape")


def _extract(program: str, archive: Path, folder: Path, limit: int) -> None:
    if program == "unar":
        command = ["unar", "-quiet", "-no-directory", "-output-directory", str(folder), str(archive)]
    else:
        command = [program, "x", "-y", "-bd", "-p", f"-o{folder}", str(archive)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet) as running:
        try:
            while running.returncode is None:
                with suppress(subprocess.TimeoutExpired):
                    running.wait(LOOK)
                if _size(folder) > limit:
                    raise too_large(archive, limit)
        finally:
            running.kill()
    if running.returncode:
        raise _failed(program, archive)


def _size(folder: Path) -> int:
    """Bytes below a folder that a program is writing to: files may go while it is counted."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.lstat().st_size
    return total


def _members(folder: Path) -> list[Member]:
    members = []
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            link = str(path.readlink()) if path.is_symlink() else None
            special = not (link or stat.S_ISREG(status.st_mode))
            name = path.relative_to(folder).as_posix()
            members.append(Member(name, status.st_size, link, special, file=path))
    return members


def _failed(program: str, archive: Path) -> Damaged:
    return Damaged(
        f"{program} cannot unpack {archive.name}: it is cut short, damaged or encrypted: fetch it again"
    )
