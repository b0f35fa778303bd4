"""The study on a real Slurm: from nothing to the report, and through what happens to jobs on clusters."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from slurm_node import SlurmNode, wait_for

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
#: A node of two processors has not what the profile asks for.
FITTING = ["pretrain_encoder:gpu=1", "finetune_fold:gpu=1"]
DEFAULTS = ["mem_mb=1000", "runtime=10", "attempt=attempt"]
PRETRAINED = Path("results/pretrain/demo/encoder.safetensors")
FOLD = "results/finetune/neck/{model}/tiny/fraction-1/seed-0/fold-{fold}"


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmNode]:
    node = SlurmNode()
    try:
        node.start()
        yield node
    finally:
        node.stop()


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
    started += [
        "--seconds-between-status-checks",
        "3",
        "--latency-wait",
        "10",
        "--set-threads",
        "pretrain_encoder=1",
    ]
    started += ["--default-resources", *(defaults or DEFAULTS), "--set-resources", *(resources or FITTING)]
    return [*started, "--configfile", str(TINY), *write_overlays(folder, settings or {})]


def write_overlays(folder: Path, settings: dict[str, object]) -> list[str]:
    files = {"small.yaml": SMALL, "overlay.yaml": settings}
    for name, content in files.items():
        (folder / name).write_text(yaml.safe_dump(content), encoding="utf-8")
    return [str(folder / name) for name in files]


def start(started: list[str], log: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        started, cwd=ROOT, env=environment, stdout=log.open("wb"), stderr=subprocess.STDOUT
    )


def run(started: list[str], folder: Path, seconds: float = 600) -> tuple[int, str]:
    log = folder / f"snakemake-{time.monotonic_ns()}.log"
    code = start(started, log).wait(timeout=seconds)
    return code, log.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def study(cluster: SlurmNode, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the small study has run on the cluster to its end."""
    folder = tmp_path_factory.mktemp("study")
    code, text = run(command(folder), folder)
    assert code == 0, text
    return folder


def submitted(folder: Path) -> dict[str, int]:
    """Rule → jobs that Slurm got, as Snakemake said."""
    text = "".join(path.read_text(encoding="utf-8") for path in folder.glob("snakemake-*.log"))
    jobs: dict[str, int] = {}
    for line in text.splitlines():
        if "has been submitted with SLURM jobid" in line:
            rule = line.split("/rule_", 1)[1].split("/", 1)[0]
            jobs[rule] = jobs.get(rule, 0) + 1
    return jobs


def test_the_study_runs_on_slurm_from_nothing_to_the_report(study: Path) -> None:
    jobs = submitted(study)
    assert jobs["finetune_fold"] == 4 and jobs["pretrain_encoder"] == 1
    assert not {"fetch_dataset", "track"} & set(jobs)  # the login node has the network
    assert "Fetal neck" in (study / "results/report/report.html").read_text(encoding="utf-8")
    assert len(pd.read_csv(study / "results/statistics/neck/summary.csv")) > 0
    assert (study / "results/mlflow/synced.json").exists()


def copied(study: Path, folder: Path) -> Path:
    """The study's downloads and corpora in a folder of its own: all that training needs."""
    for name in ("resources", "results/corpus", ".snakemake/metadata"):
        shutil.copytree(study / name, folder / name, symlinks=True)
    return folder


@pytest.fixture(scope="module")
def unbroken(study: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A pretraining of about a hundred seconds that nothing stopped, outside Slurm, and its epochs."""
    history = pd.read_parquet(study / PRETRAINED.parent / "history.parquet")
    frames = json.loads((study / PRETRAINED.parent / "run.json").read_text(encoding="utf-8"))["counts"]
    epoch = frames["train_frames"] / history["images_per_second"].iloc[-1]
    epochs = max(20, int(100 / (epoch + 0.1)))  # a tenth for validation and panel
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


def longer(epochs: int) -> dict[str, object]:
    """Settings of a pretraining of so many epochs that saves its state every second."""
    training = {"epochs": epochs, "checkpoint_minutes": 0.02}
    return {"recipes": {"pretrain": {"demo": {"training": training}}}}


def test_a_time_limit_that_cuts_pretraining_twice_changes_no_bit_of_its_weights(
    study: Path, unbroken: tuple[Path, int], tmp_path: Path
) -> None:
    """TERM comes before the limit of two minutes; the profile sends the job again, and it goes on."""
    weights, epochs = unbroken
    folder = copied(study, tmp_path)
    seconds = json.loads((weights.parent / "run.json").read_text(encoding="utf-8"))["seconds"]
    started = command(
        folder,
        "pretrain",
        settings=longer(epochs),
        resources=["pretrain_encoder:gpu=1", "pretrain_encoder:runtime=2"],
        # Slurm may send it a minute early: so between 0:35 and 1:35.
        defaults=[*DEFAULTS, "slurm_extra='--signal=TERM@25'"],
    )
    code, text = run(started, folder)
    assert code == 0, text
    assert submitted(folder)["pretrain_encoder"] >= 3, f"{seconds:g} s of training were not cut twice"
    assert (folder / PRETRAINED).read_bytes() == weights.read_bytes()


def test_a_requeued_a_cancelled_and_an_orphaned_job_go_on_where_they_were(
    cluster: SlurmNode, study: Path, unbroken: tuple[Path, int], tmp_path: Path
) -> None:
    """`scontrol requeue`, the node's daemon and its jobs killed, then `scancel`: in one pretraining."""
    weights, epochs = unbroken
    folder = copied(study, tmp_path)
    started = command(
        folder, "pretrain", settings=longer(epochs), defaults=[*DEFAULTS, "slurm_extra='--requeue'"]
    )
    running = start(started, folder / "snakemake-1.log")
    panels = folder / "checkpoints/pretrain/demo"

    reached = wait_for_panel(panels, 0)
    subprocess.run(["scontrol", "requeue", cluster.jobs()[0][0]], check=True)
    reached = wait_for_panel(panels, reached + 5)
    cluster.kill_node()
    wait_for(lambda: cluster.state() in ("down", "down*"), "Slurm to see that the node is gone")
    cluster.start_node()
    reached = wait_for_panel(panels, reached + 5)
    subprocess.run(["scancel", cluster.jobs()[0][0]], check=True)
    assert running.wait(timeout=300) == 0, (folder / "snakemake-1.log").read_text(encoding="utf-8")
    assert (folder / PRETRAINED).read_bytes() == weights.read_bytes()


def wait_for_panel(folder: Path, epoch: int) -> int:
    """Waits until the pretraining below `folder` has finished the epoch; returns the one it has reached."""

    def reached() -> int:
        return max(
            (int(path.stem.removeprefix("epoch-")) for path in folder.rglob("epoch-*.png")), default=-1
        )

    wait_for(lambda: reached() >= epoch, f"epoch {epoch}, it is {reached()}", seconds=120)
    return reached()


def test_of_an_array_of_folds_the_failing_one_is_named_the_others_finish_and_a_rerun_does_it_alone(
    study: Path, tmp_path: Path
) -> None:
    folder = copied(study, tmp_path)
    shutil.copytree(study / "results/pretrain", folder / "results/pretrain")
    # A file where the fold's folder of checkpoints belongs: an error in one fold alone.
    obstacle = folder / "checkpoints/finetune/neck/resnet50_scratch/tiny/fraction-1/seed-0/fold-1"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("in the way", encoding="utf-8")
    started = command(folder, "finetune", "--keep-going", "--slurm-array-jobs", "finetune_fold")
    code, text = run(started, folder)
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
    assert "finetune_fold          1" in text or "finetune_fold        1" in text


def test_a_job_that_got_other_gpus_than_it_asked_for_stops_with_one_line_and_costs_one_allocation(
    study: Path, tmp_path: Path
) -> None:
    """Without `device: cpu`: the pretended GPU is in CUDA_VISIBLE_DEVICES, and torch sees none."""
    folder = copied(study, tmp_path)
    settings: dict[str, object] = {"recipes": {"pretrain": {"demo": {"training": {"device": "cuda"}}}}}
    code, text = run(command(folder, "pretrain", settings=settings), folder)
    assert code != 0
    assert "error: the job asked for 1 GPUs, but torch sees 0; training.device: cpu needs none" in text
    assert text.count("not tried again after an error") >= 1


def test_two_processes_of_one_job_share_the_gpus_it_asked_for(study: Path, tmp_path: Path) -> None:
    """`torchrun` inside a Slurm job, on processors here."""
    folder = copied(study, tmp_path)
    resources = ["pretrain_encoder:gpu=2"]
    code, text = run(command(folder, "pretrain", resources=resources), folder)
    assert code == 0, text
    one = pd.read_parquet(study / PRETRAINED.parent / "history.parquet")
    two = pd.read_parquet(folder / PRETRAINED.parent / "history.parquet")
    assert two["train_loss"].to_numpy() == pytest.approx(one["train_loss"].to_numpy(), rel=1e-4)
