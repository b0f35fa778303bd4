"""Pretraining in several processes of one Slurm job: on one node, and on two."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
from slurm_cluster import SlurmCluster
from slurm_study import PRETRAINED, command, copied, longer, run, running, submitted, wait_for_panel

#: Of a job on both nodes. The executor wants more than one task a node; `torchrun` starts the processes.
TWO_NODES = ("nodes=2", "tasks_per_node=2", "mpi='srun'")


def losses(folder: Path) -> pd.Series:
    return pd.read_parquet(folder / PRETRAINED.parent / "history.parquet")["train_loss"]


def in_several(study: Path, folder: Path, *resources: str) -> int:
    """Pretrains in a job with these resources; returns the number of its processes."""
    copied(study, folder)
    asked = [f"pretrain_encoder:{resource}" for resource in resources]
    code, text = run(command(folder, "pretrain", resources=asked), folder)
    assert code == 0, text
    record = json.loads((folder / PRETRAINED.parent / "run.json").read_text(encoding="utf-8"))
    return int(record["counts"]["processes"])


def test_two_processes_of_one_job_learn_what_one_does(study: Path, tmp_path: Path) -> None:
    """`torchrun` inside a Slurm job, on processors here."""
    assert in_several(study, tmp_path, "gpu=2") == 2
    np.testing.assert_allclose(losses(tmp_path), losses(study), rtol=1e-4)


def test_processes_on_two_nodes_learn_what_one_does(study: Path, tmp_path: Path) -> None:
    """`srun` starts a `torchrun` on both, which find each other."""
    assert in_several(study, tmp_path, "gpu=4", *TWO_NODES) == 4
    np.testing.assert_allclose(losses(tmp_path), losses(study), rtol=1e-4)


def test_two_nodes_that_are_told_to_stop_save_their_state_and_go_on(
    cluster: SlurmCluster, study: Path, tmp_path: Path
) -> None:
    """`--signal` reaches the processes on the nodes alone, not the one that started them."""
    folder = copied(study, tmp_path)
    asked = [f"pretrain_encoder:{resource}" for resource in ("gpu=2", *TWO_NODES)]
    log = folder / "snakemake-1.log"
    with running(command(folder, "pretrain", resources=asked, settings=longer(40)), log) as snakemake:
        wait_for_panel(folder / "checkpoints/pretrain/demo", 3)
        (job,) = cluster.jobs()
        assert job.node == "node[1-2]"
        subprocess.run(["scancel", "--signal=TERM", job.number], check=True)
        assert snakemake.wait(timeout=300) == 0, log.read_text(encoding="utf-8")
    assert submitted(folder)["pretrain_encoder"] == 2
    assert len(losses(folder)) == 40
