"""What an archive is refused for: paths and links that lead out, devices, bombs of any kind."""

from __future__ import annotations

import io
import stat
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from test_unpack import PICTURES, by_seven_zip, inside, member, release, seven_zip, tar_of, zipped

from usfmae.corpus.download import members, programs
from usfmae.corpus.download.members import Member
from usfmae.corpus.download.unavailable import Unavailable
from usfmae.corpus.download.unpack import _write, budget_of, unpack


@pytest.mark.parametrize(
    "name", ["../evil.png", "a/../../evil.png", "/etc/evil.png", "C:\\evil.png", "..\\evil.png"]
)
def test_a_path_that_leads_out_refuses_the_archive(tmp_path: Path, name: str) -> None:
    into = release(tmp_path)
    with pytest.raises(Unavailable, match="leads out of the release"):
        unpack(zipped(tmp_path / "a.zip", {"good.png": b"x", name: b"evil"}), into)
    assert inside(into) == {}
    assert not list(tmp_path.rglob("evil.png"))


@pytest.mark.parametrize(
    ("kind", "target", "words"),
    [
        (tarfile.SYMTYPE, "../../etc/passwd", "its link 'a/x' leads out"),
        (tarfile.SYMTYPE, "/etc/passwd", "its link 'a/x' leads out"),
        (tarfile.LNKTYPE, "../1.png", "its link 'a/x' leads out"),
        (tarfile.LNKTYPE, "a/that is not there.png", "its link 'a/x' leads out"),
        (tarfile.LNKTYPE, "a/x", "its link 'a/x' leads out"),
        (tarfile.CHRTYPE, "", "is a device"),
        (tarfile.FIFOTYPE, "", "is a device"),
    ],
)
def test_links_out_and_devices_refuse_the_archive(
    tmp_path: Path, kind: bytes, target: str, words: str
) -> None:
    with pytest.raises(Unavailable, match=words):
        unpack(tar_of(tmp_path / "a.tar", member("a/x", kind, target)), release(tmp_path))


def test_a_link_within_the_release_is_left_out(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {"a/1.png": b"1"})
    with zipfile.ZipFile(archive, "a") as opened:
        link = zipfile.ZipInfo("a/latest.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(link, "1.png")
        out = zipfile.ZipInfo("a/out.png")
        out.external_attr = link.external_attr
    into = release(tmp_path)
    unpack(archive, into)
    assert inside(into) == {"a/1.png": b"1"}
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(out, "../../outside")
    (tmp_path / "b").mkdir()
    with pytest.raises(Unavailable, match="leads out"):
        unpack(archive, release(tmp_path / "b"))


def test_a_link_that_is_no_path_is_refused_unread(tmp_path: Path) -> None:
    """A bomb in memory: a zip keeps where a link points as the content of a file."""
    archive = zipped(tmp_path / "a.zip", {"a/1.png": b"1"})
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as opened:
        link = zipfile.ZipInfo("a/latest.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(link, bytes(50_000_000), zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    with pytest.raises(Unavailable, match=r"its link 'a/latest\.png' unpacks to 50,000,000 bytes"):
        unpack(archive, release(tmp_path))
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("ending", ["zip", "tar", pytest.param("7z", marks=seven_zip)])
def test_more_files_than_any_release_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    for module in (members, programs):
        monkeypatch.setattr(module, "MOST_FILES", 1)
    if ending == "zip":
        archive = zipped(tmp_path / "a.zip", PICTURES)
    elif ending == "7z":
        archive = by_seven_zip(tmp_path / "a.7z")
    else:
        archive = tar_of(tmp_path / "a.tar", tarfile.TarInfo("a/1.png"), tarfile.TarInfo("a/2.png"))
    into = release(tmp_path)
    with pytest.raises(Unavailable, match="to more than 1 files, more than any release has"):
        unpack(archive, into)
    assert inside(into) == {}


def test_a_bomb_is_refused_by_its_listing(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "bomb.zip", {"a/1.png": bytes(3_000_000)})
    into = release(tmp_path, budget_of([archive], None).limit)
    assert into.budget.limit == 200 * archive.stat().st_size
    with pytest.raises(Unavailable, match=r"bomb\.zip unpacks to more than .* decompression bomb"):
        unpack(archive, into)
    assert inside(into) == {}
    assert budget_of([archive], 2_000_000).limit == 3_000_000


def test_a_bomb_inside_an_archive_counts_with_it(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", {"1.png": bytes(900_000)}).read_bytes()
    files = {f"{n}/inner.zip": inner for n in range(5)}
    with pytest.raises(Unavailable, match="decompression bomb"):
        unpack(zipped(tmp_path / "a.zip", files), release(tmp_path, 2_000_000))


def test_a_listing_that_lies_is_found_out_while_writing(tmp_path: Path) -> None:
    liar = Member("a/1.png", 10, None, False, lambda: io.BytesIO(bytes(5_000_000)))
    into = release(tmp_path, 2_000_000)
    with pytest.raises(Unavailable, match="decompression bomb"):
        _write(tmp_path / "liar.zip", [liar], into, "")


@seven_zip
def test_a_bomb_for_a_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="decompression bomb"):
        unpack(by_seven_zip(tmp_path / "a.7z"), release(tmp_path, 100))
