"""How long a dry run of a study takes, beside a bare Snakefile with as many jobs.

    python -m benchmarks.dry_run [--target corpus] [--configfile config/paper.yaml] [--repeats 3]

Both are run in turn, in empty folders, and the smallest time of each counts. The bare Snakefile has one rule
with a wildcard and as many jobs as the study plans: what is slower than it is ours.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BARE = """
rule all:
    input: expand("out/{{i}}.txt", i=range({jobs}))

rule one:
    output: "out/{{i}}.txt"
    shell: "touch {{output}}"
"""


def plan(folder: Path, *words: str) -> tuple[float, int]:
    """(seconds, jobs) of `snakemake -n`."""
    command = [sys.executable, "-m", "snakemake", *words, "-n", "--cores", "2", "--directory", str(folder)]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    return seconds, int(re.findall(r"^total +(\d+)", done.stdout + done.stderr, re.MULTILINE)[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", default="corpus")
    parser.add_argument("--configfile", default="config/paper.yaml")
    parser.add_argument("--repeats", type=int, default=3)
    wanted = parser.parse_args()
    ours, bare = [], []
    with tempfile.TemporaryDirectory() as folder:
        snakefile = Path(folder, "Snakefile")
        for _ in range(wanted.repeats):
            seconds, jobs = plan(Path(folder, "ours"), wanted.target, "--configfile", wanted.configfile)
            ours.append(seconds)
            snakefile.write_text(BARE.format(jobs=jobs - 1), encoding="utf-8")
            bare.append(plan(Path(folder, "bare"), "--snakefile", str(snakefile))[0])
    ratio = min(ours) / min(bare)
    print(f"{jobs} jobs: {min(ours):.2f} s; a bare Snakefile: {min(bare):.2f} s; {ratio:.2f} times")


if __name__ == "__main__":
    main()
