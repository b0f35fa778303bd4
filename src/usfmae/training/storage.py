"""Where frames are read from while training: the corpus, the node's own disk or memory, or the GPU."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from usfmae.record import atomic
from usfmae.training.batches import FrameStore
from usfmae.training.processes import TrainingError

#: What training reads of a curated dataset.
FILES = ("frames.npy", "frames.parquet")


class DeviceStore(FrameStore):
    """All frames in the memory of the device: gathering them moves nothing."""

    def __init__(self, folders: list[Path], device: torch.device) -> None:
        super().__init__(folders)
        self._all = torch.cat([torch.from_numpy(np.array(frames)).to(device) for frames in self._frames])

    def gather(self, rows: np.ndarray) -> Tensor:
        frames = self._all[torch.from_numpy(rows).to(self._all.device)]
        return frames.permute(0, 3, 1, 2) if frames.ndim == 4 else frames[:, None]


@contextmanager
def open_frames(folders: list[Path], storage: str, device: torch.device) -> Iterator[FrameStore]:
    """The frames of curated datasets, read from where the recipe's `storage` says.

    Copies are shared by the processes of a node and removed when the last of them leaves. Raises
    TrainingError where there is no room.
    """
    if storage == "device":
        yield DeviceStore(folders, device)
    elif storage == "disk":
        yield FrameStore(folders)
    else:
        shared_memory, own_disk = Path("/dev/shm"), Path(tempfile.gettempdir())
        root = shared_memory if storage == "memory" else own_disk
        with _copied(folders, root) as copies:
            yield FrameStore(copies)


@contextmanager
def _copied(folders: list[Path], root: Path) -> Iterator[list[Path]]:
    """The folders' copies below `root`, which each process on the node marks as used."""
    facts = [(str((f / name).resolve()), (f / name).stat().st_mtime_ns) for f in folders for name in FILES]
    place = root / f"usfmae-{os.getuid()}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}"
    lock = FileLock(f"{place}.lock")
    mark = place / f"used-by-{os.getpid()}"
    copies = [place / str(number) / folder.name for number, folder in enumerate(folders)]
    _remove_what_was_left(root, place)
    try:
        with lock:
            missing = [
                (folder / name, copy / name)
                for folder, copy in zip(folders, copies, strict=True)
                for name in FILES
                if not (copy / name).exists()
            ]
            needed, free = sum(source.stat().st_size for source, _ in missing), shutil.disk_usage(root).free
            if needed > free:
                raise TrainingError(
                    f"{root} has {free / 2**30:.1f} GB free, the frames need {needed / 2**30:.1f} GB: "
                    "set the recipe's storage to `disk`"
                )
            place.mkdir(exist_ok=True)
            mark.touch()
            for source, copy in missing:
                with atomic(copy) as temporary:
                    shutil.copyfile(source, temporary)
        yield copies
    finally:
        with lock:
            mark.unlink(missing_ok=True)
            _remove_unused(place)


def _remove_what_was_left(root: Path, own: Path) -> None:
    """Copies of other frames whose processes were killed, and so could not remove them."""
    for place in root.glob(f"usfmae-{os.getuid()}-*/"):
        if place != own:
            with suppress(Timeout), FileLock(f"{place}.lock", timeout=0):
                _remove_unused(place)


def _remove_unused(place: Path) -> None:
    if not any(_alive(used) for used in place.glob("used-by-*")):
        shutil.rmtree(place, ignore_errors=True)


def _alive(mark: Path) -> bool:
    return Path("/proc", mark.name.removeprefix("used-by-")).exists()
