"""Where a run was: its Slurm job, and the GPUs with the energy that they took.

The energy is the counter of NVIDIA's management library (NVML), which comes with the driver and not from a
package index; four calls of it are all that is needed. Without a driver there is no figure, never a zero.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Any

#: NVML's names are shorter than this, with the closing zero.
NAME_LENGTH = 96


def slurm() -> dict[str, str]:
    """`job` and `node` as Slurm names them; empty outside a Slurm job."""
    given = {"job": os.environ.get("SLURM_JOB_ID"), "node": os.environ.get("SLURMD_NODENAME")}
    return {key: value for key, value in given.items() if value} if given["job"] else {}


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver sees it."""

    name: str
    energy: float | None
    """Joules since the driver was loaded; None where the driver does not count them."""


def visible_gpus() -> list[Gpu]:
    """The GPUs that this job may use, by CUDA_VISIBLE_DEVICES; empty without a driver, or where it fails."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return []
    return read_gpus(library, os.environ.get("CUDA_VISIBLE_DEVICES"))


def read_gpus(library: Any, visible: str | None) -> list[Gpu]:
    """What NVML says of the GPUs in `visible` (numbers or UUIDs); None: of all."""
    if library.nvmlInit_v2() != 0:
        return []
    try:
        if visible is None:
            count = ctypes.c_uint()
            if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
                return []
            names = [str(number) for number in range(count.value)]
        else:
            names = [name.strip() for name in visible.split(",") if name.strip()]
        found = [_read(library, name) for name in names]
        return [gpu for gpu in found if gpu is not None]
    finally:
        library.nvmlShutdown()


def _read(library: Any, name: str) -> Gpu | None:
    device = ctypes.c_void_p()
    if name.isdecimal():
        code = library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(name)), ctypes.byref(device))
    else:
        code = library.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(device))
    called = ctypes.create_string_buffer(NAME_LENGTH)
    if code != 0 or library.nvmlDeviceGetName(device, called, ctypes.c_uint(NAME_LENGTH)) != 0:
        return None
    millijoules = ctypes.c_ulonglong()
    counted = library.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(millijoules)) == 0
    return Gpu(called.value.decode(), millijoules.value / 1000 if counted else None)


def energy_between(before: list[Gpu], after: list[Gpu]) -> float | None:
    """Joules that all of these GPUs took in between; None where one of them is not counted, or where the
    counter went back because the driver was loaded anew."""
    if not before or len(before) != len(after):
        return None
    total = 0.0
    for first, last in zip(before, after, strict=True):
        if first.energy is None or last.energy is None or last.energy < first.energy:
            return None
        total += last.energy - first.energy
    return round(total, 1)
