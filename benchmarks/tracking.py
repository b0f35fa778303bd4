"""How long `track` takes to fill an empty MLflow store, and to find out that there is nothing to do.

    python -m benchmarks.tracking [--runs 195]

Writes the records and histories of fine-tuned folds, each with 960 metrics and 40 parameters, into a
temporary folder and syncs them into SQLite. The means over the folds come on top, as in a study. A second
pass must not change a byte of the store.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.measure import load, machine, table
from usfmae import record
from usfmae.tracking import sync
from usfmae.tracking_content import read_record

METRICS, PARAMETERS, FOLDS = 960, 40, 5
EPOCHS, COLUMNS = 90, 10
WILDCARDS = ("task", "model", "recipe", "fraction", "seed", "fold")


@dataclass
class Pass:
    seconds: float
    processor: float
    """Seconds of processor time, which other jobs disturb less."""
    written: int


def write_runs(results: Path, count: int) -> None:
    """`count` folds of `count / 5` models, without weights or predictions: copying files is not measured."""
    numbers = np.random.default_rng(0)
    final = METRICS - EPOCHS * COLUMNS - 2  # seconds and peak memory are metrics too
    for number in range(count):
        model, fold = divmod(number, FOLDS)
        wildcards = dict(zip(WILDCARDS, ("t", f"model{model}", "r", "1", "0", str(fold)), strict=True))
        folder = results / f"finetune/t/model{model}/r/fraction-1/seed-0/fold-{fold}"
        figures = pd.DataFrame(
            numbers.random((EPOCHS, COLUMNS)), columns=[f"figure_{n}" for n in range(COLUMNS)]
        )
        epochs = pd.DataFrame({"epoch": range(EPOCHS), "step": range(EPOCHS)})
        record.write_table(folder / "history.parquet", epochs.join(figures))
        run = record.Run(
            "finetune",
            folder,
            wildcards=wildcards,
            parameters={f"key_{n}": n for n in range(PARAMETERS - len(WILDCARDS))},
        )
        run.finish(metrics={f"test_{n}": float(numbers.random()) for n in range(final)})


def measure(count: int) -> tuple[Pass, Pass]:
    """The first and the second pass. Raises AssertionError where the second one writes."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results")
        write_runs(results, count)
        some = next(results.glob("finetune/*/*/*/*/*/*"))
        assert len(read_record(some)["wildcards"] | read_record(some)["parameters"]) == PARAMETERS
        passes = []
        for _ in range(2):
            database = results / "mlflow/mlflow.db"
            before = database.read_bytes() if database.exists() else b""
            started, worked = time.perf_counter(), time.process_time()
            counts = sync(results)
            taken = (time.perf_counter() - started, time.process_time() - worked)
            passes.append(Pass(*taken, counts["written"]))
        assert passes[1].written == 0 and database.read_bytes() == before, "the second pass wrote"
    return passes[0], passes[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=195)
    count = parser.parse_args().runs
    measure(1)  # imports and the tables of an empty store
    before = load()
    first, second = measure(count)
    print(machine())
    print(f"load average {before} before, {load()} after\n")
    rows = {"first pass, with the means over folds": first, "second pass": second}
    figures = [[name, f"{p.seconds:.2f}", f"{p.processor:.2f}", str(p.written)] for name, p in rows.items()]
    title = f"{count} folds x ({METRICS} metrics + {PARAMETERS} parameters)"
    print(table([title, "seconds", "processor seconds", "runs written"], figures))


if __name__ == "__main__":
    main()
