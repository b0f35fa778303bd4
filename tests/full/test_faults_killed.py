"""Whatever is killed, and whenever: the same command again ends in the same predictions and tables."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from conftest import Unbroken
from fault_study import FOLD, Started, assert_same, finish, modified, products
from slurm_cluster import wait_for

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


def running_job(folder: Path, started: Started, fold: str) -> int:
    """The process number of a fold's job, once it has begun; Snakemake may not end before."""
    mark = folder / fold.replace("results", "logs", 1)
    mark = mark.with_name(mark.name + ".running")

    until = time.monotonic() + 300
    while time.monotonic() < until:
        with suppress(FileNotFoundError):
            if found := re.match(r"process (\d+) on ", mark.read_text(encoding="utf-8")):
                return int(found[1])
        assert started.process.poll() is None, started.said()
        time.sleep(0.005)  # a fold of the tiny study takes half a second
    raise AssertionError(f"{mark} was never there: {started.said()}")


def without_a_fold(unbroken: Unbroken, folder: Path, fold: str) -> Path:
    """A copy of the finished study that lacks one fold of one model."""
    shutil.rmtree(copy(unbroken, folder) / fold)
    return folder


def predictions(folder: Path, fold: str) -> bytes:
    return (folder / fold / "predictions.parquet").read_bytes()


SCRATCH = FOLD.format(model="vit_scratch", fold=0)
TARGET = f"{SCRATCH}/predictions.parquet"


def test_a_job_that_is_killed_fails_alone_and_the_same_command_makes_it_again(
    unbroken: Unbroken, tmp_path: Path
) -> None:
    folder = without_a_fold(unbroken, tmp_path / "study", SCRATCH)
    started = Started(folder, TARGET)
    os.kill(running_job(folder, started, SCRATCH), signal.SIGKILL)
    assert started.end() != 0
    assert "Error in rule finetune_fold" in started.said()
    assert not (folder / TARGET).exists()
    before = modified(folder)
    finish(folder, TARGET)  # no lock is left: Snakemake itself ended as it should
    assert predictions(folder, SCRATCH) == predictions(unbroken.folder, SCRATCH)
    changed = {name for name, then in before.items() if modified(folder).get(name) != then}
    assert not changed, "nothing else is made again"


def test_a_job_that_outlives_its_snakemake_is_waited_for(unbroken: Unbroken, tmp_path: Path) -> None:
    """kill -9 of Snakemake alone leaves its jobs running; a second one would write the same files."""
    folder = without_a_fold(unbroken, tmp_path / "study", SCRATCH)
    started = Started(folder, TARGET)
    orphan = running_job(folder, started, SCRATCH)
    os.kill(orphan, signal.SIGSTOP)  # so that it does not end before it is looked at
    started.process.kill()
    started.process.wait()
    assert Path(f"/proc/{orphan}").exists()
    finish(folder, "--unlock")
    again = begin(folder, TARGET)
    scripts = f"{folder}/.snakemake/scripts/.*finetune_fold"

    def begun() -> bool:
        found = subprocess.run(["pgrep", "--full", scripts], capture_output=True, text=True, check=False)
        return len(found.stdout.split()) == 2

    wait_for(begun, "the second job to begin", seconds=120)
    time.sleep(20)  # as long as it takes to come to the lock
    kept = (folder / SCRATCH.replace("results", "logs", 1)).with_suffix(".running").read_text()
    assert kept.startswith(f"process {orphan} on ") and again.process.poll() is None  # it waits
    os.kill(orphan, signal.SIGKILL)
    assert again.end() == 0, again.said()
    assert predictions(folder, SCRATCH) == predictions(unbroken.folder, SCRATCH)


def test_a_job_that_ends_after_its_snakemake_died_is_not_done_again(
    unbroken: Unbroken, tmp_path: Path
) -> None:
    """Snakemake did not see it end, so it removes what the job made and starts it once more."""
    folder = without_a_fold(unbroken, tmp_path / "study", SCRATCH)
    started = Started(folder, TARGET)
    orphan = running_job(folder, started, SCRATCH)
    started.process.kill()
    started.process.wait()
    wait_for(lambda: not Path(f"/proc/{orphan}").exists(), "the job to end", seconds=300)
    finish(folder, "--unlock")
    again = begin(folder, TARGET)
    assert again.end() == 0, again.said()
    assert "finished before, by a job whose end Snakemake did not see" in again.said()
    assert predictions(folder, SCRATCH) == predictions(unbroken.folder, SCRATCH)
    assert not list((folder / "checkpoints").rglob("*.parquet")), "second names are gone once it is noted"


def test_two_snakemakes_at_once_are_one_and_a_sentence(unbroken: Unbroken, tmp_path: Path) -> None:
    folder = without_a_fold(unbroken, tmp_path / "study", SCRATCH)
    first = Started(folder, TARGET)
    job = running_job(folder, first, SCRATCH)
    os.kill(job, signal.SIGSTOP)  # so that the first is at work while the second begins
    first_log = first.log.rename(folder / "first.txt")
    second = Started(folder, TARGET)
    assert second.end() != 0
    os.kill(job, signal.SIGCONT)
    assert "Directory cannot be locked" in second.said() and "--unlock" in second.said()
    assert first.end() == 0, first_log.read_text(encoding="utf-8")
    assert predictions(folder, SCRATCH) == predictions(unbroken.folder, SCRATCH)
