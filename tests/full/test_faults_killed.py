"""Whatever is killed, and whenever: the same command again ends in the same predictions and tables."""

from __future__ import annotations

import random
import re
import shutil
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

from conftest import Unbroken
from fault_study import Started, assert_same, finish, products
from slurm_node import wait_for

SEED, KILLS = 7, 10
FINISHED = re.compile(r"^Finished jobid: \d+ \(Rule: (\w+)\)", re.MULTILINE)


def finished(said: str) -> Counter[str]:
    """Rule → jobs that came to their end."""
    return Counter(FINISHED.findall(said))


def copy(unbroken: Unbroken, folder: Path) -> Path:
    """The finished study in a folder of its own, with the times of its files."""
    shutil.copytree(unbroken.folder, folder, symlinks=True)
    return folder


def begin(folder: Path, *words: str) -> Started:
    """A run whose first job is about to start."""
    started = Started(folder, *words)
    wait_for(lambda: "Job stats" in started.said() or started.process.poll() is not None, "a plan")
    return started


def test_killed_at_ten_random_instants_a_study_ends_as_one_that_nothing_broke(
    unbroken: Unbroken, tmp_path: Path
) -> None:
    """The power fails ten times, at instants drawn over the time that the study takes."""
    chance = random.Random(SEED)
    instants = sorted(chance.uniform(0, unbroken.seconds) for _ in range(KILLS))
    folder, done = tmp_path / "study", Counter[str]()
    for before, instant in pairwise([0.0, *instants]):
        started = begin(folder)
        time.sleep(instant - before)
        started.kill_all()
        done += finished(started.said())
        products(folder)  # what stands under its own name can be read
        finish(folder, "--unlock")  # Snakemake's lock outlives it; docs/reliability.md says what to type
    done += finished(finish(folder))
    assert_same(folder, unbroken.folder)
    wanted = finished((unbroken.folder / "said.txt").read_text(encoding="utf-8"))
    assert not {rule: n for rule, n in done.items() if n > wanted[rule]}, "made twice without need"
    assert "Nothing to be done" in finish(folder)


def script_processes(folder: Path) -> list[int]:
    """Processes that run a script of the workflow in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode()
            there = (process / "cwd").readlink()
        except OSError:
            continue
        if ".snakemake/scripts/" in command and there == folder:
            found.append(int(process.name))
    return found
