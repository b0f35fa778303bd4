"""Fetching: a dataset that cannot be had is a result, and what was fetched is listed with its digest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from usfmae.corpus.download.fetch import fetch, listing_digest
from usfmae.record import sha256
from usfmae.settings.datasets import Dataset


def dataset(**access: Any) -> Dataset:
    return Dataset.model_validate(
        {
            "title": "A release",
            "anatomy": "mixed",
            "access": access,
            "licence": {"name": "CC-BY-4.0", "use": "open"},
            "citation": "none",
        }
    )


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_folder_that_is_not_there_is_unavailable_with_what_to_do(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    fetched = fetch("mine", dataset(host="folder", folder=str(missing)), tmp_path / "resources/mine")
    assert fetched["status"] == "unavailable"
    assert fetched["reason"] == (
        f"there is no folder {missing}; put the release there, or correct `access.folder`"
    )
    assert (fetched["root"], fetched["files"]) == (None, [])
    assert json.loads((tmp_path / "resources/mine/fetched.json").read_text()) == fetched


def test_a_variable_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_DATA", raising=False)
    fetched = fetch("mine", dataset(host="folder", folder="${NO_SUCH_DATA}/scans"), tmp_path / "mine")
    assert "${NO_SUCH_DATA}/scans" in fetched["reason"]


def test_a_folder_is_listed_and_nothing_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = tmp_path / "release"
    (release / "images").mkdir(parents=True)
    (release / "images/1.png").write_bytes(b"pixels")
    (release / "table.csv").write_text("file\n1.png\n")
    monkeypatch.setenv("SCANS", str(release))
    fetched = fetch("mine", dataset(host="folder", folder="${SCANS}"), tmp_path / "resources/mine")
    assert (fetched["status"], fetched["reason"]) == ("available", None)
    assert fetched["root"] == str(release.resolve())
    assert fetched["files"] == [
        {"path": "images/1.png", "bytes": 6, "sha256": sha256(release / "images/1.png")},
        {"path": "table.csv", "bytes": 11, "sha256": sha256(release / "table.csv")},
    ]
    assert fetched["licence"]["name"] == "CC-BY-4.0"
    assert [path.name for path in (tmp_path / "resources/mine").iterdir()] == ["fetched.json"]


def test_placing_changing_and_removing_a_file_changes_the_listing(tmp_path: Path) -> None:
    own = dataset(host="folder", folder=str(tmp_path / "scans"))
    seen = [listing_digest(own)]
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/1.png").write_bytes(b"one")
    seen.append(listing_digest(own))
    assert listing_digest(own) == seen[-1]
    (tmp_path / "scans/2.png").write_bytes(b"two")
    seen.append(listing_digest(own))
    (tmp_path / "scans/2.png").write_bytes(b"three")
    seen.append(listing_digest(own))
    (tmp_path / "scans/1.png").unlink()
    seen.append(listing_digest(own))
    assert len(set(seen)) == len(seen)


def test_the_listing_of_a_package_is_where_it_lies() -> None:
    listing = listing_digest(dataset(host="package", package="pydicom", folder="data"))
    assert listing.endswith("pydicom/__init__.py")
    simulated = dataset(host="simulated", anatomy="neck", subjects={"normal": 1})
    assert listing_digest(simulated) == ""


def test_files_of_an_installed_package_are_found_where_they_are(tmp_path: Path) -> None:
    fetched = fetch("samples", dataset(host="package", package="pydicom", folder="data/test_files"), tmp_path)
    assert fetched["status"] == "available"
    assert "examples_ybr_color.dcm" in {file["path"] for file in fetched["files"]}
    assert Path(fetched["root"], "examples_ybr_color.dcm").is_file()


@pytest.mark.parametrize(
    ("package", "folder", "reason"),
    [
        ("no_such_package", "data", "the Python package 'no_such_package' is not installed"),
        ("pydicom", "no_such_folder", "there is no folder"),
        ("json.decoder", "data", "the Python package 'json.decoder' is not installed"),  # a single file
        ("no_such_package.inner", "data", "the Python package 'no_such_package.inner' is not installed"),
    ],
)
def test_a_package_without_the_files_is_unavailable(
    tmp_path: Path, package: str, folder: str, reason: str
) -> None:
    fetched = fetch("samples", dataset(host="package", package=package, folder=folder), tmp_path)
    assert fetched["status"] == "unavailable"
    assert fetched["reason"].startswith(reason)


def neck(seed: int) -> Dataset:
    return dataset(
        host="simulated",
        anatomy="neck",
        subjects={"normal": 2, "cystic_hygroma": 2},
        frames_per_subject=2,
        seed=seed,
    )


def test_a_simulated_release_is_the_same_bytes_for_the_same_seed(tmp_path: Path) -> None:
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        fetch("neck", neck(seed), tmp_path / folder)
    first, again, other = (files(tmp_path / folder) for folder in "abc")
    assert first == again
    assert first != other
    assert json.loads(first["fetched.json"])["root"] == "."  # the folder may be moved


def test_simulating_again_leaves_nothing_of_the_release_before(tmp_path: Path) -> None:
    fetch("neck", neck(1), tmp_path / "neck")
    (tmp_path / "neck/images/neck_9999_0.png").touch()
    fetched = fetch("neck", neck(1), tmp_path / "neck")
    assert "images/neck_9999_0.png" not in {file["path"] for file in fetched["files"]}
