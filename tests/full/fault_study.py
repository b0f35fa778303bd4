"""A small study that is broken in every way, and what must come out of it all the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from workflow import ROOT

TINY = ROOT / "tests/data/tiny.yaml"
#: One task, two datasets and two light models of the tiny study, saved every second while it trains.
SMALL: dict[str, Any] = {
    "study": {
        "tasks": ["neck"],
        "models": ["usfmae_demo", "vit_scratch"],
        "explain": {"models": ["usfmae_demo"]},
    },
    "corpora": {"demo": {"datasets": ["simulated_sweeps", "simulated_neck"]}},
    "recipes": {
        "pretrain": {"demo": {"training": {"checkpoint_minutes": 0.01}}},
        "finetune": {"tiny": {"training": {"checkpoint_minutes": 0.01}}},
    },
}
FOLD = "results/finetune/neck/{model}/tiny/fraction-1/seed-0/fold-{fold}"
#: Columns that no two runs share.
MEASURED = ["images_per_second", "waiting_share", "utilisation", "memory_gb"]


class Started:
    """Snakemake on the small study in a process group of its own, as one that a person started."""

    def __init__(self, folder: Path, *words: str, settings: dict[str, Any] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        files = {"small.yaml": SMALL, "overlay.yaml": settings or {}}
        for name, content in files.items():
            (folder / name).write_text(yaml.safe_dump(content), encoding="utf-8")
        overlays = [str(folder / name) for name in files]
        # Targets come first: an option with several values would swallow them.
        command = [sys.executable, "-m", "snakemake", *words, "--directory", str(folder), "--cores", "2"]
        self.log = folder / "said.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--configfile", str(TINY), *overlays],
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill_all(self) -> None:
        """Everything that was started, at once, as when the machine's power fails."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self, seconds: float = 1500) -> int:
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


def finish(folder: Path, *words: str, settings: dict[str, Any] | None = None) -> str:
    """Runs to the end. Raises AssertionError with what was said where that fails."""
    started = Started(folder, *words, settings=settings)
    assert started.end() == 0, started.said()
    return started.said()


def fail(folder: Path, *words: str, settings: dict[str, Any] | None = None) -> str:
    """What is said by a run that must not succeed."""
    started = Started(folder, *words, settings=settings)
    assert started.end() != 0, started.said()
    return started.said()


def products(folder: Path) -> dict[str, Any]:
    """Path → content of all that a study computes, but for times and drawings."""
    results = folder / "results"
    found: dict[str, Any] = {}
    for path in sorted(results.rglob("*")):
        name = path.relative_to(results).as_posix()
        if not path.is_file() or path.name.startswith("."):
            continue
        if name.startswith(("mlflow", "report", "figures", "tables/stages")):  # drawings, and times
            continue
        if path.suffix == ".parquet":
            found[name] = pd.read_parquet(path).drop(columns=MEASURED, errors="ignore")
        elif path.name == "run.json":
            record = json.loads(path.read_text(encoding="utf-8"))
            outputs = {k: v for k, v in record["outputs"].items() if "history" not in k}
            found[name] = {key: record[key] for key in ("key", "metrics", "counts", "parameters")} | {
                "outputs": outputs
            }
        elif path.suffix in (".csv", ".json"):
            found[name] = path.read_text(encoding="utf-8")
        elif path.suffix in (".npy", ".npz", ".safetensors"):
            found[name] = path.read_bytes()
    return found


def assert_same(folder: Path, unbroken: Path) -> None:
    """Both studies made the same files with the same content. What a kill left under a temporary name (its
    name begins with a point) is no product, and nothing reads it."""
    ours, theirs = products(folder), products(unbroken)
    assert ours.keys() == theirs.keys()
    for name, content in theirs.items():
        if isinstance(content, pd.DataFrame):
            pd.testing.assert_frame_equal(ours[name], content, check_exact=True, obj=name)
        else:
            assert ours[name] == content, name
    page = (folder / "results/report/report.html").read_text(encoding="utf-8")
    assert "Fetal neck" in page


def modified(folder: Path) -> dict[str, int]:
    """Path → time of change of every product, in nanoseconds."""
    results = folder / "results"
    return {
        p.relative_to(results).as_posix(): p.stat().st_mtime_ns for p in results.rglob("*") if p.is_file()
    }
