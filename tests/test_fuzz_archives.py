"""Hostile archives: nothing is written outside of the release, and no error comes without a sentence."""

from __future__ import annotations

import io
import stat
import struct
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from fuzzing import fuzz, in_time, mutated
from hypothesis import given
from hypothesis import strategies as st
from test_unpack import PICTURES, by_seven_zip, rar, release, seven_zip, zipped

from usfmae.corpus.download.unavailable import Unavailable
from usfmae.corpus.download.unpack import unpack

PARTS = st.one_of(
    st.sampled_from(
        ["..", ".", "", "a", "b", "C:", "c:a", "~", "-rf", "\0", "a\nb", "é", "A", "'\"", "$(touch x)"]
    ),
    st.text(max_size=5),
    st.just("n" * 300),
)
NAMES = st.builds(
    lambda start, parts, between: start + between.join(parts),
    st.sampled_from(["", "", "", "/", "//", "\\", "\\\\host\\", "../", "../../", "../../../", "./"]),
    st.lists(PARTS, min_size=1, max_size=4),
    st.sampled_from(["/", "/", "\\"]),
)
KINDS = ("file", "link", "hard link", "folder", "device")
MEMBERS = st.lists(st.tuples(NAMES, st.sampled_from(KINDS), NAMES), min_size=1, max_size=5)


def unpack_and_look(folder: Path, archive: Path) -> None:
    """Unpacks into a release below `folder`, and fails where anything lies elsewhere, or is a link."""
    folder = folder / "1/2/3/4"  # so deep that what leads out is still below the folder that is looked at
    folder.mkdir(parents=True)
    (folder / "outside").mkdir()
    (folder / "outside/keep").write_text("untouched")
    into = release(folder)
    top = folder.parents[3]
    before = {path for path in top.rglob("*") if not path.is_relative_to(into.root)}
    try:
        with in_time():
            given_paths = unpack(archive, into)
    except Unavailable as error:
        assert str(error)
    else:
        for path in given_paths:
            assert (into.root / path).is_file() and not (into.root / path).is_symlink()
    assert {path for path in top.rglob("*") if not path.is_relative_to(into.root)} == before
    assert (folder / "outside/keep").read_text() == "untouched"
    for path in into.root.rglob("*"):
        assert path.resolve().is_relative_to(into.root.resolve()) and not path.is_symlink()


@given(members=MEMBERS)
@fuzz(150)
def test_a_zip_of_any_names_and_links_stays_inside(members: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with zipfile.ZipFile(folder / "a.zip", "w") as archive:
            for path, kind, target in members:
                info = zipfile.ZipInfo()
                info.filename = path  # its constructor would cut and turn what is hostile
                modes = {"link": stat.S_IFLNK, "folder": stat.S_IFDIR, "device": stat.S_IFCHR}
                info.external_attr = (modes.get(kind, stat.S_IFREG) | 0o777) << 16
                try:
                    archive.writestr(info, target)
                except (
                    UnicodeEncodeError,
                    struct.error,
                    ValueError,
                    IndexError,
                ):
                    return
        unpack_and_look(folder, folder / "a.zip")


@given(members=MEMBERS)
@fuzz(150)
def test_a_tar_of_any_names_and_links_stays_inside(members: list[tuple[str, str, str]]) -> None:
    types = {
        "link": tarfile.SYMTYPE,
        "hard link": tarfile.LNKTYPE,
        "folder": tarfile.DIRTYPE,
        "device": tarfile.CHRTYPE,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with tarfile.open(folder / "a.tar", "w", errors="surrogatepass") as archive:
            for path, kind, target in members:
                info = tarfile.TarInfo(path)
                info.type, info.linkname = types.get(kind, tarfile.REGTYPE), target
                info.size = 3 if kind == "file" else 0
                archive.addfile(info, io.BytesIO(b"abc"))
        unpack_and_look(folder, folder / "a.tar")


def small_archives(folder: Path) -> dict[str, bytes]:
    """A whole archive of each kind that Python reads by itself."""
    made = {"a.zip": zipped(folder / "a.zip", PICTURES).read_bytes()}
    for ending in ("tar", "tar.gz", "tar.bz2", "tar.xz"):
        with tarfile.open(folder / f"a.{ending}", f"w:{ending[4:]}") as archive:
            for name, content in PICTURES.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        made[f"a.{ending}"] = (folder / f"a.{ending}").read_bytes()
    return made


with tempfile.TemporaryDirectory() as _folder:
    ARCHIVES = small_archives(Path(_folder))


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_damaged_archive_is_unpacked_or_refused_with_a_sentence(name: str) -> None:
    @given(content=mutated(ARCHIVES[name]))
    @fuzz(60)
    def damaged(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / name).write_bytes(content)
            unpack_and_look(Path(place), Path(place) / name)

    damaged()


@seven_zip
@pytest.mark.parametrize("name", ["a.7z", "a.rar"])
def test_a_damaged_archive_for_a_program_is_unpacked_or_refused_with_a_sentence(
    name: str, tmp_path: Path
) -> None:
    whole = by_seven_zip(tmp_path / name) if name == "a.7z" else rar(tmp_path / name, "1.png", b"x" * 60)

    @given(content=mutated(whole.read_bytes()))
    @fuzz(10)
    def damaged(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / name).write_bytes(content)
            unpack_and_look(Path(place), Path(place) / name)

    damaged()


@given(name=NAMES)
@fuzz(15)
def test_a_rar_of_any_name_stays_inside(name: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        try:
            rar(Path(place) / "a.rar", name, b"content")
        except (UnicodeEncodeError, struct.error):
            return
        unpack_and_look(Path(place), Path(place) / "a.rar")


@given(ups=st.integers(1, 4), name=st.sampled_from(["evil", "a/evil"]), between=st.sampled_from(["/", "\\"]))
@fuzz(15)
def test_a_member_that_climbs_is_refused_however_high(ups: int, name: str, between: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with tarfile.open(folder / "a.tar", "w") as archive:
            info = tarfile.TarInfo(between.join([".."] * ups + [name]))
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
        with pytest.raises(Unavailable, match="leads out of the release"):
            unpack(folder / "a.tar", release(folder))
