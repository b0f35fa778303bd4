"""Runs Snakemake as a person does, in a folder of the test's own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def snakemake(
    folder: Path, *words: str, configfile: Path | None = None, root: Path = ROOT, **environment: str
) -> str:
    """What Snakemake prints. Raises AssertionError with all of it where it fails."""
    done = run_snakemake(folder, *words, configfile=configfile, root=root, **environment)
    assert done.returncode == 0, done.stdout
    return done.stdout


def run_snakemake(
    folder: Path, *words: str, configfile: Path | None = None, root: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    # Targets come first: an option with several values would swallow them.
    command = [sys.executable, "-m", "snakemake", *words, "--directory", str(folder), "--cores", "2"]
    if configfile is not None:
        command += ["--configfile", str(configfile)]
    return subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def planned(output: str) -> dict[str, int]:
    """Rule → number of jobs, from the table that Snakemake prints; empty where there is nothing to do."""
    if "Nothing to be done" in output:
        return {}
    table = output.split("Job stats:", 1)[1].split("total", 1)[0]
    jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)}
    return {name: count for name, count in jobs.items() if name != "all"}
