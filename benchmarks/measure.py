"""What the benchmarks of training share: contenders timed in turn, the machine they ran on, and the table.

Run a benchmark as a module, from the project's root, with its peers installed (the extra `test`):

    python -m benchmarks.gather

On a machine that others use too, two things make a comparison fair: each round times all contenders one after
the other, so that a slow minute slows all of them, and a ratio is the median of the ratios within the rounds.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch

Seconds = dict[str, list[float]]
"""Contender → its seconds in each round."""


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait() -> None:
    """Until the GPU has done all it was asked for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def alternate(
    contenders: dict[str, Callable[[], object]],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Seconds:
    """Runs each contender once unmeasured, then all of them in turn, `rounds` times.

    `clock` is the wall clock, or `time.process_time`: the processor time of all threads, which other jobs
    disturb less.
    """
    seconds: Seconds = {name: [] for name in contenders}
    for number in range(-1, rounds):
        for name, run in contenders.items():
            started = clock()
            run()
            wait()
            if number >= 0:
                seconds[name].append(clock() - started)
        print(f"round {number + 1} of {rounds}, load {load()}", file=sys.stderr)
    return seconds


def ratio(seconds: Seconds, slower: str, faster: str) -> float:
    """How many times as long `slower` took as `faster`: the median over the rounds."""
    return median(a / b for a, b in zip(seconds[slower], seconds[faster], strict=True))


def fastest(seconds: Seconds, names: Sequence[str]) -> str:
    """The contender with the smallest median."""
    return min(names, key=lambda name: median(seconds[name]))


def load() -> str:
    """Load averages of one and five minutes: processes that wanted a core."""
    return " and ".join(f"{value:.1f}" for value in os.getloadavg()[:2])


def processor() -> str:
    """The processor's name and how many cores of it are here."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name, flags = (names or [platform.machine()])[0], "".join(line for line in lines if line[:5] == "flags")
    return f"{name}, {os.cpu_count()} cores{', AVX-512 BF16' if 'avx512_bf16' in flags else ''}"


def machine(*packages: str) -> str:
    """A sentence on the hardware, the versions, the threads and how busy the machine is now."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", *packages))
    gpu = f"; {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    threads = torch.get_num_threads()
    return (
        f"{processor()}{gpu}; Python {platform.python_version()}, {versions}; "
        f"{threads} thread{'s' if threads > 1 else ''}; load average {load()}"
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first column is text, the others are numbers."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
