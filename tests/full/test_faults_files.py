"""Files that move, change, age or vanish under a study: found, named, and never taken for something else."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import yaml
from conftest import Unbroken
from fault_study import Started, fail, finish
from test_faults_killed import (
    SCRATCH,
    TARGET,
    copy,
    predictions,
    running_job,
    without_a_fold,
)

from workflow import planned

HOUR = 3600


def change_a_byte(path: Path) -> None:
    """As a disk does it: the file's time stays."""
    then = path.stat()
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))


def shift(folder: Path, seconds: float) -> None:
    """The clock was wrong while these files were written."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() + seconds,) * 2)


def test_a_study_in_another_folder_goes_on_where_it_was(unbroken: Unbroken, tmp_path: Path) -> None:
    folder = without_a_fold(unbroken, tmp_path / "moved here", SCRATCH)
    jobs = planned(finish(folder, "-n"))
    assert jobs.pop("finetune_fold") == 1
    upstream = {"fetch_dataset", "curate_dataset", "audit_corpus", "pretrain_encoder"}
    assert not upstream & set(jobs)
    finish(folder, TARGET)
    assert predictions(folder, SCRATCH) == predictions(unbroken.folder, SCRATCH)


def test_a_clock_that_jumps_makes_nothing_stale_that_did_not_change(
    unbroken: Unbroken, tmp_path: Path
) -> None:
    """An hour ahead while the corpus was made, or an hour back while a model was trained: Snakemake compares
    the content of small files, and takes the time's word for large ones alone."""
    folder = copy(unbroken, tmp_path / "study")
    shift(folder / "results/corpus", HOUR)
    assert planned(finish(folder, "-n")) == {}
    shift(folder / SCRATCH, -HOUR)
    assert planned(finish(folder, "-n")) == {}


def test_frames_of_which_a_byte_changed_stop_the_training(unbroken: Unbroken, tmp_path: Path) -> None:
    folder = without_a_fold(unbroken, tmp_path / "study", SCRATCH)
    change_a_byte(folder / "results/corpus/demo/simulated_neck/frames.npy")
    said = fail(folder, TARGET)
    assert "frames.npy: its content is not what was curated" in said
    assert "Delete results/corpus/demo/simulated_neck and start the same command again" in said


def test_predictions_of_which_a_byte_changed_stop_the_statistics(unbroken: Unbroken, tmp_path: Path) -> None:
    folder = copy(unbroken, tmp_path / "study")
    change_a_byte(folder / TARGET)
    summary = "results/statistics/neck/summary.csv"
    (folder / summary).unlink()
    said = fail(folder, summary)
    assert f"{TARGET}: its content is not what its run wrote" in said
    assert f"Delete {SCRATCH} and start the same command again" in said


def test_a_configuration_that_is_edited_while_it_runs_counts_from_the_next_run(
    unbroken: Unbroken, tmp_path: Path
) -> None:
    """What runs keeps the settings it began with, and its record says them; the edit makes it stale."""
    folder = without_a_fold(unbroken, tmp_path / "study", SCRATCH)
    started = Started(folder, TARGET)
    running_job(folder, started, SCRATCH)
    edit = {"recipes": {"finetune": {"tiny": {"label_smoothing": 0.1}}}}
    (folder / "overlay.yaml").write_text(yaml.safe_dump(edit), encoding="utf-8")
    assert started.end() == 0, started.said()
    record = json.loads((folder / SCRATCH / "run.json").read_text(encoding="utf-8"))
    assert record["parameters"]["recipe.label_smoothing"] == 0
    assert predictions(folder, SCRATCH) == predictions(unbroken.folder, SCRATCH)
    assert planned(finish(folder, "-n", settings=edit))["finetune_fold"] == 4
