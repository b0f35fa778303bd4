"""What a run of MLflow says: parameters, metrics and tags from a run record or from tables.

Metrics keep the names of the run record everywhere, so that the UI compares runs at once.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from usfmae import record

#: Tables with headline figures, in folders without a run record:
#: file, columns that name a figure, and the columns with figures and what each adds to the name.
TABLES = (
    (
        "summary.csv",
        ("model", "role", "estimate", "metric"),
        {"value": "", "lower": "_lower", "upper": "_upper", "sd": "_sd"},
    ),
    ("curation.csv", ("dataset", "finding"), {"frames": ""}),
)


@dataclass
class Content:
    """Figures and settings of a run. A metric is `(name, value, step, milliseconds)`."""

    start: int = 0  # milliseconds since 1970
    end: int = 0
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[str, float, int, int]] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)  # path of a file that the run read → sha256


def read_record(folder: Path) -> dict[str, Any]:
    """The run record in `folder`; ValueError where it is broken."""
    path = folder / "run.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        missing = {"stage", "wildcards", "parameters", "metrics", "started", "seconds"} - set(found)
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{path}: not a run record ({error}); delete it and run its stage again") from error
    if missing:
        raise ValueError(
            f"{path}: keys missing: {', '.join(sorted(missing))}; delete it and run its stage again"
        )
    return dict(found)


def of_record(found: dict[str, Any], history: Path | None = None) -> Content:
    """Final figures under their own names, each epoch's figures as `epoch/<column>`."""
    start = _milliseconds(datetime.fromisoformat(found["started"]).timestamp())
    end = start + _milliseconds(found["seconds"])
    final = found["metrics"] | {key: found.get(key) for key in ("seconds", "peak_memory_mb", "energy_joules")}
    metrics = [(key, float(value), 0, end) for key, value in final.items() if _is_number(value)]
    if history and history.exists():
        table = pd.read_parquet(history)
        for column in table.columns.difference(["epoch", "step"]):
            for row, (epoch, value) in enumerate(zip(table["epoch"], table[column], strict=True), start=1):
                if _is_number(value):
                    time = start + (end - start) * row // len(table)
                    metrics.append((f"epoch/{column}", float(value), int(epoch), time))
    return Content(start, end, parameters_of(found), _tags(found), metrics, found.get("inputs", {}))


def of_folds(folds: list[dict[str, Any]]) -> Content:
    """Mean and standard deviation (n - 1) of each figure that every fold has, over folds and seeds.

    A figure that one fold lacks has no mean here: the mean of the others would look like the whole.
    """
    contents = [of_record(found) for found in folds]
    first = contents[0]
    start, end = min(one.start for one in contents), max(one.end for one in contents)
    metrics = []
    for name in folds[0]["metrics"]:
        values = [found["metrics"].get(name) for found in folds]
        if all(_is_number(value) for value in values):
            metrics.append((name, statistics.fmean(values), 0, end))
            if len(values) > 1:
                metrics.append((f"{name}_sd", statistics.stdev(values), 0, end))
    shared = {
        kind: {
            key: value
            for key, value in getattr(first, kind).items()
            if all(getattr(one, kind).get(key) == value for one in contents)
        }
        for kind in ("params", "tags")
    }
    shared["tags"]["usfmae.simulated"] = _text(any(found.get("simulated") for found in folds))
    return Content(start, end, shared["params"] | {"n_runs": str(len(folds))}, shared["tags"], metrics)


def of_tables(folder: Path, stage: str, modified: float) -> Content:
    """Headline figures of a folder without a run record; `modified`: seconds since 1970."""
    end = _milliseconds(modified)
    content = Content(end, end, tags={"usfmae.stage": stage})
    for name, names, values in TABLES:
        path = folder / name
        if path.exists():
            for row in pd.read_csv(path).to_dict("records"):
                prefix = "/".join(str(row[column]) for column in names)
                content.metrics += [
                    (f"{prefix}{suffix}", float(row[column]), 0, end)
                    for column, suffix in values.items()
                    if _is_number(row[column])
                ]
    return content


def of_epochs(rows: Iterable[Mapping[str, Any]], at: int) -> Content:
    """Each epoch's figures under the names that `of_record` gives them; `at`: milliseconds since 1970."""
    metrics = [
        (f"epoch/{column}", float(value), int(row["epoch"]), at)
        for row in rows
        for column, value in row.items()
        if column not in ("epoch", "step") and _is_number(value)
    ]
    return Content(at, at, metrics=metrics)


def parameters_of(found: Mapping[str, Any]) -> dict[str, str]:
    """`wildcards`, `parameters` and `counts` of a run record as text, by name."""
    counts = record.flatten({"count": found.get("counts", {})})
    return {
        key: _text(value) for key, value in {**found["wildcards"], **found["parameters"], **counts}.items()
    }


def _tags(found: dict[str, Any]) -> dict[str, str]:
    git, slurm = found.get("git", {}), found.get("slurm") or {}
    environment = record.flatten({"usfmae.environment": found.get("environment") or {}})
    places = {
        "usfmae.slurm_job": slurm.get("job"),
        "usfmae.node": slurm.get("node"),
        "usfmae.gpu": ", ".join(found.get("gpus") or []),
    }
    return {
        **{key: _text(value) for key, value in environment.items()},
        **{key: str(value) for key, value in places.items() if value},
        "mlflow.source.git.commit": str(git.get("commit", "unknown")),
        "usfmae.git_clean": _text(git.get("clean")),
        "usfmae.stage": found["stage"],
        "usfmae.wildcards": _text(found["wildcards"]),
        "usfmae.config_digest": digest(found["parameters"]),
        "usfmae.data_digest": digest(found.get("inputs", {})),
        "usfmae.simulated": _text(bool(found.get("simulated"))),
    }


def digest(value: Any) -> str:
    """sha256 of a JSON value, the same whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
