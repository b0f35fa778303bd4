"""Disks that are full or read-only: one sentence, nothing half-written, and the same command goes on.

They mount file systems, and so need root.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import Unbroken
from fault_study import fail, finish, modified
from stand_in import stand_in
from test_faults_killed import SCRATCH, TARGET, predictions, without_a_fold

from usfmae.corpus.download.fetch import fetch
from usfmae.settings.access import Download
from usfmae.settings.datasets import Dataset


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Something mounted on a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *options, str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full_is_said_and_leaves_nothing_half_written(
    unbroken: Unbroken, tmp_path: Path
) -> None:
    folder = without_a_fold(unbroken, tmp_path / "study", SCRATCH)
    with mounted(folder / SCRATCH, "-t", "tmpfs", "-o", "size=1m", "tmpfs"):
        (folder / SCRATCH / "filler").write_bytes(bytes(1_020_000))
        said = fail(folder, TARGET)
        assert "No space left on device: make room there and start the same command again" in said
        assert [path.name for path in (folder / SCRATCH).iterdir()] == ["filler"]
    finish(folder, TARGET)
    assert predictions(folder, SCRATCH) == predictions(unbroken.folder, SCRATCH)


def test_a_download_that_fills_the_disk_is_unavailable_and_goes_on_once_there_is_room(
    tmp_path: Path,
) -> None:
    address, scan = "https://data.example.org/scan.bin", os.urandom(40_000_000)
    access = {"host": "http", "files": [{"name": "scan.bin", "url": address}]}
    dataset = Dataset.model_validate(
        {
            "title": "A release",
            "anatomy": "mixed",
            "access": access,
            "citation": "none",
            "licence": {"name": "CC-BY-4.0", "use": "open"},
        }
    )
    folder = tmp_path / "resources/scans"
    with (
        stand_in({address: scan}) as server,
        mounted(tmp_path / "resources", "-t", "tmpfs", "-o", "size=30m", "tmpfs"),
    ):
        network = Download(mirrors=server.mirrors)
        reason = fetch("scans", dataset, folder, network)["reason"]
        assert f"the disk is full, or a quota used up, at {folder}" in reason
        assert json.loads((folder / "fetched.json").read_text())["status"] == "unavailable"
        assert 10_000_000 < (folder / "archives/scan.bin.part").stat().st_size < 20_000_000
        subprocess.run(["mount", "-o", "remount,size=100m", str(tmp_path / "resources")], check=True)
        assert fetch("scans", dataset, folder, network)["status"] == "available"
        assert server.seen[-1].headers["Range"].startswith("bytes=1")
        assert (folder / "release/scan.bin").read_bytes() == scan


def test_results_that_are_read_only_are_said_and_stay_as_they_are(unbroken: Unbroken, tmp_path: Path) -> None:
    """Through a read-only mount: permission bits do not stop root."""
    folder = without_a_fold(unbroken, tmp_path / "study", SCRATCH)
    before = modified(folder)
    results = str(folder / "results")
    with mounted(folder / "results", "--bind", results):
        subprocess.run(["mount", "-o", "remount,ro,bind", results], check=True)
        assert "Read-only file system" in fail(folder, TARGET)
        assert modified(folder) == before
    finish(folder, TARGET)
    assert predictions(folder, SCRATCH) == predictions(unbroken.folder, SCRATCH)
