"""What every run leaves on disk: whole files, digests, and one `run.json`."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from usfmae.record_machine import energy_between, slurm, visible_gpus

#: Packages whose versions decide a result.
PACKAGES = ("numpy", "pandas", "scikit-learn", "scipy", "timm", "torch", "snakemake", "usfmae")


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path beside `path`, with its ending; renames it to `path` on success.

    A file that exists under its own name is therefore whole, also after a crash or a full disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".writing-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path | str, value: Any) -> None:
    """Writes indented JSON with sorted keys; NaN and infinity become null, because JSON has neither."""
    with atomic(path) as temporary:
        text = json.dumps(_plain(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def write_table(path: Path | str, table: pd.DataFrame) -> None:
    """Writes a table as Parquet or CSV, by the ending of `path`."""
    with atomic(path) as temporary:
        if temporary.suffix == ".csv":
            table.to_csv(temporary, index=False)
        else:
            table.to_parquet(temporary, index=False, write_page_checksum=True)


def read_table(path: Path | str) -> pd.DataFrame | None:
    """A table that `write_table` wrote, None where there is none."""
    path = Path(path)
    if not path.exists():
        return None
    if path.suffix == ".parquet":
        return pd.read_parquet(path, page_checksum_verification=True)
    # A class may be called "NA" or "None": only an empty cell is missing.
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def sha256(path: Path | str) -> str:
    """Digest of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_recorded(path: Path) -> Path:
    """`path`, once its content is seen to be that which the run record beside it states.

    A file without a record, or that the record does not name, is taken as it is: somebody put it there.
    Raises ValueError where the content is another, or the record cannot be read.
    """
    record = path.parent / "run.json"
    if not record.is_file():
        return path
    again = f"Delete {path.parent} and start the same command again: that run is made anew"
    try:
        outputs = json.loads(record.read_text(encoding="utf-8"))["outputs"]
        stated = {Path(name).name: digest for name, digest in outputs.items()}.get(path.name)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{record}: not a whole run record ({error}). {again}") from None
    if stated is not None and stated != (found := sha256(path)):
        raise ValueError(
            f"{path}: its content is not what its run wrote (sha256 {found[:16]}…, run.json says "
            f"{stated[:16]}…): it was changed or damaged. {again}"
        )
    return path


def flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"training": {"epochs": 3}}` → `{"training.epochs": 3}`; lists stay as they are."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            flat |= flatten(item, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = item
    return flat


class Run:
    """Times a run and writes its record.

    >>> run = Run("pretrain", folder, wildcards={"recipe": "demo"}, parameters=recipe.effective())
    >>> run.finish(metrics={"validation_loss": 0.1}, inputs=[frames], outputs=[encoder])
    """

    def __init__(
        self, stage: str, folder: Path | str, *, wildcards: dict[str, Any], parameters: dict[str, Any]
    ) -> None:
        self.stage, self.folder = stage, Path(folder)
        self.wildcards, self.parameters = wildcards, flatten(parameters)
        self._started, self._clock = datetime.now(UTC), time.monotonic()
        self._gpus = visible_gpus()

    @property
    def results(self) -> Path:
        """The folder `results` that the run lies in. Raises ValueError where there is none above it."""
        return _results_above(self.folder)

    @property
    def key(self) -> str:
        """The run's folder below `results`, its identity."""
        return self.folder.absolute().relative_to(self.results).as_posix()

    def finish(
        self,
        *,
        metrics: dict[str, float],
        counts: dict[str, int] | None = None,
        inputs: list[Path] | None = None,
        outputs: list[Path] | None = None,
        simulated: bool = False,
        device: str = "cpu",
    ) -> None:
        """Writes `run.json`; see docs/contracts.md for its keys. Paths are stored relative to the results."""
        results = self.results
        gpus = visible_gpus() if device != "cpu" else []
        write_json(
            self.folder / "run.json",
            {
                "key": self.key,
                "stage": self.stage,
                "wildcards": self.wildcards,
                "parameters": self.parameters,
                "metrics": metrics,
                "counts": counts or {},
                "inputs": {_short(path, results): sha256(path) for path in inputs or []},
                "outputs": {_short(path, results): sha256(path) for path in outputs or []},
                "simulated": simulated,
                "environment": environment(device),
                "git": git_state(),
                "started": self._started.isoformat(timespec="seconds"),
                "seconds": round(time.monotonic() - self._clock, 3),
                "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
                "slurm": slurm(),
                "gpus": [gpu.name for gpu in gpus] or ([device] if device != "cpu" else []),
                "energy_joules": energy_between(self._gpus, gpus),
            },
        )


def environment(device: str = "cpu") -> dict[str, Any]:
    """Versions and machine, without host or user name; only `slurm` names a node."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "python": platform.python_version(),
        "packages": versions,
        "processor": processor(),
        "cores": cores(),
        "device": device,
        "platform": sys.platform,
    }


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's model name as Linux gives it, else the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def git_state() -> dict[str, Any]:
    """Commit of the workflow and whether its tree was clean; `unknown` outside a checkout."""
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "clean": git("status", "--porcelain") == ""}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "unknown", "clean": None}


def _results_above(folder: Path) -> Path:
    for parent in folder.absolute().parents:
        if parent.name == "results":
            return parent
    raise ValueError(f"{folder}: a run record lies below a folder called results")


def _short(path: Path, results: Path) -> str:
    path = Path(path).absolute()
    return path.relative_to(results.parent).as_posix() if path.is_relative_to(results.parent) else path.name


def _plain(value: Any) -> Any:
    """JSON types: numpy scalars to numbers, paths to text, NaN and infinity to None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
