"""The small study that the tests on Slurm run, and how it is started there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from slurm_cluster import wait_for

from workflow import ROOT

TINY = ROOT / "tests/data/tiny.yaml"
#: One task and two datasets of the tiny study, on processors: the GPUs of this cluster are pretended.
SMALL = {
    "study": {"tasks": ["neck"]},
    "corpora": {"demo": {"datasets": ["simulated_sweeps", "simulated_neck"]}},
    "recipes": {
        "pretrain": {"demo": {"training": {"device": "cpu"}}},
        "finetune": {"tiny": {"training": {"device": "cpu"}}},
    },
}
#: A node here has not what the profile asks for; by its memory it takes one fold at a time.
FITTING = ["pretrain_encoder:gpu=1", "finetune_fold:gpu=1", "finetune_fold:mem_mb=4000"]
DEFAULTS = ["mem_mb=1000", "runtime=10", "attempt=attempt"]
PRETRAINED = Path("results/pretrain/demo/encoder.safetensors")
FOLD = "results/finetune/neck/{model}/tiny/fraction-1/seed-0/fold-{fold}"


def command(
    folder: Path,
    *words: str,
    resources: list[str] | None = None,
    defaults: list[str] | None = None,
    settings: dict[str, object] | None = None,
) -> list[str]:
    """`snakemake --profile slurm`, with what a small cluster without accounting must change."""
    started = [sys.executable, "-m", "snakemake", *words, "--profile", "slurm", "--directory", str(folder)]
    started += ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "5"]
    started += ["--seconds-between-status-checks", "3", "--latency-wait", "10"]
    started += ["--set-threads", "pretrain_encoder=1"]
    started += ["--default-resources", *(defaults or DEFAULTS), "--set-resources", *(resources or FITTING)]
    return [*started, "--configfile", str(TINY), *write_overlays(folder, settings or {})]


def write_overlays(folder: Path, settings: dict[str, object]) -> list[str]:
    files = {"small.yaml": SMALL, "overlay.yaml": settings}
    for name, content in files.items():
        (folder / name).write_text(yaml.safe_dump(content), encoding="utf-8")
    return [str(folder / name) for name in files]


@contextmanager
def running(started: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command in the background; killed where the test ends before it."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(started, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def run(started: list[str], folder: Path, seconds: float = 900) -> tuple[int, str]:
    """The exit code and what Snakemake said."""
    log = folder / f"snakemake-{time.monotonic_ns()}.log"
    with running(started, log) as process:
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(log.read_text(encoding="utf-8")) from None
    return code, log.read_text(encoding="utf-8")


def submitted(folder: Path) -> dict[str, int]:
    """Rule → jobs that Slurm got, as Snakemake said."""
    text = "".join(path.read_text(encoding="utf-8") for path in folder.glob("snakemake-*.log"))
    jobs: dict[str, int] = {}
    for line in text.splitlines():
        if "has been submitted with SLURM jobid" in line:
            rule = line.split("/rule_", 1)[1].split("/", 1)[0]
            jobs[rule] = jobs.get(rule, 0) + 1
        elif array := re.search(r"Submitted array job with Snakemake IDs ([\d,]+)", line):
            # Only folds are sent as arrays.
            jobs["finetune_fold"] = jobs.get("finetune_fold", 0) + len(array[1].split(","))
    return jobs


def copied(study: Path, folder: Path) -> Path:
    """The study's downloads and corpora in a folder of its own: all that training needs."""
    for name in ("resources", "results/corpus", ".snakemake/metadata"):
        shutil.copytree(study / name, folder / name, symlinks=True)
    return folder


def longer(epochs: int) -> dict[str, object]:
    """Settings of a pretraining of so many epochs that saves its state every second."""
    training = {"epochs": epochs, "checkpoint_minutes": 0.02}
    return {"recipes": {"pretrain": {"demo": {"training": training}}}}


def wait_for_panel(folder: Path, epoch: int) -> int:
    """Waits until the pretraining below `folder` has finished the epoch; returns the one it has reached."""

    def reached() -> int:
        return max(
            (int(path.stem.removeprefix("epoch-")) for path in folder.rglob("epoch-*.png")), default=-1
        )

    # Snakemake asks Slurm less and less often how a long job is, so it may send one again minutes later.
    wait_for(lambda: reached() >= epoch, f"epoch {epoch}, it is {reached()}", seconds=300)
    return reached()
