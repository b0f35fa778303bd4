"""What a run is called in MLflow, by its key: its folder below `results/`."""

from __future__ import annotations

import re

STAGES = ("corpus", "pretrain", "features", "finetune", "statistics", "explain", "export")
#: Stages with an experiment a task; any other has one experiment.
BY_TASK = ("features", "finetune", "statistics", "explain", "export")
#: Folder of the runs on all training data; names mention any other fraction.
WHOLE = ("fraction-1", "fraction-1.0")


def experiment_of(key: str) -> str:
    """`finetune/kidney` for every run of that task, else the stage."""
    parts = key.split("/")
    return "/".join(parts[:2]) if parts[0] in BY_TASK else parts[0]


def name_of(key: str) -> str:
    """What the UI calls it: `usfmae · fold 0 · seed 0`."""
    parts = key.split("/")
    if is_grid_fold(key):
        _, recipe, _, setting, fold = parts
        return f"{recipe} · {setting} · {fold.replace('-', ' ')}"
    if parts[0] != "finetune":
        return key
    if is_fold(key):
        _, _, model, _, fraction, seed, fold = parts
        shown = [model, fold, seed, fraction]
    else:
        shown = parts[2:] or ["folds"]
    words = [re.sub(r"^(fold|seed|fraction)-", r"\1 ", part) for part in shown if part not in WHOLE]
    return " · ".join(words)


def is_fold(key: str) -> bool:
    """`finetune/<task>/<model>/<recipe>/fraction-<f>/seed-<s>/fold-<k>`."""
    return key.startswith("finetune/") and key.count("/") == 6


def is_grid_fold(key: str) -> bool:
    """`pretrain/<recipe>/grid/<setting>/fold-<k>`."""
    return key.startswith("pretrain/") and key.count("/") == 4
