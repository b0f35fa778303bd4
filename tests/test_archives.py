"""From archives to a release: what is fetched, what a person has placed, what is pinned, and what stays."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import pytest
from stand_in import Content, Fault, stand_in

from usfmae.corpus.download import web as web_module
from usfmae.corpus.download.fetch import fetch, listing_digest, verify
from usfmae.corpus.download.pins import gather, read_lock
from usfmae.settings.access import Download
from usfmae.settings.datasets import Dataset

ROOT = Path(__file__).resolve().parents[1]
URL = "https://data.example.org/scans.zip"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_module, "BACKOFF", 0.01)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    return zipped(tmp_path / "made/scans.zip", a="one", b="two")


def zipped(path: Path, **pictures: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, pixels in pictures.items():
            archive.writestr(f"images/{name}.png", pixels * 100)
    return path


def entry(**more: Any) -> dict[str, Any]:
    return {
        "title": "A release",
        "anatomy": "mixed",
        "access": {"host": "http", "files": [{"name": "scans.zip", "url": URL}]},
        "licence": {"name": "CC-BY-4.0", "use": "open"},
        "citation": "none",
        "include": ["images/*.png"],
    } | more


def http(**file: Any) -> Dataset:
    access = {"host": "http", "files": [{"name": "scans.zip", "url": URL} | file]}
    return Dataset.model_validate(entry(access=access))


BY_HAND = Dataset.model_validate(
    entry(access={"host": "folder", "account": "a form", "instructions": "Ask\nthe authors."})
)


class Place:
    """One dataset's folder, and a network that serves `files`."""

    def __init__(self, folder: Path, files: dict[str, Content], **download: Any) -> None:
        self.folder, self.files, self.download = folder, files, download
        self.lock = folder.parent.parent / "checksums.lock"

    def fetch(self, dataset: Dataset, *faults: Fault) -> dict[str, Any]:
        with stand_in(self.files, {URL: list(faults)}) as server:
            network = Download(mirrors=server.mirrors, **self.download)
            fetched = fetch(self.folder.name, dataset, self.folder, network, self.lock)
            self.asked = [request.url for request in server.seen]
        return fetched


@pytest.fixture
def place(tmp_path: Path, scans: Path) -> Place:
    return Place(tmp_path / "resources/scans", {URL: scans})


def test_a_release_is_fetched_unpacked_and_listed(place: Place) -> None:
    fetched = place.fetch(http())
    assert (fetched["status"], fetched["root"]) == ("available", "release")
    assert [file["path"] for file in fetched["files"]] == ["images/a.png", "images/b.png"]
    (download,) = fetched["downloads"]
    assert download.keys() == {"name", "url", "bytes", "sha256", "checked"}
    assert download["checked"] == "first"
    assert json.loads((place.folder / "fetched.json").read_text()) == fetched
    assert verify(place.folder.parent) == []


def test_a_rerun_fetches_nothing_and_comes_out_alike(place: Place) -> None:
    first = place.fetch(http())
    (place.folder / "fetched.json").unlink()  # Snakemake removes it before a rerun
    again = place.fetch(http())
    assert place.asked == []
    assert again["files"] == first["files"]
    assert again["downloads"][0]["checked"] == "pinned"


def test_a_pin_outlives_the_archive_and_refuses_another_file(place: Place, scans: Path) -> None:
    place.download = {"keep_archives": False}
    place.fetch(http())
    assert not (place.folder / "archives/scans.zip").exists()
    zipped(scans, a="changed")
    reason = place.fetch(http())["reason"]
    assert "scans.zip has changed: sha256" in reason and "downloads.json" in reason


def test_pins_are_gathered_sorted_and_hold_on_another_machine(
    place: Place, scans: Path, tmp_path: Path
) -> None:
    place.fetch(http())
    place.lock.write_text("other\ta.zip\t1\tabc\n")
    assert gather(place.folder.parent, place.lock) == 2
    lines = place.lock.read_text().splitlines()
    assert [line.split("\t")[:2] for line in lines[1:]] == [["other", "a.zip"], ["scans", "scans.zip"]]
    zipped(scans, a="changed")
    elsewhere = Place(tmp_path / "elsewhere/resources/scans", {URL: scans})
    elsewhere.lock = place.lock
    assert str(place.lock) in elsewhere.fetch(http())["reason"]
    place.lock.write_text("scans scans.zip\n")
    with pytest.raises(ValueError, match=r"checksums\.lock, line 1: expected dataset, name"):
        read_lock(place.lock)


def test_a_checksum_in_the_registry_goes_before_the_pin(place: Place, scans: Path) -> None:
    from usfmae.record import sha256

    place.download = {"keep_archives": False}
    place.fetch(http())
    zipped(scans, a="new version", b="too")
    fetched = place.fetch(http(sha256=sha256(scans)))
    assert fetched["downloads"][0]["checked"] == "published"


def test_a_truncated_archive_is_unavailable_and_is_not_pinned(place: Place, scans: Path) -> None:
    whole = scans.read_bytes()
    scans.write_bytes(whole[:-60])
    fetched = place.fetch(http())
    assert fetched["reason"].startswith("scans.zip is cut short or damaged")
    assert not (place.folder / "archives/scans.zip").exists()
    scans.write_bytes(whole)
    assert place.fetch(http())["status"] == "available"


def test_a_release_that_lacks_what_the_registry_names_is_unavailable(place: Place, scans: Path) -> None:
    dataset = Dataset.model_validate(entry(include=["images/*.png", "volumes/*.nii.gz"]))
    fetched = place.fetch(dataset)
    assert (
        "not laid out as the registry says: no file matches include 'volumes/*.nii.gz'" in fetched["reason"]
    )
    assert gather(place.folder.parent, place.lock) == 0


def test_a_failed_fetch_leaves_the_release_before(place: Place) -> None:
    place.fetch(http())
    (place.folder / "archives/scans.zip").unlink()
    assert place.fetch(http(), Fault("status", 404))["status"] == "unavailable"
    assert (place.folder / "release/images/a.png").exists()
    assert not list(place.folder.glob(".*"))


def test_the_folder_may_move(place: Place, tmp_path: Path) -> None:
    place.fetch(http())
    place.folder.parent.rename(tmp_path / "moved")
    assert verify(tmp_path / "moved") == []


def test_what_only_a_person_can_get_says_how_and_where_in_one_line(place: Place) -> None:
    reason = place.fetch(BY_HAND)["reason"]
    assert reason == (
        f"only a person can fetch it (a form). By hand: Ask the authors; put the files into "
        f"{place.folder / 'archives'}, run it again"
    )


def test_archives_and_loose_files_that_a_person_places_become_the_release(place: Place, scans: Path) -> None:
    place.fetch(BY_HAND)
    (place.folder / "archives/images").mkdir()
    (place.folder / "archives/images/c.png").write_bytes(b"three")
    (place.folder / "archives/.DS_Store").touch()
    (place.folder / "archives/scans.zip").write_bytes(scans.read_bytes())
    fetched = place.fetch(BY_HAND)
    # The archive's `images` would mix with the loose ones; its files do not collide, so they may.
    assert [file["path"] for file in fetched["files"]] == ["images/a.png", "images/b.png", "images/c.png"]
    assert [file["name"] for file in fetched["downloads"]] == ["scans.zip"]


def test_a_placed_archive_is_used_where_the_host_is_dead_and_is_kept(place: Place, scans: Path) -> None:
    place.download = {"keep_archives": False}
    (place.folder / "archives").mkdir(parents=True)
    (place.folder / "archives/scans.zip").write_bytes(scans.read_bytes())
    record = Dataset.model_validate(entry(access={"host": "zenodo", "record": 404}))
    assert place.fetch(record)["status"] == "available"
    assert (place.folder / "archives/scans.zip").exists()


def test_a_placed_archive_that_does_not_fit_is_refused(place: Place) -> None:
    (place.folder / "archives").mkdir(parents=True)
    (place.folder / "archives/scans.zip").write_bytes(b"other")
    reason = place.fetch(http(sha256="0" * 64))["reason"]
    assert "scans.zip is not what its publisher states" in reason
    assert f"it lies in {place.folder / 'archives'}: remove it there first" in reason
    assert place.asked == []


def test_placing_files_changes_the_listing_and_fetching_does_not(place: Place, scans: Path) -> None:
    def digest() -> str:
        return listing_digest(http(), place.folder)

    assert digest() == ""
    place.fetch(http(), Fault("status", 404))
    assert digest() == ""
    (place.folder / "archives/scans.zip").write_bytes(scans.read_bytes())
    placed = digest()
    assert placed != ""
    assert place.fetch(http())["status"] == "available"
    assert digest() == placed  # else the next start would find it stale again
    (place.folder / "archives/scans.zip").unlink()
    place.fetch(http())
    assert len(place.asked) == 1
    (place.folder / "archives/scans.zip.part").touch()
    before = json.loads((place.folder / "downloads.json").read_text())["downloads"]
    assert [file["placed"] for file in before] == [False]
    assert digest() == ""


def test_verify_names_what_is_gone_or_changed(place: Place) -> None:
    place.fetch(http())
    (place.folder / "release/images/a.png").write_bytes(b"ONE" * 100)
    (place.folder / "release/images/b.png").unlink()
    (place.folder / "archives/scans.zip").write_bytes(b"")
    changed, gone, archive = verify(place.folder.parent)
    assert "a.png has changed: sha256" in changed
    assert "b.png is gone" in gone
    assert "scans.zip has 0 bytes" in archive


def test_two_processes_that_want_the_same_dataset_fetch_it_once(place: Place) -> None:
    program = textwrap.dedent("""
        import json, sys
        from pathlib import Path
        from usfmae.corpus.download.fetch import fetch
        from usfmae.settings.access import Download
        from usfmae.settings.datasets import Dataset
        dataset, mirrors, folder = map(json.loads, sys.argv[1:])
        network = Download(mirrors=mirrors)
        print(fetch("scans", Dataset.model_validate(dataset), Path(folder), network)["status"])
    """)
    # The first waits for two seconds inside its request: the other starts meanwhile.
    with stand_in(place.files, {URL: [Fault("status", 429, {"Retry-After": "2"})]}) as server:
        arguments = [json.dumps(value) for value in (entry(), server.mirrors, str(place.folder))]
        command = [sys.executable, "-c", program, *arguments]
        both = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
            for _ in range(2)
        ]
        said = sorted((process.communicate(timeout=60)[0] for process in both), key=len)
        assert len(server.seen) == 2  # the 429 and the file
    assert all(text.endswith("available\n") for text in said)
    assert sum("another process fetches scans: waiting for it" in text for text in said) == 1
