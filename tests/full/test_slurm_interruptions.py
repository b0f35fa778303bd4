"""What happens to jobs on clusters, on a real Slurm: none of it changes a bit of the weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from slurm_cluster import SlurmCluster, wait_for
from slurm_study import (
    DEFAULTS,
    PRETRAINED,
    TINY,
    command,
    copied,
    longer,
    run,
    running,
    submitted,
    wait_for_panel,
    write_overlays,
)

from workflow import ROOT


@pytest.fixture(scope="module")
def unbroken(study: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A pretraining of about two minutes that nothing stopped, outside Slurm, and its epochs."""
    history = pd.read_parquet(study / PRETRAINED.parent / "history.parquet")
    frames = json.loads((study / PRETRAINED.parent / "run.json").read_text(encoding="utf-8"))["counts"]
    epoch = frames["train"] / history["images_per_second"].iloc[-1]
    epochs = max(20, int(130 / (epoch + 0.1)))  # a tenth for validation and panel
    folder = copied(study, tmp_path_factory.mktemp("unbroken"))
    words = ["pretrain", "--directory", str(folder), "--cores", "1", "--configfile", str(TINY)]
    overlays = write_overlays(folder, longer(epochs))
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words, *overlays],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / PRETRAINED, epochs


def test_a_time_limit_that_cuts_pretraining_twice_changes_no_bit_of_its_weights(
    study: Path, unbroken: tuple[Path, int], tmp_path: Path
) -> None:
    """TERM comes a minute before the limit of two, or up to half a minute earlier; the profile sends the job
    again, and it goes on."""
    weights, epochs = unbroken
    folder = copied(study, tmp_path)
    seconds = json.loads((weights.parent / "run.json").read_text(encoding="utf-8"))["seconds"]
    started = command(
        folder,
        "pretrain",
        settings=longer(epochs),
        resources=["pretrain_encoder:gpu=1", "pretrain_encoder:runtime=2"],
        defaults=[*DEFAULTS, "slurm_extra='--signal=TERM@60'"],
    )
    code, text = run([*started, "--retries", "10"], folder)
    assert code == 0, text
    assert submitted(folder)["pretrain_encoder"] >= 3, f"{seconds:g} s of training were not cut twice"
    assert (folder / PRETRAINED).read_bytes() == weights.read_bytes()


def test_a_requeued_orphaned_killed_and_cancelled_job_goes_on_where_it_was(
    cluster: SlurmCluster, study: Path, unbroken: tuple[Path, int], tmp_path: Path
) -> None:
    """`scontrol requeue`; the node's daemon and its jobs killed; the training killed as for its memory, after
    which it gets more; `scancel`, after which it does not: in one pretraining."""
    weights, epochs = unbroken
    folder = copied(study, tmp_path)
    defaults = [*DEFAULTS, "slurm_extra='--requeue'"]
    log = folder / "snakemake-1.log"
    panels = folder / "checkpoints/pretrain/demo"
    with running(command(folder, "pretrain", settings=longer(epochs), defaults=defaults), log) as snakemake:
        reached = wait_for_panel(panels, 0)
        subprocess.run(["scontrol", "requeue", cluster.jobs()[0].number], check=True)
        reached = wait_for_panel(panels, reached + 5)
        node = cluster.jobs()[0].node
        cluster.kill_node(node)
        wait_for(lambda: cluster.state(node) in ("down", "down*"), "Slurm to see that the node is gone")
        cluster.start_node(node)
        reached = wait_for_panel(panels, reached + 5)
        before = cluster.jobs()[0]
        subprocess.run(["pkill", "-KILL", "--full", f"{folder}.*pretrain_encoder"], check=True)
        reached = wait_for_panel(panels, reached + 5)
        killed = cluster.jobs()[0]
        subprocess.run(["scancel", killed.number], check=True)
        wait_for_panel(panels, reached + 5)
        cancelled = cluster.jobs()[0]
        assert [job.memory for job in (before, killed, cancelled)] == ["2000M", "4000M", "2000M"]
        assert snakemake.wait(timeout=300) == 0, log.read_text(encoding="utf-8")
    assert (folder / PRETRAINED).read_bytes() == weights.read_bytes()
