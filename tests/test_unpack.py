"""Archives of every kind unpack alike, and nothing in them can reach outside of the release."""

from __future__ import annotations

import binascii
import hashlib
import io
import shutil
import struct
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from miniatures.archives import split_zip

from usfmae.corpus.download import programs
from usfmae.corpus.download.unavailable import Damaged, Unavailable
from usfmae.corpus.download.unpack import Budget, Unpacked, archives_among, unpack

SEVEN_ZIP = next(filter(None, map(shutil.which, programs.SEVEN_ZIP)), None)
seven_zip = pytest.mark.skipif(SEVEN_ZIP is None, reason="7-Zip is not installed")
PICTURES = {"scans/1.png": b"one" * 50, "scans/inner/2.png": b"two" * 50}


def release(folder: Path, limit: int = 10_000_000) -> Unpacked:
    (folder / "release").mkdir()
    return Unpacked(folder / "release", Budget(limit))


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def inside(into: Unpacked) -> dict[str, bytes]:
    return {p.relative_to(into.root).as_posix(): p.read_bytes() for p in into.root.rglob("*") if p.is_file()}


def on_disk(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def by_seven_zip(archive: Path, *options: str) -> Path:
    source = on_disk(archive.parent / "source", PICTURES)
    subprocess.run(
        [str(SEVEN_ZIP), "a", *options, str(archive), "scans"], cwd=source, check=True, capture_output=True
    )
    return archive


def rar(path: Path, name: str, content: bytes) -> Path:
    """A RAR 4 archive of one stored file, after the format's published description: nothing makes one."""

    def block(kind: int, flags: int, rest: bytes) -> bytes:
        body = struct.pack("<BHH", kind, flags, 7 + len(rest)) + rest
        return struct.pack("<H", binascii.crc32(body) & 0xFFFF) + body

    size, crc, raw = len(content), binascii.crc32(content), name.encode()
    header = struct.pack("<IIBIIBBHI", size, size, 3, crc, 0x5A8B6000, 20, 0x30, len(raw), 0o100644) + raw
    main = block(0x73, 0, bytes(6))
    path.write_bytes(
        b"Rar!\x1a\x07\x00" + main + block(0x74, 0x8000, header) + content + block(0x7B, 0x4000, b"")
    )
    return path


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_a_tar_unpacks(tmp_path: Path, ending: str) -> None:
    mode = {"tar": "w", "tgz": "w:gz"}.get(ending, f"w:{ending[4:]}")
    with tarfile.open(tmp_path / f"a.{ending}", mode) as archive:
        archive.add(on_disk(tmp_path / "source", PICTURES) / "scans", "scans")
    into = release(tmp_path)
    assert sorted(unpack(tmp_path / f"a.{ending}", into)) == sorted(PICTURES)
    assert inside(into) == PICTURES
    assert into.sha256 == {name: hashlib.sha256(content).hexdigest() for name, content in PICTURES.items()}


def test_a_zip_unpacks(tmp_path: Path) -> None:
    into = release(tmp_path)
    unpack(zipped(tmp_path / "a.zip", PICTURES), into)
    assert inside(into) == PICTURES
    assert into.budget.written == 300


@seven_zip
@pytest.mark.parametrize("name", ["a.7z", "deflate64.zip", "parts.7z.001", "parts.zip.001"])
def test_what_python_cannot_unpack_a_program_does(tmp_path: Path, name: str) -> None:
    options = ["-v100b", "-mx0"] if name.endswith("001") else ["-mm=Deflate64"] if "64" in name else []
    by_seven_zip(tmp_path / name.removesuffix(".001"), *options)
    into = release(tmp_path)
    archives, parts = archives_among(sorted(path for path in tmp_path.iterdir() if path.is_file()))
    assert [path.name for path in archives] == [name]
    assert bool(parts) == name.endswith("001")
    unpack(archives[0], into)
    assert inside(into) == PICTURES
    assert into.sha256["scans/1.png"] == hashlib.sha256(PICTURES["scans/1.png"]).hexdigest()


@seven_zip
@pytest.mark.parametrize("last", ["zip", "change2zip"])
def test_a_zip_in_parts_unpacks_under_either_name_of_its_last_part(tmp_path: Path, last: str) -> None:
    split_zip(by_seven_zip(tmp_path / "scans.zip", "-mx0"), 3)
    (tmp_path / "scans.zip").rename(tmp_path / f"scans.{last}")
    archives, parts = archives_among(sorted(path for path in tmp_path.iterdir() if path.is_file()))
    assert [path.name for path in archives] == [f"scans.{last}"]
    assert sorted(path.name for path in parts) == ["scans.z01", "scans.z02"]
    into = release(tmp_path)
    unpack(archives[0], into)
    assert inside(into) == PICTURES


@pytest.mark.skipif(shutil.which("unar") is None, reason="unar is not installed")
def test_a_rar_unpacks(tmp_path: Path) -> None:
    into = release(tmp_path)
    unpack(rar(tmp_path / "HC_image1.rar", "1.png", b"pixels"), into)
    assert inside(into) == {"HC_image1/1.png": b"pixels"}


def test_without_a_program_the_reason_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match=r"a\.rar needs the program unar: install it"):
        unpack(rar(tmp_path / "a.rar", "1.png", b"pixels"), release(tmp_path))


def test_loose_files_get_a_folder_of_the_archives_name_and_a_folder_stays_as_it_is(tmp_path: Path) -> None:
    into = release(tmp_path)
    unpack(zipped(tmp_path / "training_set.zip", {"1.png": b"1", "2.png": b"2"}), into)
    unpack(zipped(tmp_path / "b.zip", {"test_set/1.png": b"3"}), into)
    assert sorted(inside(into)) == ["test_set/1.png", "training_set/1.png", "training_set/2.png"]


def test_an_archive_never_overwrites_the_files_of_another(tmp_path: Path) -> None:
    into = release(tmp_path)
    for name, content in (("image.zip", b"image"), ("mask.zip", b"mask"), ("mask.tar", b"third")):
        if name.endswith("zip"):
            unpack(zipped(tmp_path / name, {"data/1.png": content}), into)
        else:
            with tarfile.open(tmp_path / name, "w") as archive:
                archive.add(on_disk(tmp_path / "s", {"data/1.png": content}) / "data", "data")
            unpack(tmp_path / name, into)
    assert inside(into) == {
        "data/1.png": b"image", "mask/data/1.png": b"mask", "mask-2/data/1.png": b"third"
    }  # fmt: skip


def test_archives_inside_archives_are_unpacked_twice_deep_in_their_place(tmp_path: Path) -> None:
    content = b"pixels"
    for level in range(4):
        content = zipped(
            tmp_path / "x.zip", {f"level{level}/{'x.zip' if level else '1.png'}": content}
        ).read_bytes()
    into = release(tmp_path)
    unpack(tmp_path / "x.zip", into)
    assert list(inside(into)) == ["level3/level2/level1/x.zip"]
    assert set(into.sha256) == set(inside(into))


def test_other_files_that_are_zips_inside_stay_whole(tmp_path: Path) -> None:
    table = zipped(tmp_path / "table.xlsx", {"sheet": b"1"}).read_bytes()
    into = release(tmp_path)
    unpack(
        zipped(tmp_path / "a.zip", {"a/table.xlsx": table, "a/volume.nii.gz": b"\x1f\x8b", "a/s.npz": table}),
        into,
    )
    assert sorted(inside(into)) == ["a/s.npz", "a/table.xlsx", "a/volume.nii.gz"]


def test_what_desktops_leave_behind_is_left_out(tmp_path: Path) -> None:
    litter = ["__MACOSX/a/._1.png", "a/.DS_Store", "a/Thumbs.db", "a/._1.png"]
    into = release(tmp_path)
    unpack(zipped(tmp_path / "a.zip", {"a/1.png": b"1", **dict.fromkeys(litter, b"x")}), into)
    assert inside(into) == {"a/1.png": b"1"}


def tar_of(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_a_hard_link_is_a_second_name_of_a_file_and_counts_as_one(tmp_path: Path) -> None:
    """As tar writes a file that stands twice in a folder of one disk."""
    first, again = tarfile.TarInfo("a/1.png"), member("a/again.png", tarfile.LNKTYPE, "a/1.png")
    first.size = 3_000
    third = member("a/third.png", tarfile.LNKTYPE, "./a/again.png")
    archive = tar_of(tmp_path / "a.tar", first, again, third)
    into = release(tmp_path)
    unpack(archive, into)
    assert inside(into) == dict.fromkeys(("a/1.png", "a/again.png", "a/third.png"), bytes(3_000))
    assert into.budget.written == 9_000
    with pytest.raises(Unavailable, match="decompression bomb"):
        unpack(archive, Unpacked(into.root, Budget(8_000)))


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.7z", "a.rar"])
def test_a_truncated_archive_is_damaged(tmp_path: Path, name: str) -> None:
    if name == "a.zip":
        archive = zipped(tmp_path / name, PICTURES)
    elif name == "a.rar":
        archive = rar(tmp_path / name, "1.png", bytes(range(256)) * 4)
    elif name == "a.7z":
        if SEVEN_ZIP is None:
            pytest.skip("7-Zip is not installed")
        archive = by_seven_zip(tmp_path / name)
    else:
        with tarfile.open(tmp_path / name, "w:gz") as tar:
            tar.add(on_disk(tmp_path / "source", PICTURES) / "scans", "scans")
        archive = tmp_path / name
    archive.write_bytes(archive.read_bytes()[: -archive.stat().st_size // 3])
    with pytest.raises(Damaged, match="fetch it again"):
        unpack(archive, release(tmp_path))


@pytest.mark.parametrize("names", [["n" * 300], ["a", "a/1.png"], ["a/1.png", "a"]])
def test_a_name_that_cannot_be_written_refuses_the_archive(tmp_path: Path, names: list[str]) -> None:
    """Too long, or a file where a folder is: found by fuzzing."""
    archive = tar_of(tmp_path / "a.tar", *(tarfile.TarInfo(name) for name in names))
    with pytest.raises(Unavailable, match=r"a\.tar was refused: a name in it cannot be written here"):
        unpack(archive, release(tmp_path))


def test_a_zip_whose_listing_leads_before_its_beginning_is_damaged(tmp_path: Path) -> None:
    """Found by fuzzing: zipfile lets the system's error through."""
    archive = zipped(tmp_path / "a.zip", PICTURES)
    archive.write_bytes(archive.read_bytes()[1:])
    with pytest.raises(Damaged, match="fetch it again"):
        unpack(archive, release(tmp_path))


def test_names_that_are_not_utf8_become_readable(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", encoding="latin-1") as archive:
        info = tarfile.TarInfo("a/Patient_Müller.png")
        archive.addfile(info, io.BytesIO(b""))
    into = release(tmp_path)
    assert unpack(tmp_path / "a.tar", into) == ["a/Patient_Müller.png"]
