"""What a finished job keeps until Snakemake has noted that it is finished."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from usfmae.finished import bring_back, keep, remove_finished


@pytest.fixture
def outputs(tmp_path: Path) -> list[Path]:
    (tmp_path / "out").mkdir()
    files = [tmp_path / "out" / name for name in ("history.parquet", "run.json")]
    for file in files:
        file.write_text(f"content of {file.name}")
    return files


def test_what_is_kept_comes_back_whole_and_newer_than_what_it_was_made_from(
    tmp_path: Path, outputs: list[Path]
) -> None:
    folder = tmp_path / "checkpoints/recipe/identity"
    (folder / "state").mkdir(parents=True)
    keep(folder, outputs)
    assert not (folder / "state").exists(), "checkpoints have served"
    for file in outputs:
        file.unlink()
    (tmp_path / "input").touch()
    assert bring_back(folder, tmp_path / "out")
    assert [file.read_text() for file in outputs] == [f"content of {file.name}" for file in outputs]
    assert all(file.stat().st_mtime_ns >= (tmp_path / "input").stat().st_mtime_ns for file in outputs)
    remove_finished(tmp_path / "checkpoints")
    assert not list((tmp_path / "checkpoints").iterdir()) and all(file.exists() for file in outputs)


def test_another_identity_and_another_process_write_nothing(tmp_path: Path, outputs: list[Path]) -> None:
    keep(tmp_path / "checkpoints/recipe/identity", outputs)
    assert not bring_back(tmp_path / "checkpoints/recipe/another", tmp_path / "elsewhere")
    assert bring_back(tmp_path / "checkpoints/recipe/identity", tmp_path / "elsewhere", first=False)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.ENOSPC])
def test_a_disk_that_takes_no_second_names_does_not_fail_a_finished_job(
    number: int, tmp_path: Path, outputs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    folder = tmp_path / "checkpoints/recipe/identity"
    folder.mkdir(parents=True)
    keep(folder, outputs)
    assert not folder.parent.exists() and all(file.exists() for file in outputs)
    assert not bring_back(folder, tmp_path / "out")
