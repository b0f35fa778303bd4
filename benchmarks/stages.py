"""Time and memory of each stage, from the benchmark files that Snakemake left in logs/.

    python -m benchmarks.stages [folder of the study]

Prints a Markdown table. Times of jobs that ran side by side are summed; memory is the largest resident set of
one job.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

STAGES = ["download", "corpus", "pretrain", "finetune", "statistics", "explain", "report", "track"]


def stages(logs: Path) -> pd.DataFrame:
    """`stage, jobs, seconds, longest job (s), memory (MB)` of all benchmark files below `logs`."""
    rows = [
        pd.read_csv(path, sep="\t").iloc[-1][["s", "max_rss"]].to_dict()
        | {"stage": path.relative_to(logs).parts[0]}
        for path in sorted(logs.rglob("*.tsv"))
    ]
    jobs = pd.DataFrame(rows).groupby("stage")
    table = pd.DataFrame(
        {
            "jobs": jobs.size(),
            "seconds": jobs["s"].sum(),
            "longest": jobs["s"].max(),
            "memory": jobs["max_rss"].max(),
        }
    )
    return table.reindex([stage for stage in STAGES if stage in table.index])


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    print("| stage | jobs | time, summed | longest job | largest memory of a job |")
    print("|---|---:|---:|---:|---:|")
    for stage, row in stages(folder / "logs").iterrows():
        times = f"{row['seconds']:.0f} s | {row['longest']:.0f} s"
        print(f"| {stage} | {row['jobs']:.0f} | {times} | {row['memory']:.0f} MB |")


if __name__ == "__main__":
    main()
