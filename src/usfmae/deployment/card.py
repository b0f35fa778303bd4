"""The model card of an export: what the model is for, what it learned from, how good it is, and its limits.

The headings follow Mitchell et al. 2019, Model Cards for Model Reporting (arXiv 1810.03993).
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from usfmae.deployment.predictor import Predictor
from usfmae.settings import Settings

WARNING = "Not for clinical use."
#: Metrics on the card, beside the task's primary one.
METRICS = (
    *("accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1_macro", "auc"),
    "expected_calibration_error",
)
#: What one fold's model does; not the averaged probability of all, which one folder cannot give.
ESTIMATES = ("pooled", "mean of fold models")


def card(
    predictor: Predictor,
    settings: Settings,
    *,
    task: str,
    model: str,
    record: dict[str, Any],
    summary: pd.DataFrame,
    split: dict[str, Any],
) -> str:
    """The card as Markdown. `record` is the run's `run.json`, `summary` the task's `summary.csv`, `split` its
    `folds.json`."""
    entry = settings.tasks[task]
    simulated = settings.simulated(entry.datasets)
    corpus, counts = predictor.corpus, record["counts"]
    decided = (
        f"`{predictor.positive}` is predicted from a probability of {predictor.threshold:.3f} on: the "
        "highest Youden index on validation."
        if predictor.threshold is not None
        else "The likeliest class is predicted."
    )
    sources = _sources(
        settings, entry.datasets, settings.pretrain_of(model, int(record["wildcards"]["fold"]))
    )
    checkpoint = settings.models[model].checkpoint
    if checkpoint:
        sources = pd.concat([sources, _weights(settings, checkpoint)])
    sizes = pd.DataFrame(
        [
            {"part": role, "frames": counts[role], "subjects": counts[f"subjects_{role}"]}
            for role in ("train", "validation", "test", "holdout")
            if role in counts
        ]
    )
    metrics = dict.fromkeys([entry.metric, *METRICS])
    shown = summary[(summary["model"] == model) & summary["metric"].isin(metrics)]
    shown = shown[shown["estimate"].isin(ESTIMATES)]
    results = pd.DataFrame(
        {
            "part": shown["role"],
            "estimate": shown["estimate"],
            "metric": shown["metric"],
            "value": shown["value"].map("{:.3f}".format),
            "95 % interval": [
                f"{a:.3f} to {b:.3f}" for a, b in zip(shown["lower"], shown["upper"], strict=True)
            ],
            "frames": shown["n_frames"],
            "subjects": shown["n_subjects"],
        }
    )
    limits = [
        "Its results are those of the data above: at another hospital or scanner they are not known.",
        "It answers with one of its classes whatever it is shown; `out_of_distribution` marks images far "
        "from the training frames in the model's own features, and can miss some.",
        f"Frames were reduced to {corpus.size} x {corpus.size} pixels "
        f"({'grey' if corpus.channels == 1 else 'colour'}); smaller structures are not seen.",
    ]
    if split["leaks"]:
        limits.append(
            f"The official split cuts {split['leaks']} groups of one subject or of duplicate frames, so its "
            "results may be too good."
        )
    if split["left_out"]:
        limits.append(
            f"{split['left_out']} frames that the official split ties across its parts are left out."
        )
    if simulated:
        limits.append(f"Simulated, of no patient: {', '.join(simulated)}.")
    if entry.notes:
        limits.append(entry.notes)
    return f"""# {settings.models[model].title}: {entry.title}

**{WARNING}** A research result, made by the usfmae workflow; no medical device.

## Use
Sorts single ultrasound frames into {", ".join(f"`{name}`" for name in predictor.classes)}.
{decided} The confidence is calibrated by one temperature, {predictor.temperature:.3f}, fitted on validation.

    usfmae predict --model <this folder> IMAGES...

`model.onnx` takes float32 frames `(N, {corpus.channels}, {corpus.size}, {corpus.size})` from 0 to 1, prepared
as `preprocessing.json` says, normalises them itself and gives probabilities `(N, {len(predictor.classes)})`.
The folder is an MLflow model too (`mlflow models serve -m <this folder>`).

## Data
{_table(sources)}

The licences of data and weights may bind what is made from them: ask who gave them to you.

{_table(sizes)}

## Results
Of all fold models of this configuration, with the interval that `summary.csv` names; this folder holds one of
them, `{record["key"]}`. The primary metric, declared before any result, is `{entry.metric}`.

{_table(results)}

## Limits
{chr(10).join(f"- {limit}" for limit in limits)}
"""


def _sources(settings: Settings, datasets: list[str], pretrained_by: list[str]) -> pd.DataFrame:
    """What the model learned from, with licences: the task's data and what its encoder was pretrained on."""
    simulated = settings.simulated(list(settings.datasets))
    tables = []
    uses = {"fine-tuning": datasets}
    for name in pretrained_by:
        uses["pretraining"] = settings.members(settings.recipes.pretrain[name].corpus)
    for use, names in uses.items():
        entries = [settings.datasets[name] for name in names]
        tables.append(
            pd.DataFrame(
                {
                    "for": use,
                    "source": [dataset.title for dataset in entries],
                    "licence": [dataset.licence.name for dataset in entries],
                    "use": [dataset.licence.use.replace("_", "-") for dataset in entries],
                    "simulated": ["yes" if name in simulated else "no" for name in names],
                }
            )
        )
    starts = [settings.recipes.pretrain[name].initial_weights for name in pretrained_by]
    return pd.concat([*tables, *(_weights(settings, name) for name in starts if name)])


def _weights(settings: Settings, checkpoint: str) -> pd.DataFrame:
    """Published weights as a row of `_sources`."""
    entry = settings.checkpoints[checkpoint]
    row = {"for": "initial weights", "source": entry.title, "licence": entry.licence}
    return pd.DataFrame([row | {"use": "as the licence says", "simulated": "no"}])


def _table(table: pd.DataFrame) -> str:
    """A Markdown table."""
    rows = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)
