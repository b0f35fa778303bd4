"""A study's settings and everything in results/, made up: what the report is tested on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fake_statistics import by_device, fewer_labels, no_lesion
from fake_study import FOLDS, SIDE, TASKS, study

from usfmae.evaluation.tables import statistics_tables
from usfmae.record import write_json, write_table
from usfmae.report.figures_corpus import corpus_samples, duplicate_pairs
from usfmae.report.page import write_report
from usfmae.report.panels import draw_contact_sheet, draw_panels
from usfmae.settings import Settings
from usfmae.settings.pretraining import Grid
from usfmae.training.grid import choose

SKILL = {"usfmae": 1.6, "vit_scratch": 1.2, "resnet18": 0.9}


def fill(results: Path) -> None:
    """The products of all stages, with random numbers."""
    settings, generator = study(), np.random.default_rng(0)
    corpus = results / "corpus" / "demo"
    for name, classes in {**TASKS, "scans": [None]}.items():
        write_corpus(corpus / name, classes, generator)
    write_table(corpus / "duplicates.parquet", duplicates())
    write_table(
        corpus / "curation.csv",
        pd.DataFrame({"dataset": ["kidney"], "finding": ["dropped: unreadable"], "frames": [1]}),
    )
    corpus_samples(corpus, ["kidney", "neck", "scans"], {"kidney", "neck"}, corpus / "samples")
    duplicate_pairs(corpus, ["kidney", "neck", "scans"], {"kidney", "neck"}, corpus / "duplicates")
    grid = settings.recipes.pretrain["mae"].grid
    assert grid is not None
    write_pretraining(results / "pretrain" / "mae", grid, generator)
    for name, classes in TASKS.items():
        task = settings.tasks[name]
        predictions = write_finetuning(results / "finetune" / name, name, classes, generator)
        found = statistics_tables(
            predictions,
            classes=classes,
            positive=task.positive,
            primary=task.metric,
            resamples=100,
            seed=0,
            reference="usfmae",
            models=list(settings.models),
        )
        found |= {
            "label_efficiency": fewer_labels(found["summary"]),
            "shortcuts": no_lesion(found["summary"]),
        }
        if task.subgroup:
            found["subgroups"] = by_device(predictions, task)
        for each, table in found.items():
            ending = "parquet" if each in ("roc", "pr") else "csv"
            write_table(results / "statistics" / name / f"{each}.{ending}", table)
    write_explanation(results / "explain" / "neck" / "usfmae", generator)


def frame(generator: np.random.Generator, n: int) -> np.ndarray:
    return generator.rayleigh(60, (n, SIDE, SIDE)).clip(0, 255).astype(np.uint8)


def write_corpus(folder: Path, classes: list[Any], generator: np.random.Generator) -> None:
    n = 40
    table = pd.DataFrame(
        {
            "frame_id": [f"{folder.name}/{i:02}.png#0" for i in range(n)],
            "subject": [f"{folder.name}/{i // 4}" for i in range(n)],
            "label": pd.array([classes[i // 4 % len(classes)] for i in range(n)], dtype="string"),
            "has_mask": True,
            "drop_reason": pd.array([*[None] * (n - 1), "unreadable: cut off"], dtype="string"),
        }
    )
    folder.mkdir(parents=True)
    np.save(folder / "frames.npy", frame(generator, n - 1))
    write_table(folder / "frames.parquet", table)


def duplicates() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "frame_a": ["kidney/00.png#0", "kidney/01.png#0"],
            "frame_b": ["kidney/09.png#0", "kidney/02.png#0"],
            "kind": ["exact", "near"],
            "hamming": [0, 4],
            "correlation": [1.0, 0.97],
            "across_subjects": [True, False],
            "labels_differ": [True, False],
        }
    )


def history(generator: np.random.Generator, **figures: Any) -> pd.DataFrame:
    """What the loop measures of each run, and `figures` of one stage."""
    loss = np.linspace(1, 0.4, 6) + generator.normal(0, 0.03, 6)
    measured = {
        "epoch": range(6),
        "step": range(10, 70, 10),
        "learning_rate": [1e-3, 9e-4, 7e-4, 4e-4, 1e-4, 0],
        "train_loss": loss,
        "gradient_norm": loss / 2,
        "skipped_steps": [0, 0, 1, 0, 0, 0],
        "images_per_second": 1234.4,
        "waiting_share": 0.004,
        "utilisation": 0.37,
        "memory_gb": np.linspace(1, 1.5, 6),
        "validation_loss": loss + 0.05,
    }
    return pd.DataFrame(measured | figures)


def record(folder: Path, stage: str, metrics: dict[str, float] | None = None) -> None:
    write_json(
        folder / "run.json",
        {
            "stage": stage,
            "metrics": metrics or {},
            "counts": {"train": 30, "validation": 5},
            "environment": {
                "python": "3.11.9",
                "packages": {"torch": "2.14.0"},
                "processor": "A processor",
                "cores": 2,
                "device": "cpu",
            },
            "git": {"commit": "0123abc", "clean": True},
            "seconds": 61.5,
            "peak_memory_mb": 512.0,
        },
    )


def write_pretraining(folder: Path, grid: Grid, generator: np.random.Generator) -> None:
    figures = {"embedding_rank": np.linspace(2, 9, 6), "embedding_spread": np.linspace(0.1, 0.5, 6)}
    for name in grid.settings():
        for fold in range(grid.folds):
            run = folder / "grid" / name / f"fold-{fold}"
            table = history(generator, **figures)
            write_table(run / "history.parquet", table)
            record(run, "pretrain", dict(table.iloc[-1][["train_loss", "validation_loss"]]))
    choose(grid, folder / "grid", folder / "grid.csv", folder / "grid.json")
    record(folder, "pretrain")
    write_table(folder / "history.parquet", history(generator, **figures))
    write_embedding(folder, generator)
    original = frame(generator, 8).astype(np.float32) / 255
    masked = original.copy()
    masked[:, :16, 8:24] = -1
    over_epochs = np.stack([255 * share * original for share in np.linspace(0.1, 0.9, 6)]).astype(np.uint8)
    np.savez(
        folder / "reconstructions.npz",
        original=original,
        masked=masked,
        reconstructed=original * 0.9,
        epochs=np.arange(6),
        over_epochs=over_epochs,
    )


def write_embedding(folder: Path, generator: np.random.Generator) -> None:
    """Each dataset around a place of its own; the labels of the tasks."""
    tables = []
    for i, (name, classes) in enumerate({**TASKS, "scans": [None]}.items()):
        n = 20
        tables.append(
            pd.DataFrame(
                {
                    "frame_id": [f"{name}/{j:02}.png#0" for j in range(n)],
                    "dataset": name,
                    "subject": [f"{name}/{j // 4}" for j in range(n)],
                    "label": pd.array([classes[j // 4 % len(classes)] for j in range(n)], dtype="string"),
                    "x": 3 * i + generator.normal(size=n),
                    "y": generator.normal(size=n),
                    "nearest": [f"{name}/{(j + 4) % n:02}.png#0" for j in range(n)],
                }
            )
        )
    write_table(folder / "embedding.parquet", pd.concat(tables, ignore_index=True))
    facts = {"frames_per_dataset": 20, "perplexity": 19.7, "seed": 0, "dimensions": 32}
    write_json(folder / "embedding.json", {**facts, "kl_divergence": 0.4})


def write_finetuning(
    folder: Path, name: str, classes: list[str], generator: np.random.Generator
) -> pd.DataFrame:
    """Writes runs and splits of one task; returns the rows of all runs as the statistics stage reads them."""
    n = 96
    code = np.arange(n) // 4 % len(classes)
    frames = pd.DataFrame(
        {
            "frame_id": [f"{name}/{i:02}.png#0" for i in range(n)],
            "subject": [f"{name}/{i // 4}" for i in range(n)],
            "group": [f"{name}/{i // 4}" for i in range(n)],
            "label": np.array(classes)[code],
        }
    )
    part = np.arange(n) // (4 * len(classes)) % (FOLDS + (name == "kidney"))  # the last part is the hold-out
    splits, runs = [], []
    for fold in range(FOLDS):
        role = np.select(
            [part == FOLDS, part == fold, part == (fold + 1) % FOLDS],
            ["holdout", "test", "validation"],
            "train",
        )
        splits.append(frames.assign(fold=fold, role=role))
        for model, skill in SKILL.items():
            logits = generator.normal(0, 1, (n, len(classes))) + skill * np.eye(len(classes))[code]
            probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            rows = frames.assign(
                role=role, **{f"probability_{c}": probability[:, i] for i, c in enumerate(classes)}
            )
            rows = rows[rows["role"] != "train"]
            run = folder / model / "standard" / "fraction-1" / "seed-0" / f"fold-{fold}"
            record(run, "finetune")
            write_table(
                run / "history.parquet", history(generator, validation_score=np.linspace(0.5, 0.8, 6))
            )
            write_table(run / "predictions.parquet", rows)
            runs.append(rows.assign(model=model, seed=0, fold=fold))
    write_table(folder / "folds.parquet", pd.concat(splits))
    write_json(folder / "folds.json", {"classes": classes, "counts": {}, "unlabelled": 2, "leaks": 0})
    return pd.concat(runs, ignore_index=True)


def write_explanation(folder: Path, generator: np.random.Generator) -> None:
    n, methods = 6, ["score_cam", "attention_rollout"]
    record(folder, "explain")
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    maps = np.repeat(np.exp(-4 * (y**2 + x**2))[None], n, axis=0).astype(np.float32)
    np.savez(folder / "maps.npz", score_cam=maps, attention_rollout=1 - maps)
    np.save(folder / "inputs.npy", frame(generator, n))
    masks = np.zeros((n, SIDE, SIDE), dtype=np.uint8)
    masks[1:, 10:22, 12:24] = 1
    np.save(folder / "masks.npy", masks)
    cells = ["true negative", "false negative", "true negative"]
    cells += ["true positive", "false positive", "true positive"]
    selection = pd.DataFrame(
        {
            "frame_id": [f"neck/{i:02}.png#0" for i in range(n)],
            "subject": [f"neck/{i}" for i in range(n)],
            "label": ["normal", "hygroma"] * 3,
            "predicted": ["normal"] * 3 + ["hygroma"] * 3,
            "target": ["normal"] * 3 + ["hygroma"] * 3,
            "score": np.linspace(0.9, 0.6, n),
            "probability_of_label": [0.9, 0.16, 0.78, 0.72, 0.34, 0.6],
            "threshold": 0.4,
            "outcome": ["correct", "wrong", "correct", "correct", "wrong", "correct"],
            "cell": cells,
            "has_mask": masks.any(axis=(1, 2)),
            "shown": [True, True, True, False, False, True],
        }
    )
    write_table(folder / "selection.parquet", selection)
    rows = [["pointing game", 0.6, 0.2, 0.9, 5, 0.5, "unclear", "1 is best"]]
    rows += [["deletion AUC", 0.3, np.nan, np.nan, 6, 0.4, "better than the blob", "low is good"]]
    rows += [["energy inside and probability of the label", 0.4, -0.1, 0.8, 5, np.nan, "unclear", "above 0"]]
    columns = ["measure", "value", "lower", "upper", "n_frames", "baseline", "verdict", "note"]
    table = pd.DataFrame(rows, columns=columns)
    absent = pd.DataFrame([{"method": "gradient_attention", "note": "not applicable: no attention"}])
    tables = [table.assign(method=method, n_subjects=5) for method in methods]
    write_table(folder / "faithfulness.csv", pd.concat([*tables, absent]))
    energy = np.where(selection["has_mask"], generator.random(n), np.nan)
    measured = selection[["frame_id", "subject", "label", "outcome", "probability_of_label"]]
    measured = measured.assign(**{"energy inside the mask": energy})
    every = ["centred_gaussian", *methods]
    write_table(folder / "measures.parquet", pd.concat([measured.assign(method=m) for m in every]))
    share = np.linspace(0, 1, 5)
    curves = [
        pd.DataFrame({"method": m, "curve": c, "share": share, "probability": 0.5 + slope * share / 3})
        for m in every
        for c, slope in (("deletion", -1), ("insertion", 1))
    ]
    write_table(folder / "curves.csv", pd.concat(curves))
    draw_panels(folder, folder / "panels", simulated=True, title="USF-MAE (demo), neck")
    draw_contact_sheet(folder, folder / "contact_sheet", simulated=True, title="USF-MAE (demo), neck")


def write(root: Path, settings: Settings | None = None) -> str:
    results = root / "results"
    page = results / "report" / "report.html"
    write_report(settings or study(), results, page, results / "figures", results / "tables")
    return page.read_text(encoding="utf-8")
