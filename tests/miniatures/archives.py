"""Packs folders as publishers do: zip, zip in several parts, tar.gz, 7z and rar."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tarfile
import zipfile
import zlib
from pathlib import Path


def members(root: Path, *below: str) -> dict[str, Path]:
    """Files under `root`, or under the folders (or of the names) `below`, by their path relative to it."""
    paths = [path for part in below or (".",) for path in _files(root / part)]
    return {path.relative_to(root).as_posix(): path for path in paths}


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def pack(target: Path, files: dict[str, Path]) -> Path:
    """Packs files, by their name inside, as the ending of `target` says. Returns `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    kind = "".join(target.suffixes[-2:]) if target.name.endswith(".tar.gz") else target.suffix
    {".zip": _zip, ".tar.gz": _tar, ".7z": _seven_zip, ".rar": _rar}[kind](target, files)
    return target


def _zip(target: Path, files: dict[str, Path]) -> None:
    with zipfile.ZipFile(target, "w") as archive:
        for name, path in files.items():
            archive.write(path, name)


def _tar(target: Path, files: dict[str, Path]) -> None:
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        for name, path in files.items():
            archive.add(path, name)


def seven_zip() -> str | None:
    """The program, under any of its names; None where there is none."""
    return next((found for name in ("7zz", "7z", "7za") if (found := shutil.which(name))), None)


def _seven_zip(target: Path, files: dict[str, Path]) -> None:
    folder = target.with_suffix("")
    for name, path in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / name)
    subprocess.run(
        [str(seven_zip()), "a", "-bso0", "-mx1", str(target.resolve()), "."], cwd=folder, check=True
    )
    shutil.rmtree(folder)


def _rar(target: Path, files: dict[str, Path]) -> None:
    """RAR 4 without compression, by UnRAR's technical note: no free program writes RAR."""

    def block(kind: int, flags: int, rest: bytes = b"") -> bytes:
        header = struct.pack("<BHH", kind, flags, 7 + len(rest)) + rest
        return struct.pack("<H", zlib.crc32(header) & 0xFFFF) + header

    with target.open("wb") as file:
        file.write(b"Rar!\x1a\x07\x00" + block(0x73, 0, bytes(6)))
        for name, path in files.items():
            data, encoded = path.read_bytes(), name.replace("/", "\\").encode()
            unix, stored, mode, moment = 3, 0x30, 0o100644, 0x50210000  # 1 January 2020
            fields = (len(data), len(data), unix, zlib.crc32(data), moment, 20, stored, len(encoded), mode)
            file.write(block(0x74, 0x8000, struct.pack("<IIBIIBBHI", *fields) + encoded) + data)
        file.write(block(0x7B, 0x4000))


def split_zip(whole: Path, parts: int) -> list[Path]:
    """`whole` cut into `.z01`, `.z02` and so on, the last part keeping the name; by PKWARE's APPNOTE 8.

    Cuts go through the data of members, as a split by size does; offsets count from each part's start.
    """
    with zipfile.ZipFile(whole) as archive:
        infos, directory = archive.infolist(), archive.start_dir
    data = b"PK\x07\x08" + whole.read_bytes()  # the mark of a split archive moves everything by 4
    chosen = infos[:: max(1, len(infos) // (parts - 1))][: parts - 1]
    cuts = [
        info.header_offset + 4 + 30 + len(info.filename.encode()) + info.file_size // 2 for info in chosen
    ]
    starts = [0, *cuts]

    def place(offset: int) -> tuple[int, int]:
        disk = max(i for i, start in enumerate(starts) if start <= offset)
        return disk, offset - starts[disk]

    patched, position = bytearray(data), directory + 4
    for info in infos:
        disk, offset = place(info.header_offset + 4)
        struct.pack_into("<H", patched, position + 34, disk)
        struct.pack_into("<I", patched, position + 42, offset)
        position += 46 + sum(struct.unpack_from("<HHH", patched, position + 28))
    disk, offset = place(directory + 4)
    struct.pack_into("<HHHH", patched, position + 4, disk, disk, len(infos), len(infos))
    struct.pack_into("<I", patched, position + 16, offset)
    names = [whole.with_suffix(f".z{number:02d}") for number in range(1, parts)] + [whole]
    for name, start, end in zip(names, starts, [*cuts, len(patched)], strict=True):
        name.write_bytes(patched[start:end])
    return names
