"""What the tests of a whole study share: a cluster, the study that ran on it, and one that ran alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_study import finish
from slurm_cluster import SlurmCluster
from slurm_study import command, run


@pytest.fixture(scope="session")
def cluster() -> Iterator[SlurmCluster]:
    """Two nodes."""
    slurm = SlurmCluster(nodes=2)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()


@pytest.fixture(scope="session")
def study(cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the small study has run on the cluster to its end, its folds as one array."""
    folder = tmp_path_factory.mktemp("study")
    code, text = run([*command(folder), "--slurm-array-jobs", "finetune_fold"], folder)
    assert code == 0, text
    return folder


@dataclass(frozen=True)
class Unbroken:
    """A study that ran from nothing to its end in one piece."""

    folder: Path
    seconds: float


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    folder = tmp_path_factory.mktemp("unbroken")
    started = time.monotonic()
    finish(folder)
    return Unbroken(folder, time.monotonic() - started)
