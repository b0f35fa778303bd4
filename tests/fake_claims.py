"""A made-up study that could answer claims: real data, a ViT-B/16, its baseline, tables of given values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from fake_study import study

from usfmae.evaluation.predictions import NOT_RUN
from usfmae.record import write_json, write_table
from usfmae.settings import Settings, settings_from

NUMBERS = range(1, 47)
SEEN = {"seen": "no", "seen_because": "made up"}
#: The least of a claim; a test adds what it is about.
FIGURE: dict[str, Any] = {
    "says": "AUC 90 % on necks.",
    "paper": "first",
    "section": "abstract",
    "kind": "figure",
    "task": "neck",
    "model": "big",
    "metrics": ["auc"],
    "published": 90,
    "rounding": 1,
    "unit": "percent",
    "protocol": "known",
    "settled_by": "the interval of our value",
    "data": "public",
    "needs": "necks",
    **SEEN,
}
GAIN = FIGURE | {"kind": "difference", "baselines": ["small"], "published": 10, "unit": "percent or points"}
ORDER = FIGURE | {"kind": "order", "direction": "above", "baselines": ["small"]}
ORDER |= {"published": None, "unit": None, "rounding": 0}


def claimed_study(
    claims: dict[str, dict[str, Any]], change: dict[str, Any] | None = None, *, simulated: bool = False
) -> Settings:
    """The study of `fake_study` on data of 224 px, real unless `simulated`, with models that claims may speak
    of. `change` is laid over it."""
    merged = study().model_dump(mode="json", exclude_none=True)
    for name in () if simulated else ("kidney", "neck"):
        merged["datasets"][name]["access"] = {"host": "folder", "folder": "/data"}
    collection = {f"open{n}": merged["datasets"]["scans"] | {"number": n} for n in NUMBERS}
    merged["datasets"] |= collection
    merged["corpora"]["demo"]["size"] = 224
    merged["corpora"]["open"] = {"datasets": list(collection), "size": 224}
    merged["encoders"]["base"] = {"width": 768, "depth": 12, "heads": 12, "patch_size": 16}
    merged["recipes"]["pretrain"]["mae"] |= {"encoder": "base", "corpus": "open"}
    big = {"encoder": "base", "weights": "pretrain", "pretrain": "mae"}
    access = {"host": "folder", "files": [{"name": "weights.pth"}]}
    merged["checkpoints"] = {
        "imagenet": {"title": "W", "access": access, "contents": "encoder", "channels": 3, "licence": "MIT"}
    }
    dense = {"timm": "densenet169.tv_in1k", "weights": "checkpoint", "checkpoint": "imagenet"}
    merged["models"] |= {
        "usfmae": big | {"title": "USF-MAE"},
        "usfmae_right": big | {"title": "USF-MAE, corrected"},
        "imagenet": dense | {"title": "DenseNet-169"},
    }
    merged["study"] |= {"models": ["usfmae", "usfmae_right", "vit_scratch", "resnet18", "imagenet"]}
    merged["study"] |= {"fractions": [1.0]}
    base = {"least_size": 224, "needs": "the weights"}
    merged |= {
        "papers": {"first": {"title": "First", "reference": "arXiv 1", "read": "the abstract"}},
        "claimed_models": {
            "big": base
            | {"title": "Big", "published": ["usfmae"], "corrected": ["usfmae_right"]}
            | {"width": 768, "depth": 12, "openus46": 43},
            "small": base | {"title": "Small", "published": ["imagenet"], "corrected": ["imagenet"]}
            | {"timm": "densenet169"},
        },
        "claims": claims,
    }  # fmt: skip
    return settings_from(_laid_over(merged, change or {}), [])


def _laid_over(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {key: _laid_over(below.get(key), value) for key, value in above.items()}
    return above


def write_availability(results: Path, there: int = 46, gone: tuple[str, ...] = ()) -> None:
    """`availability.csv` of both corpora: the first `there` of OpenUS-46 are at hand."""
    rows = [
        {"dataset": f"open{n}", "status": "available" if n <= there else "unavailable", "frames": 10}
        for n in NUMBERS
    ]
    write_table(results / "corpus/open/availability.csv", pd.DataFrame(rows).assign(reason="no account"))
    names = ["kidney", "neck", "scans"]
    status = ["unavailable" if name in gone else "available" for name in names]
    ours = pd.DataFrame({"dataset": names, "status": status, "reason": "not placed", "frames": 40})
    write_table(results / "corpus/demo/availability.csv", ours)


def summary_row(model: str, value: float, half: float, metric: str = "auc", **more: Any) -> dict[str, Any]:
    """A row of `summary.csv`: pooled folds unless `more` says otherwise."""
    row = {"model": model, "role": "test", "estimate": "pooled", "metric": metric, "value": value}
    row |= {"lower": value - half, "upper": value + half, "interval": "95 %, made up"}
    return row | {"n_folds": 4, "n_frames": 96, "n_subjects": 24, "n_seeds": 1} | more


def not_run_row(model: str) -> dict[str, Any]:
    return {"model": model, "interval": NOT_RUN}


def difference_row(
    a: str, b: str, value: float, half: float, metric: str = "auc", **more: Any
) -> dict[str, Any]:
    """A row of `comparisons.csv`: a valid corrected resampled t unless `more` says otherwise."""
    row = {"model_a": a, "model_b": b, "role": "test", "metric": metric, "test": "corrected resampled t"}
    row |= {"difference": value, "lower": value - half, "upper": value + half}
    return row | {"p": 0.01, "p_holm": 0.02, "valid": "yes", "note": ""} | more


def write_task(
    results: Path,
    summary: list[dict[str, Any]],
    comparisons: list[dict[str, Any]] | None = None,
    fold_metrics: list[dict[str, Any]] | None = None,
    task: str = "neck",
) -> None:
    """The statistics of one task and its split of 4 folds: 30 training, 10 validation, 10 test frames."""
    folder = results / "statistics" / task
    write_table(folder / "summary.csv", pd.DataFrame(summary))
    write_table(
        folder / "comparisons.csv",
        pd.DataFrame(comparisons or [], columns=list(difference_row("", "", 0, 0))),
    )
    if fold_metrics:
        write_table(folder / "fold_metrics.csv", pd.DataFrame(fold_metrics))
    roles = ["train"] * 30 + ["validation"] * 10 + ["test"] * 10
    split = [
        pd.DataFrame(
            {
                "frame_id": [f"{task}/{i}.png#0" for i in range(50)],
                "subject": [f"{task}/s{i}" for i in range(50)],
                "fold": fold,
                "role": roles,
            }
        )
        for fold in range(4)
    ]
    write_table(results / "finetune" / task / "folds.parquet", pd.concat(split))
    counts = {"normal": {"frames": 60}, "hygroma": {"frames": 36}}
    write_json(results / "finetune" / task / "folds.json", {"counts": counts, "leaks": 3})
