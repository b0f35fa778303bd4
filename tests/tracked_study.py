"""A small study of every stage, written without running it, and the store that tracking fills from it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path

from usfmae import record

HOME = str(Path.home())
EXPLAINED = (
    "maps.npz",
    "masks.npy",
    "measures.parquet",
    "curves.csv",
    "faithfulness.csv",
    "contact_sheet.png",
)


def write_run(folder: Path, stage: str, metrics: dict[str, float], **wildcards: object) -> None:
    """A run folder with a record, a history and a file of weights, as docs/contracts.md says."""
    results = next(above for above in folder.parents if above.name == "results")
    epochs = range(3)
    history = pd.DataFrame({"epoch": epochs, "step": [10, 20, 30], "train_loss": [0.9, 0.6, 0.5]})
    record.write_table(folder / "history.parquet", history.assign(validation_loss=[0.8, None, 0.7]))
    (folder / "model.safetensors").write_bytes(f"weights of {folder.name} {metrics}".encode())
    record.write_json(
        folder / "run.json",
        {
            "key": folder.relative_to(results).as_posix(),
            "stage": stage,
            "wildcards": wildcards,
            "parameters": {"training.epochs": 3, "training.device": "cpu", "data.root": f"{HOME}/images"},
            "metrics": metrics,
            "counts": {"train_frames": 80, "test_frames": 20},
            "inputs": {"results/corpus/demo/groups.parquet": "ab" * 32},
            "outputs": {},
            "simulated": True,
            "environment": {"python": "3.11"},
            "git": {"commit": "c0ffee", "clean": True},
            "started": "2026-11-22T10:00:00+00:00",
            "seconds": 12.5,
            "peak_memory_mb": 800.0,
        },
    )


def fold(results: Path, model: str, number: int) -> Path:
    return results / f"finetune/kidney/{model}/demo/fraction-1.0/seed-0/fold-{number}"


def write_fold(results: Path, model: str, number: int, auc: float) -> None:
    metrics = {"test_auc": auc, "validation_loss": 0.7}
    wildcards = {"task": "kidney", "model": model, "recipe": "demo", "fraction": "1.0", "seed": "0"}
    write_run(fold(results, model, number), "finetune", metrics, **wildcards, fold=str(number))


SETTING = "learning_rate-0.001_weight_decay-0.05"


def write_grid(results: Path, recipe: str, losses: list[float]) -> None:
    """The folds of a pretraining grid of one setting, and what was chosen from them."""
    for number, loss in enumerate(losses):
        wildcards = {"recipe": recipe, "setting": SETTING, "fold": str(number)}
        folder = results / f"pretrain/{recipe}/grid/{SETTING}/fold-{number}"
        write_run(folder, "pretrain", {"validation_loss": loss}, **wildcards)
        (folder / "model.safetensors").unlink()  # of a fold, history and record alone are kept
    rows = pd.DataFrame({"setting": SETTING, "fold": range(len(losses)), "validation_loss": losses})
    record.write_table(results / f"pretrain/{recipe}/grid.csv", rows)
    record.write_json(results / f"pretrain/{recipe}/grid.json", {"setting": SETTING})


def write_results(root: Path) -> Path:
    """A small study with every stage: two models of two folds each."""
    results = root / "results"
    corpus = results / "corpus/demo"
    (corpus / "simulated").mkdir(parents=True)
    (corpus / "simulated/frames.npy").write_bytes(bytes(1000))
    rows = [{"dataset": "simulated", "finding": "kept", "frames": 100}]
    record.write_table(corpus / "curation.csv", pd.DataFrame(rows))
    (corpus / "samples.png").write_bytes(b"a picture")
    write_run(results / "pretrain/small", "pretrain", {"validation_loss": 0.4}, recipe="small")
    (results / "pretrain/small/reconstructions.npz").write_bytes(b"pictures")
    write_grid(results, "small", [0.6, 0.5])
    record.write_json(results / "finetune/kidney/folds.json", {"classes": ["normal", "dilated"]})
    for model, aucs in {"usfmae": (0.8, 0.9), "densenet169": (0.7, 0.6)}.items():
        for number, auc in enumerate(aucs):
            write_fold(results, model, number, auc)
    row = {"model": "usfmae", "role": "test", "estimate": "mean of folds", "metric": "auc", "value": 0.85}
    summary = pd.DataFrame([row | {"lower": 0.7, "upper": 0.95, "sd": None, "interval": "t, folds"}])
    record.write_table(results / "statistics/kidney/summary.csv", summary)
    record.write_table(results / "statistics/claims.csv", pd.DataFrame([{"claim": "a"}]))
    write_run(results / "explain/kidney/usfmae", "explain", {"deletion": 0.2}, task="kidney", model="usfmae")
    for name in EXPLAINED:
        (results / "explain/kidney/usfmae" / name).write_bytes(f"content of {name}".encode())
    for name in ("report/report.html", "figures/roc.png", "tables/summary.csv", "README.md"):
        (results / name).parent.mkdir(exist_ok=True)
        (results / name).write_text(f"content of {name}")
    return results


def open_store(results: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{results}/mlflow/mlflow.db")


def runs_in(client: MlflowClient, deleted: bool = False, results: Path | None = None) -> dict[str, Any]:
    """key → run, of one folder `results` where several share a store; two runs with one key fail here."""
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
    of_folder = ""
    if results:  # of a shared store; a folder's number is there once it has written to one
        study = results / ".study"
        number = study.read_text() if study.exists() else ""
        owner = hashlib.sha256(f"{results.resolve()}{number}".encode()).hexdigest()[:12]
        of_folder = f"tags.`usfmae.results` = '{owner}'"
    found = client.search_runs(ids, of_folder, run_view_type=view)
    runs = {run.data.tags["usfmae.key"]: run for run in found}
    assert len(runs) == len(found)
    return runs


def experiment_of(client: MlflowClient, run: Any) -> Any:
    return client.get_experiment(run.info.experiment_id)


def artifact(run: Any, name: str) -> Path:
    return Path(local_file_uri_to_path(run.info.artifact_uri)) / name
