"""Speed and memory of curation on files of each kind, beside the bare decoder in the same run.

    USFMAE_REAL_DATA=… python -m benchmarks.curation

Both sides get the very same frames: those that the table of a first curation lists. A speed is these frames
for each second of processor time, which another job disturbs less than the clock; a share is what curation
has of the bare decoder's speed. Medians of the rounds, in which each side has its turn; shares are taken
within a round. The bare decoder is the fastest of the libraries that `benchmarks.curation_files` names for
the kind.

Curation without cleaning, 224 px, one worker: it decodes, and adds the box, the overlays, a thumbnail, two
hashes, a digest of all pixels, the resizing, both writes of the arrays (chunk, then dataset) and the table.

Two tables: every frame kept, and clips and volumes sampled by the rule that a dataset of config/openus46.yaml
has, where curation seeks the frames if the container has an index of key frames and the bare decoder decodes
up to the last one.

Memory is that of the whole job with two workers, as the workflow runs it: the largest sum of the proportional
set sizes (a page that processes share counts once) of parent and workers, read every 10 ms or so.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.curation_files import KINDS, Kind, prepare

#: Decoders whose name is not the library's.
LIBRARIES = {"opencv": "OpenCV", "pillow": "Pillow", "pyav": "PyAV", "simpleitk": "SimpleITK"}
LIBRARIES |= {"scipy": "SciPy", "numpy": "NumPy"}
REGISTRY = Path(__file__).parents[1] / "config/openus46.yaml"


def sampling_of(key: str) -> dict[str, int]:
    """The registry's rule for a dataset."""
    rule: dict[str, int] = yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))["datasets"][key]["sampling"]
    return rule


def curated(release: Path, out: Path, sampling: dict[str, int], workers: int = 1) -> Any:
    """Table of the curated release; its arrays are in `out`."""
    from usfmae.corpus.curation.frames import curate
    from usfmae.settings.datasets import Dataset
    from usfmae.settings.study import Corpus

    entry = {"title": "x", "anatomy": "x", "access": {"host": "folder"}, "licence": {"name": "x"}}
    entry |= {"citation": "x", "exclude": ["*.raw"], "sampling": sampling}
    fetched = out.parent / "fetched.json"
    fetched.write_text(json.dumps({"status": "available", "root": str(release)}))
    corpus = Corpus(datasets=["x"], size=224)
    return curate("x", Dataset.model_validate(entry), corpus, fetched, out, workers=workers)


def seconds_of(work: Callable[[], object]) -> tuple[float, float]:
    """(user and system time of this process and of those that it waits for, time by the clock)."""

    def spent() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in used)

    before, started = spent(), time.perf_counter()
    work()
    return spent() - before, time.perf_counter() - started


def compare(kind: Kind, release: Path, out: Path, sampling: dict[str, int], rounds: int) -> dict[str, Any]:
    """Speeds on the release; run in a process of its own. Raises SystemExit where a file is not read."""
    import cv2

    cv2.setNumThreads(1)
    table = curated(release, out / "first", sampling)
    if table["drop_reason"].fillna("").str.startswith("unreadable").any():
        raise SystemExit(f"{release}: {table['drop_reason'].value_counts().to_dict()}")
    wanted = {release / source: sorted(found) for source, found in table.groupby("source")["frame_index"]}

    def decode_all(decoder: Callable[..., Any]) -> None:
        given = sum(1 for path, indices in wanted.items() for _ in decoder(path, indices))
        assert given == len(table), f"{decoder.__name__} gives {given} frames of {len(table)}"

    sides: dict[str, Callable[[], object]] = {
        decoder.__name__: lambda decoder=decoder: decode_all(decoder) for decoder in kind.decoders
    }
    sides["curation"] = lambda: curated(release, out / "again", sampling)
    processor, clock = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for _ in range(rounds):
        for name, work in sides.items():
            used, passed = seconds_of(work)
            processor[name].append(used)
            clock[name].append(passed)
            shutil.rmtree(out / "again", ignore_errors=True)
    bare = min((decoder.__name__ for decoder in kind.decoders), key=lambda name: median(processor[name]))

    def share(seconds: dict[str, list[float]]) -> float:
        return median(a / b for a, b in zip(seconds[bare], seconds["curation"], strict=True))

    speeds = {name: len(table) / median(taken) for name, taken in processor.items()}
    return {"frames": len(table), "bare": bare, "share": share(processor), "clock": share(clock)} | speeds


def largest_memory(process: subprocess.Popen[Any]) -> float:
    """Until the process ends: the largest sum of proportional set sizes of it and its children, in MB."""
    largest, job = 0, Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None:
        total = 0
        with suppress(OSError):  # one that has just ended
            for one in (process.pid, *job.read_text().split()):
                lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        largest = max(largest, total)
        time.sleep(0.01)
    return largest / 1024


def measure(name: str, rounds: int, data: Path) -> dict[str, list[str]]:
    """The kind's row of each table."""
    with tempfile.TemporaryDirectory() as folder:
        release, out = Path(folder) / "release", Path(folder) / "out"
        prepare(KINDS[name], data, release)
        out.mkdir()
        command = [sys.executable, "-m", "benchmarks.curation", "--rounds", str(rounds), "--kind", name]
        command += ["--release", str(release), "--out", str(out)]
        shown = f"{name} (*)" if KINDS[name].made else name
        rows = {"all": [shown], "sampled": [shown]}
        for table in ("all", "sampled") if KINDS[name].like else ("all",):
            done = subprocess.run([*command, "--table", table], stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            print(f"{name}, {table}: {found}", file=sys.stderr)
            speeds = [f"{found[side]:,.0f}" for side in (found["bare"], "curation")]
            shares = [f"{found[which] * 100:.0f} %" for which in ("share", "clock")]
            rows[table] += [
                f"{found['frames']:,}",
                LIBRARIES.get(found["bare"], found["bare"]),
                *speeds,
                *shares,
            ]
        with subprocess.Popen([*command, "--table", "memory"]) as job:
            rows["all"].append(f"{largest_memory(job):.0f} MB")
        if job.returncode:
            raise SystemExit(f"{name}: curation with two workers failed")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed and memory of curation, by kind of file.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--kind", help="only this one")
    parser.add_argument("--release", type=Path, help="in a process of its own: the files")
    parser.add_argument("--out", type=Path, help="and where their arrays go")
    parser.add_argument("--table", choices=("all", "sampled", "memory"), default="all")
    told = parser.parse_args()
    if told.release:
        kind = KINDS[told.kind]
        if told.table == "memory":
            curated(told.release, told.out / "first", {}, workers=2)
        else:
            sampling = sampling_of(kind.like or "") if told.table == "sampled" else {}
            print(json.dumps(compare(kind, told.release, told.out, sampling, told.rounds)))
            shutil.rmtree(told.out / "first")
        return
    from benchmarks import measure as common

    names = [told.kind] if told.kind else list(KINDS)
    rows = [measure(name, told.rounds, Path(os.environ["USFMAE_REAL_DATA"])) for name in names]
    columns = [
        "kind",
        "frames",
        "bare decoder",
        "its frames/s",
        "curation, frames/s",
        "share",
        "by the clock",
    ]
    print(common.table([*columns, "memory, two workers"], [row["all"] for row in rows]))
    print("\nSampled:\n")
    print(common.table(columns, [row["sampled"] for row in rows if len(row["sampled"]) > 1]))
    print(
        f"\n{common.processor()}; {told.rounds} rounds; load average {common.load()}; (*): made of real ones"
    )


if __name__ == "__main__":
    main()
