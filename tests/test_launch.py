"""A pretraining as the workflow starts it: killed at any instant, stopped by TERM, in several processes."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from fake_corpus import ENCODER, make_corpus

from usfmae.attempts import KILLED, STOPPED

CONFIG = Path(__file__).resolve().parents[1] / "config"
OUT = Path("results/pretrain/tiny")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
LAUNCH = ["-m", "usfmae.training.launch"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("launch"), ["neck", "kidney"])


def write_job(folder: Path, corpus: Path, **training: Any) -> Path:
    """`job.json` of a pretraining of 96 tiny frames, 10 epochs of 6 steps."""
    config: dict[str, Any] = {}
    for name in ("datasets", "models", "recipes", "tasks", "config"):
        config |= yaml.safe_load((CONFIG / f"{name}.yaml").read_text(encoding="utf-8"))
    config["datasets"] |= dict.fromkeys(("neck", "kidney"), config["datasets"]["simulated_neck"])
    config["corpora"] |= {"fake": {"datasets": ["neck", "kidney"], "size": 16}}
    config["encoders"] |= {"tiny": ENCODER.model_dump()}
    config["recipes"]["pretrain"] |= {
        "tiny": {
            "title": "tiny",
            "encoder": "tiny",
            "corpus": "fake",
            "evaluation_frames": "include",
            "decoder_width": 16,
            "decoder_depth": 1,
            "decoder_heads": 2,
            "training": {"epochs": 10, "batch_size": 12, "learning_rate": 1e-3, "device": "cpu"} | training,
        }
    }
    asked = {
        "recipe": "tiny",
        "wildcards": {"recipe": "tiny"},
        "corpus": str(corpus),
        "out": str(folder / OUT),
        "checkpoints": str(folder / "checkpoints"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.json").write_text(json.dumps({"config": config, "asked": asked}))
    return folder / "job.json"


def start(*command: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> int:
    said, _ = process.communicate(timeout=300)
    assert process.returncode in (0, STOPPED, -signal.SIGKILL), said
    return process.returncode


def history(job: Path) -> pd.DataFrame:
    return pd.read_parquet(job.parent / OUT / "history.parquet")


@pytest.fixture(scope="module")
def unbroken(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    job = write_job(tmp_path_factory.mktemp("unbroken"), corpus)
    assert finish(start(sys.executable, *LAUNCH, str(job))) == 0
    return job


def test_kill_9_at_any_instant_loses_no_bit(corpus: Path, unbroken: Path, tmp_path: Path) -> None:
    """With a checkpoint at each step: killed while training, while validating, while writing checkpoints."""
    job = write_job(tmp_path, corpus, checkpoint_minutes=0)
    chance = random.Random(0)
    for _ in range(3):
        process = start(sys.executable, *LAUNCH, str(job))
        assert wait_for_state(tmp_path / "checkpoints", process)
        time.sleep(chance.uniform(0, 0.3))
        process.kill()
        assert finish(process) == -signal.SIGKILL
    assert finish(start(sys.executable, *LAUNCH, str(job))) == 0
    for name in ("mae.safetensors", "encoder.safetensors", "reconstructions.npz"):
        assert (tmp_path / OUT / name).read_bytes() == (unbroken.parent / OUT / name).read_bytes()


def wait_for_state(folder: Path, process: subprocess.Popen[str]) -> bool:
    """Whether the run wrote a state of its own before it ended."""
    before = set(folder.rglob("*.pt"))
    while process.poll() is None:
        if set(folder.rglob("*.pt")) - before:
            return True
        time.sleep(0.01)
    return False


def test_two_processes_learn_what_one_does(corpus: Path, unbroken: Path, tmp_path: Path) -> None:
    """The same batch, shared: the losses differ by rounding alone."""
    job = write_job(tmp_path, corpus)
    assert finish(start(*TORCHRUN, "--standalone", "--nproc-per-node", "2", *LAUNCH, str(job))) == 0
    for column in ("train_loss", "validation_loss", "gradient_norm"):
        np.testing.assert_allclose(history(job)[column], history(unbroken)[column], rtol=1e-4)


def test_two_nodes_that_meet_over_the_network_learn_what_one_does(
    corpus: Path, unbroken: Path, tmp_path: Path
) -> None:
    """Two agents on this machine stand for two nodes; on real ones this has not been measured."""
    job = write_job(tmp_path, corpus)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = f"127.0.0.1:{free.getsockname()[1]}"
    options = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", meeting]
    command = [*TORCHRUN, *options, "--rdzv-id", "tiny", "--local-addr", "127.0.0.1", *LAUNCH, str(job)]
    nodes = [start(*command), start(*command)]
    assert [finish(node) for node in nodes] == [0, 0]
    np.testing.assert_allclose(history(job)["train_loss"], history(unbroken)["train_loss"], rtol=1e-4)


def test_term_stops_all_processes_in_the_same_step_and_they_go_on(
    corpus: Path, unbroken: Path, tmp_path: Path
) -> None:
    job = write_job(tmp_path, corpus, epochs=10)
    process = start(sys.executable, "-c", RUN_TWO, str(job))
    assert process.stdout is not None
    panels = tmp_path / "checkpoints"
    while not list(panels.rglob("epoch-0001.png")):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert finish(process) == STOPPED
    assert len(list(panels.rglob("*.pt"))) == 1
    assert finish(start(sys.executable, "-c", RUN_TWO, str(job))) == 0
    assert len(history(job)) == 10
    np.testing.assert_allclose(history(job)["train_loss"], history(unbroken)["train_loss"], rtol=1e-4)
    before = (job.parent / OUT / "mae.safetensors").read_bytes()
    shutil.rmtree(job.parent / OUT)  # as Snakemake does where it did not see the end
    again = start(sys.executable, "-c", RUN_TWO, str(job))
    said, _ = again.communicate(timeout=120)
    assert again.returncode == 0 and said.count("finished before") == 1, said
    assert (job.parent / OUT / "mae.safetensors").read_bytes() == before


RUN_TWO = (
    "import json, sys; from usfmae.training.launch import run; job = json.load(open(sys.argv[1])); "
    "run(job['config'], job['asked'], 2)"
)


def test_a_process_that_is_killed_says_so_and_leaves_no_mark(corpus: Path, tmp_path: Path) -> None:
    """As for its memory: the job is then sent again, with more."""
    job = write_job(tmp_path, corpus)
    process = start(sys.executable, "-c", RUN_TWO, str(job))
    while not list((tmp_path / "checkpoints").rglob("epoch-0001.png")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    worker = f"{sys.executable}.*usfmae.training.launch.*{tmp_path}"
    found = subprocess.run(["pgrep", "--full", worker], capture_output=True, text=True, check=True).stdout
    agent = subprocess.run(
        ["pgrep", "--full", f"torch.distributed.run.*{tmp_path}"], capture_output=True, text=True, check=True
    ).stdout
    workers = {int(number) for number in found.split()} - {int(number) for number in agent.split()}
    os.kill(max(workers), signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == KILLED, said


def test_the_error_of_a_process_is_the_job_s(corpus: Path, tmp_path: Path) -> None:
    job = write_job(tmp_path, corpus, batch_size=11)
    process = start(sys.executable, "-c", RUN_TWO, str(job))
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    last = said.strip().splitlines()[-1]
    assert "TrainingError: training.batch_size 11 cannot be shared equally by 2 processes" in last


def test_the_lock_of_a_job_holds_as_long_as_its_processes_live(tmp_path: Path) -> None:
    """Where the one that started them was killed."""
    outlive = (
        "import sys; from pathlib import Path; from usfmae.attempts import alone\n"
        "from usfmae.training import launch\n"
        "lives = 'import time; print(\\'begun\\', flush=True); time.sleep(60)'\n"
        "launch.torchrun = lambda *_: [sys.executable, '-c', lives]\n"
        "with alone(Path(sys.argv[1])):\n"
        "    launch.run({}, {'checkpoints': str(Path(sys.argv[1]).parent)}, 2)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", outlive, str(tmp_path / "job.log")],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as first:
        assert first.stdout is not None and first.stdout.readline() == "begun\n"
        first.kill()
        first.wait()
        with (tmp_path / "job.running").open() as second, pytest.raises(BlockingIOError):
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.killpg(first.pid, signal.SIGKILL)


def test_a_batch_that_the_processes_cannot_share_is_refused(corpus: Path, tmp_path: Path) -> None:
    job = write_job(tmp_path, corpus, batch_size=11)
    process = start(*TORCHRUN, "--standalone", "--nproc-per-node", "2", *LAUNCH, str(job))
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "batch_size 11 cannot be shared equally by 2 processes" in said
