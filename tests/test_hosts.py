"""Each host's catalogue becomes the same list of files, and no credential leaves its host."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from stand_in import Fault, stand_in

from usfmae.corpus.download import web as web_module
from usfmae.corpus.download.archives import fetch_release
from usfmae.corpus.download.catalogues import FileToFetch
from usfmae.corpus.download.fetch import fetch
from usfmae.corpus.download.hosts import REMOTE
from usfmae.corpus.download.unavailable import Unavailable
from usfmae.corpus.download.web import Web
from usfmae.settings.access import Download
from usfmae.settings.datasets import Dataset

SECRET = "KGAT_planted_0123456789"


@pytest.fixture(autouse=True)
def own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(web_module, "BACKOFF", 0.01)
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def dataset(**access: Any) -> Dataset:
    return Dataset.model_validate(
        {
            "title": "A release",
            "anatomy": "mixed",
            "access": access,
            "licence": {"name": "CC-BY-4.0", "use": "open"},
            "citation": "none",
            "include": ["**/*.png"],
        }
    )


def listed(entry: Dataset, server: Any, folder: Path) -> list[FileToFetch]:
    return REMOTE[entry.access.host](entry.access, Web(Download(mirrors=server.mirrors), folder / ".locks"))


def released(folder: Path) -> dict[str, bytes]:
    root = folder / json.loads((folder / "fetched.json").read_text())["root"]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def pictures(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"picture {name}".encode())
    return folder


def test_zenodo_lists_every_file_with_its_md5(tmp_path: Path) -> None:
    base = "https://zenodo.org/records/77/files"
    with stand_in({f"{base}/a%20scan.png": b"one", f"{base}/b.png": b"two"}) as server:
        files = listed(dataset(host="zenodo", record=77), server, tmp_path)
        assert [(file.name, file.bytes, file.md5 is not None) for file in files] == [
            ("a scan.png", 3, True),
            ("b.png", 3, True),
        ]
        fetched = fetch(
            "z", dataset(host="zenodo", record=77), tmp_path / "z", Download(mirrors=server.mirrors)
        )
    assert released(tmp_path / "z") == {"a scan.png": b"one", "b.png": b"two"}
    assert {file["checked"] for file in fetched["downloads"]} == {"published"}
    assert fetched["downloads"][0]["url"] == "https://zenodo.org/api/records/77/files/a%20scan.png/content"


def test_the_registry_chooses_files_and_its_checksum_goes_first(tmp_path: Path) -> None:
    base = "https://zenodo.org/records/77/files"
    entry = dataset(host="zenodo", record=77, files=[{"name": "b.png", "sha256": "0" * 64}])
    with stand_in({f"{base}/a.png": b"one", f"{base}/b.png": b"two"}) as server:
        (file,) = listed(entry, server, tmp_path)
        assert (file.bytes, file.sha256) == (3, "0" * 64)
        wrong = dataset(host="zenodo", record=77, files=[{"name": "c.png"}])
        with pytest.raises(Unavailable, match=r"for the file c\.png; the host lists a\.png, b\.png"):
            listed(wrong, server, tmp_path)


def test_a_record_without_files_is_unavailable(tmp_path: Path) -> None:
    with stand_in({}) as server:
        fetched = fetch(
            "z", dataset(host="zenodo", record=1), tmp_path / "z", Download(mirrors=server.mirrors)
        )
    assert fetched["reason"].startswith("https://zenodo.org/api/records/1 is not there (404)")


@pytest.mark.parametrize("article", [21, None])
def test_figshare_finds_a_file_by_its_number(tmp_path: Path, article: int | None) -> None:
    entry = dataset(host="figshare", article=article, files=[{"name": "mine.png", "id": "5"}])
    address = "https://ndownloader.figshare.com/files"
    with stand_in({f"{address}/5": b"five", f"{address}/6": b"six"}) as server:
        (file,) = listed(entry, server, tmp_path)
        assert (file.name, file.url, file.md5 is None) == ("mine.png", f"{address}/5", article is None)
        fetch("f", entry, tmp_path / "f", Download(mirrors=server.mirrors))
    assert released(tmp_path / "f") == {"mine.png": b"five"}


def test_mendeley_keeps_its_folders(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "source", "top.png", "Benign/images/1.png", "Malignant/images/1.png")
    entry = dataset(host="mendeley", dataset="abc123", version=2)
    with stand_in({"https://data.mendeley.com/datasets/abc123/2": folder}) as server:
        assert all(file.sha256 for file in listed(entry, server, tmp_path))
        fetch("m", entry, tmp_path / "m", Download(mirrors=server.mirrors))
    assert sorted(released(tmp_path / "m")) == ["Benign/images/1.png", "Malignant/images/1.png", "top.png"]


def test_github_starts_at_the_repository_and_compares_contents(tmp_path: Path) -> None:
    import zipfile

    def packed(name: str, **pixels: str) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for picture, text in pixels.items():
                archive.writestr(f"scans-abc/data/{picture}.png", text)
        return tmp_path / name

    entry = dataset(host="github", repository="me/scans", commit="abc")
    files: dict[str, bytes | Path] = {"https://github.com/me/scans": packed("1.zip", a="A", b="B")}
    with stand_in(files) as server:
        network = Download(mirrors=server.mirrors, keep_archives=False)
        fetched = fetch("g", entry, tmp_path / "g", network)
        assert [file["path"] for file in fetched["files"]] == ["data/a.png", "data/b.png"]
        files["https://github.com/me/scans"] = packed("2.zip", b="B", a="A")  # packed in another order
        assert fetch("g", entry, tmp_path / "g", network)["downloads"][0]["checked"] == "pinned"
        files["https://github.com/me/scans"] = packed("3.zip", a="A", b="changed")
        reason = fetch("g", entry, tmp_path / "g", network)["reason"]
    assert "the contents of scans-abc.zip has changed" in reason


def test_google_drive_is_confirmed_and_a_folder_has_more_than_fifty_files(tmp_path: Path) -> None:
    many = pictures(tmp_path / "many", *(f"fold {n % 3}/{n}.png" for n in range(70)), "a & b.png")
    files: dict[str, bytes | Path] = {
        "https://drive.google.com/file/d/ABC/view": b"one file",
        "https://drive.google.com/drive/folders/XYZ": many,
    }
    with stand_in(files) as server:
        network = Download(mirrors=server.mirrors)
        entry = dataset(host="google_drive", files=[{"name": "one.png", "id": "ABC"}])
        fetched = fetch("one", entry, tmp_path / "one", network)
        assert released(tmp_path / "one") == {"one.png": b"one file"}
        assert fetched["downloads"][0]["url"] == "https://drive.google.com/uc?id=ABC"
        assert any("confirm=t" in request.url for request in server.seen)
        fetch("many", dataset(host="google_drive", folder="XYZ"), tmp_path / "many_fetched", network)
    assert len(released(tmp_path / "many_fetched")) == 71
    assert "a & b.png" in released(tmp_path / "many_fetched")


def test_a_page_of_google_drive_that_is_no_confirmation_is_named(tmp_path: Path) -> None:
    entry = dataset(host="google_drive", files=[{"name": "one.png", "id": "ABC"}])
    faults = {"https://drive.google.com/uc": [Fault("page")]}
    with stand_in({"https://drive.google.com/file/d/ABC/view": b""}, faults) as server:
        reason = fetch("one", entry, tmp_path / "one", Download(mirrors=server.mirrors))["reason"]
    assert reason.startswith("Google Drive answers with a page in place of the file")


def test_files_with_addresses_of_their_own_are_fetched_from_there(tmp_path: Path) -> None:
    url = "https://www.cancerimagingarchive.net/wp-content/a.png"
    entry = dataset(host="tcia", collection="C", files=[{"name": "a.png", "url": url}])
    with stand_in({url: b"pixels"}) as server:
        fetch("t", entry, tmp_path / "t", Download(mirrors=server.mirrors))
    assert released(tmp_path / "t") == {"a.png": b"pixels"}
    nowhere = dataset(host="http", files=[{"name": "a.zip"}])
    assert fetch("h", nowhere, tmp_path / "h")["reason"].startswith("no address is known for the file a.zip")


KAGGLE = {"https://www.kaggle.com/datasets/me/scans": b"pixels"}


def kaggle() -> Dataset:
    return dataset(host="kaggle_dataset", dataset="me/scans", files=[{"name": "scans.png"}])


def test_without_a_token_kaggle_says_how_to_get_one(tmp_path: Path) -> None:
    reason = fetch("k", kaggle(), tmp_path / "k")["reason"]
    assert "there is no Kaggle token on this machine" in reason
    assert f"put the files into {tmp_path / 'k/archives'}, run it again" in reason


def test_a_token_is_sent_to_kaggle_only_and_is_written_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", SECRET)
    route = "https://www.kaggle.com/api/v1/datasets/download/me/scans"
    with stand_in(KAGGLE, {route: [Fault("status", 500), Fault("none"), Fault("status", 403)]}) as server:
        network = Download(mirrors=server.mirrors)
        assert fetch("k", kaggle(), tmp_path / "k", network)["status"] == "available"
        fetch("refused", kaggle(), tmp_path / "refused", network)
        asked_kaggle = [r for r in server.seen if f":{r.port}" in server.base]
        asked_others = [r for r in server.seen if f":{r.port}" not in server.base]
        header = next(iter(listed(kaggle(), server, tmp_path)))
    assert {request.headers["Authorization"] for request in asked_kaggle} == {f"Bearer {SECRET}"}
    assert asked_others and all("Authorization" not in request.headers for request in asked_others)
    said = "".join(capfd.readouterr()) + repr(header)
    written = [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix in (".json", ".log", "")]
    assert len(written) >= 4
    for text in (said, *(path.read_text(errors="replace") for path in written)):
        assert SECRET not in text
        assert "Signature=secret" not in text


def test_credentials_come_from_the_environment_or_the_clients_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sent() -> str:
        with stand_in(KAGGLE) as server:
            fetch_release(
                "k", kaggle(), tmp_path / "k", Download(mirrors=server.mirrors, keep_archives=False), None
            )
            return server.seen[0].headers["Authorization"]

    def basic(text: str) -> str:
        return "Basic " + base64.b64encode(text.encode()).decode()

    (tmp_path / "home/.kaggle").mkdir(parents=True)
    (tmp_path / "home/.kaggle/kaggle.json").write_text('{"username": "me", "key": "filed"}')
    assert sent() == basic("me:filed")
    monkeypatch.setenv("KAGGLE_USERNAME", "me")
    monkeypatch.setenv("KAGGLE_KEY", "set")
    assert sent() == basic("me:set")


def test_a_credential_file_that_is_none_is_named_and_not_quoted(tmp_path: Path) -> None:
    (tmp_path / "home/.kaggle").mkdir(parents=True)
    (tmp_path / "home/.kaggle/kaggle.json").write_text(f"token = {SECRET}")
    reason = fetch("k", kaggle(), tmp_path / "k")["reason"]
    assert "kaggle.json is not the file that Kaggle hands out" in reason
    assert SECRET not in reason


def test_nothing_from_netrc_is_sent(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.netrc").write_text(f"machine 127.0.0.1 login me password {SECRET}\n")
    with stand_in({"https://data.example.org/a.png": b"x"}) as server:
        Web(Download(mirrors=server.mirrors), tmp_path / ".locks").text("https://data.example.org/a.png")
    assert "Authorization" not in server.seen[0].headers
