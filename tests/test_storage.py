"""Storage: the same frames wherever they are read from, and no copy left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_corpus import write_dataset

from usfmae.training import storage
from usfmae.training.batches import FrameStore
from usfmae.training.processes import TrainingError
from usfmae.training.storage import DeviceStore, open_frames

CPU = torch.device("cpu")
Usage = namedtuple("Usage", "total used free")
OPEN = """
import sys, time
from pathlib import Path
import torch
from usfmae.training.storage import open_frames
with open_frames([Path(folder) for folder in sys.argv[1:]], "local", torch.device("cpu")):
    print("open", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    for seed, name in enumerate(("neck", "kidney")):
        write_dataset(tmp_path / "corpus", name, subjects=3, seed=seed)
    return [tmp_path / "corpus" / name for name in ("neck", "kidney")]


@pytest.fixture
def own_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The node's own disk, as $TMPDIR says."""
    (tmp_path / "own").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "own"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path / "own"


def copies(root: Path) -> list[Path]:
    """Files other than the locks, which are empty and stay."""
    return [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.mark.parametrize("kind", ["disk", "local", "memory", "device"])
def test_the_same_frames_come_from_every_storage(kind: str, folders: list[Path], own_disk: Path) -> None:
    there = FrameStore(folders)
    rows = np.random.default_rng(0).permutation(len(there))
    with open_frames(folders, kind, CPU) as store:
        assert isinstance(store, DeviceStore) == (kind == "device")
        assert torch.equal(store.gather(rows), there.gather(rows))
        assert list(store.rows(["kidney/s1.png#0"])) == list(there.rows(["kidney/s1.png#0"]))


def test_colour_frames_of_the_device_have_their_channels_first(tmp_path: Path) -> None:
    write_dataset(tmp_path, "colour", subjects=2)
    frames = np.random.default_rng(0).integers(0, 255, (4, 16, 16, 3), dtype=np.uint8)
    np.save(tmp_path / "colour" / "frames.npy", frames)
    with open_frames([tmp_path / "colour"], "device", CPU) as store:
        assert np.array_equal(store.gather(np.array([2, 0])).numpy(), frames[[2, 0]].transpose(0, 3, 1, 2))


def test_a_copy_is_what_is_read_and_is_removed_at_the_end(folders: list[Path], own_disk: Path) -> None:
    before = set(Path("/dev/shm").iterdir())
    with open_frames(folders, "local", CPU) as store:
        assert len([path for path in copies(own_disk) if path.name == "frames.npy"]) == 2
        for folder in folders:
            shutil.move(folder, folder.with_name(f"{folder.name}_away"))
        assert len(store.gather(np.arange(12))) == 12
    assert not copies(own_disk)
    assert set(Path("/dev/shm").iterdir()) == before


def test_a_run_that_fails_leaves_no_copy(folders: list[Path], own_disk: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_frames(folders, "local", CPU):
        raise ZeroDivisionError
    assert not copies(own_disk)


def test_processes_share_a_copy_and_one_that_was_killed_leaves_none(
    folders: list[Path], own_disk: Path
) -> None:
    command = [sys.executable, "-c", OPEN, *map(str, folders)]
    environment = os.environ | {"TMPDIR": str(own_disk)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "open\n"
        written = {path: path.stat().st_mtime_ns for path in copies(own_disk) if path.suffix}
        assert len(written) == 4
        with open_frames(folders, "local", CPU):
            assert {path: path.stat().st_mtime_ns for path in written} == written  # not copied again
        assert set(written) <= set(copies(own_disk))  # the other process still reads them
        other.kill()
    assert set(written) <= set(copies(own_disk))
    with open_frames(folders, "local", CPU):
        pass
    assert not copies(own_disk)


def test_what_a_killed_run_left_of_another_corpus_is_removed(folders: list[Path], own_disk: Path) -> None:
    with subprocess.Popen(["sleep", "0"]) as gone:
        gone.wait()
    for number, user in enumerate((gone.pid, os.getpid())):
        place = own_disk / f"usfmae-{os.getuid()}-{number:016}"
        place.mkdir()
        (place / f"used-by-{user}").touch()
        (place / "frames.npy").write_bytes(bytes(100))
    with open_frames(folders, "local", CPU):
        left = {path.parent.name[-1] for path in copies(own_disk) if path.parent.parent == own_disk}
    assert "0" not in left and "1" in left  # the second one's process is alive


def test_changed_frames_are_copied_anew(folders: list[Path], own_disk: Path) -> None:
    with open_frames(folders, "local", CPU) as old:
        frames = np.load(folders[0] / "frames.npy")
        np.save(folders[0] / "frames.npy", 255 - frames)
        with open_frames(folders, "local", CPU) as new:
            assert torch.equal(new.gather(np.arange(6)), 255 - old.gather(np.arange(6)))


def test_a_full_disk_is_said_before_anything_is_copied(
    folders: list[Path], own_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda _: Usage(2**30, 2**30, 100))
    message = rf"{own_disk} has 0\.0 GB free.*storage to `disk`"
    with pytest.raises(TrainingError, match=message), open_frames(folders, "local", CPU):
        pass
    assert not copies(own_disk)


def test_a_disk_that_fills_up_while_copying_leaves_nothing(
    folders: list[Path], own_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"), open_frames(folders, "local", CPU):
        pass
    assert not copies(own_disk)
