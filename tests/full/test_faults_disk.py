"""Disks that are full or read-only: one sentence, nothing half-written, and the same command goes on.

They mount file systems, and so need root.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import Unbroken
from fault_study import fail, finish, modified
from test_faults_killed import SCRATCH, TARGET, predictions, without_a_fold


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
