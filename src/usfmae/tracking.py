"""Fills MLflow from the files in `results/`, so that the store can be thrown away and rebuilt.

Every file belongs to one run. A folder with a `run.json` is a run; the folds of one (task, model,
recipe, fraction) are children of a run that carries their mean, the folds of a pretraining grid those of
the recipe's run; any other folder of a stage is a run that holds its files; what belongs to no stage
(report, figures, tables) is the run `report`.
A run is known by its key (its folder below `results/`) and by a digest of its files, so a second
pass writes nothing and a changed folder replaces its run. See docs/tracking.md.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from usfmae import record
from usfmae.tracking_address import opened
from usfmae.tracking_content import (
    Content,
    digest,
    of_folds,
    of_record,
    of_tables,
    read_record,
)
from usfmae.tracking_names import STAGES, experiment_of, is_fold, is_grid_fold, name_of
from usfmae.tracking_store import Artifact, Store, locked

#: Files above this size, weights and arrays enter the store by path and sha256, not by copy.
LARGEST_COPY = 50_000_000  # bytes
#: Part of each digest: raise it when other names or values are written, and every run is written anew.
LAYOUT = 2


@dataclass
class _Run:
    """A run to be: the files of a folder, or the mean of folds."""

    key: str
    folder: Path
    files: list[Artifact] = field(default_factory=list)
    folds: list[_Run] = field(default_factory=list)  # whose mean this run carries
    parent: str | None = None  # key of the run that this one is a child of

    @property
    def digest(self) -> str:
        files = sorted([file.name, file.sha256, str(file.copied)] for file in self.files)
        return digest([LAYOUT, files, [fold.digest for fold in self.folds]])

    def content(self) -> Content:
        if self.folds:
            return of_folds([read_record(fold.folder) for fold in self.folds])
        if (self.folder / "run.json").exists():
            return of_record(read_record(self.folder), self.folder / "history.parquet")
        modified = max(file.path.stat().st_mtime for file in self.files)
        return of_tables(self.folder, self.key.split("/")[0], modified)


def sync(
    results: Path | str,
    uri: str | None = None,
    *,
    log_weights: bool = False,
    runs: set[str] | None = None,
    progress: Callable[..., Iterable[_Run]] | None = None,
) -> dict[str, Any]:
    """Brings the MLflow store into agreement with what lies in `results`.

    Without `uri` the store is `results/mlflow/mlflow.db` with its artifacts beside it. One process at
    a time: others wait at a lock. `log_weights` copies `.safetensors` files too. `runs` are the
    keys of the study's fine-tuning runs: others, left by earlier settings, count in no mean. `progress` is
    `usfmae.progress.progress`; without it nothing is printed.

    Returns `written`, `unchanged` and `deleted` (counts of runs), `runs` (key → digest) and `pages`
    (experiment → its address in the UI, to append to the server's).
    A store below `results` that was made in another folder is thrown away and built anew; of a server
    nothing is. Raises FileNotFoundError without a folder `results`, ValueError for a broken run record,
    ConnectionError when the server at `uri` does not answer.
    """
    results = Path(results).resolve()
    if not results.is_dir():
        raise FileNotFoundError(f"{results}: no such folder; run the other stages before `track`")
    with locked(results / "mlflow"), opened(uri or "") as address, _rare_collections():
        wanted = _runs(results, log_weights, runs)
        store = Store(results, address or None)
        existing = store.runs()
        ids: dict[str, str] = {}  # key → id in the store
        written = 0
        for run in progress(wanted, description="track", unit="runs") if progress else wanted:
            parent = ids[run.parent] if run.parent else None
            kept = next((old for old in existing.get(run.key, []) if store.is_whole(old, run.digest)), None)
            if kept:
                ids[run.key] = kept.info.run_id
                store.set_parent(kept, parent)
            else:
                identity = {"usfmae.key": run.key, "usfmae.digest": run.digest}
                ids[run.key] = store.write(
                    experiment_of(run.key), name_of(run.key), run.content(), identity, run.files, parent
                )
                written += 1
        current = set(ids.values())
        recorded = {run.key for run in wanted if (run.folder / "run.json").exists()}
        stale = [
            old
            for key, olds in existing.items()
            for old in olds
            if old.info.run_id not in current and (key in recorded or not store.is_live(old))
        ]
        for old in stale:
            store.discard(old)
    return {
        "written": written,
        "unchanged": len(wanted) - written,
        "deleted": len(stale),
        "runs": {run.key: run.digest for run in wanted},
        "pages": {experiment_of(run.key): store.page(experiment_of(run.key)) for run in wanted},
    }


@contextmanager
def _rare_collections() -> Iterator[None]:
    """MLflow makes an object of each metric. After every 700 new ones Python would look through a million
    others for garbage: a quarter of the first pass, and most of one that finds nothing to do."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(100_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _runs(results: Path, log_weights: bool, of_study: set[str] | None) -> list[_Run]:
    """All runs, a parent before its children. Hidden files (half-written, Snakemake's marks) are left out."""
    runs: dict[str, _Run] = {}
    recorded: set[Path] = set()
    sha256 = _Digests(results / "mlflow" / "digests.json")
    for name, folders, files in os.walk(results):
        folder = Path(name)
        folders[:] = sorted(sub for sub in folders if folder != results or sub != "mlflow")
        if "run.json" in files:
            recorded.add(folder)
        owner = next((above for above in (folder, *folder.parents) if above in recorded), folder)
        key = owner.relative_to(results).as_posix()
        if key.split("/")[0] not in STAGES:
            key, owner = "report", results
        if of_study is not None and owner in recorded and is_fold(key) and key not in of_study:
            continue
        for path in (folder / file for file in sorted(files) if not file.startswith(".")):
            size = path.stat().st_size
            weights = path.suffix == ".safetensors"
            copied = log_weights if weights else path.suffix != ".npy" and size < LARGEST_COPY
            artifact = Artifact(path, path.relative_to(owner).as_posix(), size, sha256(path), copied)
            runs.setdefault(key, _Run(key, owner)).files.append(artifact)
    sha256.save()
    for run in [run for run in runs.values() if is_fold(run.key) and run.folder in recorded]:
        run.parent = run.key.rsplit("/", 2)[0]  # finetune/<task>/<model>/<recipe>/fraction-<f>
        runs.setdefault(run.parent, _Run(run.parent, results / run.parent)).folds.append(run)
    for run in runs.values():
        recipe = run.key.partition("/grid/")[0]
        if is_grid_fold(run.key) and recipe in runs:  # not there: nothing was chosen yet
            run.parent = recipe
    return sorted(runs.values(), key=lambda run: (run.parent is not None, run.key))


class _Digests:
    """sha256 of files, remembered by size and modification time so that a second pass reads none."""

    def __init__(self, index: Path) -> None:
        self._index = index
        self._known: dict[str, list[Any]] = json.loads(index.read_text()) if index.exists() else {}
        self._seen: dict[str, list[Any]] = {}

    def __call__(self, path: Path) -> str:
        state = path.stat()
        name = path.relative_to(self._index.parents[1]).as_posix()
        known = self._known.get(name, [])
        if known[:2] != [state.st_size, state.st_mtime_ns]:
            known = [state.st_size, state.st_mtime_ns, record.sha256(path)]
        self._seen[name] = known
        return str(known[2])

    def save(self) -> None:
        if self._seen != self._known:
            record.write_json(self._index, self._seen)
