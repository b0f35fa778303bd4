"""One cluster for all tests that need Slurm, and the small study that has run on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
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
    """A folder in which the small study has run on the cluster to its end."""
    folder = tmp_path_factory.mktemp("study")
    code, text = run(command(folder), folder)
    assert code == 0, text
    return folder
