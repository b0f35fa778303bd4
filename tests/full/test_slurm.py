"""The study on a real Slurm: from nothing to the report, through what one failing job costs and what happens
to jobs on clusters, in several processes and on two nodes.

One file, because one process of pytest has the cluster."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from slurm_cluster import SlurmCluster, wait_for
from slurm_study import (
    DEFAULTS,
    FOLD,
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

#: Of a job on both nodes. The executor wants more than one task a node; `torchrun` starts the processes.
TWO_NODES = ("nodes=2", "tasks_per_node=2", "mpi='srun'")


def test_the_study_runs_on_slurm_from_nothing_to_the_report(study: Path) -> None:
    jobs = submitted(study)
    assert jobs["finetune_fold"] == 4 and jobs["pretrain_encoder"] == 1
    assert not {"fetch_dataset", "track"} & set(jobs)  # the login node has the network
    assert "Fetal neck" in (study / "results/report/report.html").read_text(encoding="utf-8")
    assert len(pd.read_csv(study / "results/statistics/neck/summary.csv")) > 0
    assert (study / "results/mlflow/synced.json").exists()
    record = json.loads((study / PRETRAINED.parent / "run.json").read_text(encoding="utf-8"))
    assert record["slurm"]["job"].isdigit() and record["slurm"]["node"] in ("node1", "node2")


def test_of_all_folds_the_failing_one_is_named_the_others_finish_and_a_rerun_does_it_alone(
    study: Path, tmp_path: Path
) -> None:
    folder = copied(study, tmp_path)
    shutil.copytree(study / "results/pretrain", folder / "results/pretrain")
    # A file where the fold's folder of checkpoints belongs: an error in one fold alone.
    obstacle = folder / "checkpoints/finetune/neck/resnet50_scratch/tiny/fraction-1/seed-0/fold-1"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("in the way", encoding="utf-8")
    every_step: dict[str, object] = {
        "recipes": {"finetune": {"tiny": {"training": {"checkpoint_minutes": 0}}}}
    }
    code, text = run([*command(folder, "finetune", settings=every_step), "--retries", "1"], folder)
    assert code != 0
    done = sorted(path.parent.as_posix() for path in folder.glob("results/finetune/**/predictions.parquet"))
    assert len(done) == 3
    assert not (folder / FOLD.format(model="resnet50_scratch", fold=1) / "predictions.parquet").exists()
    assert "logs/finetune/neck/resnet50_scratch/tiny/fraction-1/seed-0/fold-1.log" in text
    assert "not tried again after an error" in (
        folder / "logs/finetune/neck/resnet50_scratch/tiny/fraction-1/seed-0/fold-1.log"
    ).read_text(encoding="utf-8")

    obstacle.unlink()
    code, text = run(command(folder, "finetune"), folder)
    assert code == 0, text
    assert re.search(r"^finetune_fold +1$", text, re.MULTILINE), text


def test_a_job_that_got_other_gpus_than_it_asked_for_stops_with_one_line_and_computes_nothing(
    study: Path, tmp_path: Path
) -> None:
    """Without `device: cpu`: the pretended GPU is in CUDA_VISIBLE_DEVICES, and torch sees none."""
    folder = copied(study, tmp_path)
    settings: dict[str, object] = {"recipes": {"pretrain": {"demo": {"training": {"device": "cuda"}}}}}
    code, text = run([*command(folder, "pretrain", settings=settings), "--retries", "1"], folder)
    assert code != 0
    assert "error: the job asked for 1 GPUs, but torch sees 0; training.device: cpu needs none" in text
    assert submitted(folder)["pretrain_encoder"] == 2  # the second ends within seconds, by the mark
    assert text.count("not tried again after an error") >= 1


def test_short_folds_share_one_allocation_and_one_gpu(study: Path, tmp_path: Path) -> None:
    folder = copied(study, tmp_path)
    shutil.copytree(study / "results/pretrain", folder / "results/pretrain")
    started = command(folder, "finetune", "--groups", "finetune_fold=folds", "--group-components", "folds=4")
    code, text = run([*started, "--set-resource-scopes", "gpu=local", "--resources", "gpu=1"], folder)
    assert code == 0, text
    records = [json.loads(path.read_text()) for path in folder.glob("results/finetune/**/run.json")]
    assert len(records) == 4 and len({record["slurm"]["job"] for record in records}) == 1


# Interruptions: none of them changes a bit of the weights


#: Seconds of training that a limit of two minutes cuts twice, even where the cut run is a third faster.
LONG = 120


@pytest.fixture(scope="module")
def unbroken(study: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The weights of a pretraining of `LONG` seconds that nothing stopped, outside Slurm, and its epochs."""
    epochs, seconds = 200, 0.0
    while seconds < LONG:
        folder = copied(study, tmp_path_factory.mktemp("unbroken"))
        words = ["pretrain", "--directory", str(folder), "--cores", "1", "--configfile", str(TINY)]
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *words, *write_overlays(folder, longer(epochs))],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        weights, trained = folder / PRETRAINED, epochs
        seconds = json.loads((weights.parent / "run.json").read_text(encoding="utf-8"))["seconds"]
        epochs = int(epochs * 1.2 * LONG / seconds)
    return weights, trained


def test_a_time_limit_that_cuts_pretraining_twice_changes_no_bit_of_its_weights(
    study: Path, unbroken: tuple[Path, int], tmp_path: Path
) -> None:
    """TERM comes a minute before the limit of two, or up to half a minute earlier; the profile sends the job
    again, and it goes on."""
    weights, epochs = unbroken
    folder = copied(study, tmp_path)
    started = command(
        folder,
        "pretrain",
        settings=longer(epochs),
        resources=["pretrain_encoder:gpu=1", "pretrain_encoder:runtime=2"],
        defaults=[*DEFAULTS, "slurm_extra='--signal=TERM@60'"],
    )
    code, text = run([*started, "--retries", "10"], folder)
    assert code == 0, text
    assert submitted(folder)["pretrain_encoder"] >= 3, "training was not cut twice"
    assert (folder / PRETRAINED).read_bytes() == weights.read_bytes()


def test_a_requeued_job_and_one_whose_node_died_go_on_where_they_were(
    cluster: SlurmCluster, study: Path, unbroken: tuple[Path, int], tmp_path: Path
) -> None:
    """`scontrol requeue`, then the death of the node's daemon and its jobs: Slurm starts the job again."""
    weights, epochs = unbroken
    folder = copied(study, tmp_path)
    defaults = [*DEFAULTS, "slurm_extra='--requeue'"]
    log = folder / "snakemake-1.log"
    panels = folder / "checkpoints/pretrain/demo"
    with running(command(folder, "pretrain", settings=longer(epochs), defaults=defaults), log) as snakemake:
        reached = wait_for_panel(panels, 0)
        (job,) = cluster.jobs()
        subprocess.run(["scontrol", "requeue", job.number], check=True)
        reached = wait_for_panel(panels, reached + 5)
        (again,) = cluster.jobs()
        cluster.kill_node(again.node)
        wait_for(lambda: cluster.state(again.node) in ("down", "down*"), "Slurm to see that the node is gone")
        cluster.start_node(again.node)
        wait_for_panel(panels, reached + 5)
        assert [one.number for one in cluster.jobs()] == [job.number]
        assert snakemake.wait(timeout=600) == 0, log.read_text(encoding="utf-8")
    assert submitted(folder)["pretrain_encoder"] == 1
    assert (folder / PRETRAINED).read_bytes() == weights.read_bytes()


def test_a_killed_job_is_sent_again_with_more_memory_and_a_cancelled_one_with_no_more(
    cluster: SlurmCluster, study: Path, unbroken: tuple[Path, int], tmp_path: Path
) -> None:
    """The training alone killed, as for its memory, then `scancel`: Snakemake sends both again."""
    weights, epochs = unbroken
    folder = copied(study, tmp_path)
    log = folder / "snakemake-1.log"
    panels = folder / "checkpoints/pretrain/demo"
    with running(command(folder, "pretrain", settings=longer(epochs)), log) as snakemake:
        reached = wait_for_panel(panels, 0)
        (first,) = cluster.jobs()
        # Its script, and not what has the rule's name in its command line: that is Snakemake as well.
        subprocess.run(["pkill", "-KILL", "--full", f"{folder}/.snakemake/scripts/"], check=True)
        reached = wait_for_panel(panels, reached + 5)
        (killed,) = cluster.jobs()
        subprocess.run(["scancel", killed.number], check=True)
        wait_for_panel(panels, reached + 5)
        (cancelled,) = cluster.jobs()
        assert [job.memory for job in (first, killed, cancelled)] == ["2000M", "4000M", "4000M"]
        assert snakemake.wait(timeout=600) == 0, log.read_text(encoding="utf-8")
    assert submitted(folder)["pretrain_encoder"] == 3
    assert (folder / PRETRAINED).read_bytes() == weights.read_bytes()


# Several processes


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
    panels = folder / "checkpoints/pretrain/demo"
    with running(command(folder, "pretrain", resources=asked, settings=longer(40)), log) as snakemake:
        reached = wait_for_panel(panels, 3)
        (job,) = cluster.jobs()
        assert job.node == "node[1-2]"
        subprocess.run(["scancel", "--signal=TERM", job.number], check=True)
        drawn = {path: path.stat().st_mtime_ns for path in panels.rglob("epoch-*.png")}
        wait_for_panel(panels, reached + 5)
        early = [path for path in drawn if int(path.stem.removeprefix("epoch-")) < reached]
        assert early and all(path.stat().st_mtime_ns == drawn[path] for path in early)  # not from the start
        assert snakemake.wait(timeout=300) == 0, log.read_text(encoding="utf-8")
    assert submitted(folder)["pretrain_encoder"] == 2
    assert len(losses(folder)) == 40
