"""The report: whole, honest about what is simulated or missing, and the same bytes every time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from usfmae.evaluation.tables import statistics_tables
from usfmae.record import write_json, write_table
from usfmae.report import words
from usfmae.report.figures_corpus import corpus_samples, duplicate_pairs
from usfmae.report.headline import best_model, foundation_against_scratch
from usfmae.report.page import write_report
from usfmae.report.panels import scorecam_panels
from usfmae.settings import Settings, settings_from

SIDE, FOLDS = 32, 4
KIDNEY, NECK = ["normal", "dilation", "dysplastic"], ["normal", "hygroma"]
TASKS = {"kidney": KIDNEY, "neck": NECK}
SKILL = {"usfmae": 1.6, "vit_scratch": 1.2, "resnet18": 0.9}


def study() -> Settings:
    def dataset(title: str, anatomy: str) -> dict[str, Any]:
        return {
            "title": title,
            "anatomy": anatomy,
            "access": {"host": "simulated", "anatomy": anatomy, "subjects": {"normal": 5}},
            "licence": {"name": "CC0-1.0", "use": "open", "redistribution": True},
            "citation": f"The simulator of this project, {anatomy}.",
        }

    def task(name: str, split: dict[str, Any]) -> dict[str, Any]:
        classes = TASKS[name]
        return {
            "title": f"{name.capitalize()} <frames>",
            "corpus": "demo",
            "datasets": [name],
            "classes": {each: [each] for each in classes},
            "positive": "hygroma" if name == "neck" else None,
            "split": {"kind": "grouped", "folds": FOLDS, **split},
            "notes": "Angles & depths differ." if name == "neck" else "",
        }

    training = {"epochs": 3, "batch_size": 8, "learning_rate": 0.001}
    vit = {"encoder": "tiny"}
    merged = {
        "study": {
            "title": "A study made for a test",
            "pretrain": ["mae"],
            "tasks": ["kidney", "neck"],
            "models": ["usfmae", "vit_scratch", "resnet18", "imagenet"],
            "reference": "usfmae",
            "recipe": "standard",
            "explain": {"recipe": "scorecam", "models": ["usfmae", "imagenet"]},
        },
        "corpora": {"demo": {"datasets": ["kidney", "neck", "scans"], "size": SIDE}},
        "datasets": {
            "kidney": dataset("Simulated kidneys", "kidney"),
            "neck": dataset("Simulated necks", "neck"),
            "scans": dataset("DICOM samples", "breast")
            | {"access": {"host": "package", "package": "pydicom", "folder": "data"}},
        },
        "encoders": {"tiny": {"width": 64, "depth": 2, "heads": 2, "patch_size": 8}},
        "models": {
            "usfmae": vit | {"title": "USF-MAE (demo)", "weights": "pretrain", "pretrain": "mae"},
            "vit_scratch": vit | {"title": "ViT from scratch"},
            "resnet18": {"title": "ResNet-18 from scratch", "timm": "resnet18"},
            "imagenet": {"title": "DenseNet-169 from scratch", "timm": "densenet169"},
        },
        "recipes": {
            "pretrain": {
                "mae": {
                    "title": "MAE, demo",
                    "encoder": "tiny",
                    "corpus": "demo",
                    "decoder_width": 32,
                    "decoder_depth": 1,
                    "decoder_heads": 1,
                    "training": training,
                }
            },
            "finetune": {"standard": {"title": "All weights", "training": training}},
            "explain": {"scorecam": {"title": "Score-CAM"}},
        },
        "tasks": {"kidney": task("kidney", {"holdout": 0.25}), "neck": task("neck", {})},
        "statistics": {"resamples": 100},
    }
    return settings_from(merged, [])


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
    write_pretraining(results / "pretrain" / "mae", generator)
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
        )
        for each in ("fold_metrics", "summary", "comparisons", "confusion"):
            write_table(results / "statistics" / name / f"{each}.csv", found[each])
        write_table(results / "statistics" / name / "roc.parquet", found["roc"])
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


def history(generator: np.random.Generator) -> pd.DataFrame:
    loss = np.linspace(1, 0.4, 6) + generator.normal(0, 0.03, 6)
    return pd.DataFrame(
        {
            "epoch": range(6),
            "train_loss": loss,
            "validation_loss": loss + 0.05,
            "validation_score": 1 - loss / 2,
        }
    )


def record(folder: Path, stage: str) -> None:
    write_json(
        folder / "run.json",
        {
            "stage": stage,
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


def write_pretraining(folder: Path, generator: np.random.Generator) -> None:
    record(folder, "pretrain")
    write_table(folder / "history.parquet", history(generator))
    original = frame(generator, 8).astype(np.float32) / 255
    masked = original.copy()
    masked[:, :16, 8:24] = -1
    np.savez(folder / "reconstructions.npz", original=original, masked=masked, reconstructed=original * 0.9)


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
            write_table(run / "history.parquet", history(generator))
            write_table(run / "predictions.parquet", rows)
            runs.append(rows.assign(model=model, seed=0, fold=fold))
    write_table(folder / "folds.parquet", pd.concat(splits))
    write_json(folder / "folds.json", {"classes": classes, "counts": {}, "unlabelled": 2, "leaks": 0})
    return pd.concat(runs, ignore_index=True)


def write_explanation(folder: Path, generator: np.random.Generator) -> None:
    n = 6
    record(folder, "explain")
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    np.save(folder / "maps.npy", np.repeat(np.exp(-4 * (y**2 + x**2))[None], n, axis=0).astype(np.float32))
    np.save(folder / "inputs.npy", frame(generator, n))
    masks = np.zeros((n, SIDE, SIDE), dtype=np.uint8)
    masks[1:, 10:22, 12:24] = 1
    np.save(folder / "masks.npy", masks)
    selection = pd.DataFrame(
        {
            "frame_id": [f"neck/{i:02}.png#0" for i in range(n)],
            "subject": [f"neck/{i}" for i in range(n)],
            "label": ["normal", "hygroma"] * 3,
            "predicted": ["normal"] * 3 + ["hygroma"] * 3,
            "target": ["normal"] * 3 + ["hygroma"] * 3,
            "score": np.linspace(0.9, 0.6, n),
            "outcome": ["correct", "wrong", "correct", "correct", "wrong", "correct"],
            "has_mask": masks.any(axis=(1, 2)),
            "shown": [True, True, True, False, False, True],
        }
    )
    write_table(folder / "selection.parquet", selection)
    faithfulness = pd.DataFrame(
        {
            "measure": ["pointing game", "deletion AUC"],
            "value": [0.6, 0.3],
            "lower": [0.2, np.nan],
            "upper": [0.9, np.nan],
            "n_frames": [5, 6],
            "baseline": [0.5, 0.4],
            "note": ["1 is best", "low is good"],
        }
    )
    write_table(folder / "faithfulness.csv", faithfulness)
    scorecam_panels(folder, folder / "panels", simulated=True, title="USF-MAE (demo), neck")


def write(root: Path, settings: Settings | None = None) -> str:
    results = root / "results"
    page = results / "report" / "report.html"
    write_report(settings or study(), results, page, results / "figures", results / "tables")
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("report")
    fill(folder / "results")
    return folder


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return write(root)


def test_the_page_needs_nothing_but_itself(page: str) -> None:
    sources = re.findall(r'(?:src|href)="([^"]{0,40})', page)
    assert sources and all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert "<script" not in page and "@import" not in page and "url(" not in page


def test_every_anchor_of_the_contents_exists(page: str) -> None:
    for target in re.findall(r'href="#([^"]+)"', page):
        assert page.count(f'id="{target}"') == 1


def test_every_picture_has_words_for_those_who_cannot_see_it(page: str) -> None:
    assert len(re.findall(r'<img [^>]*alt="[^"]{20,}', page)) == page.count("<img ") > 10


def test_every_task_and_model_is_named_and_escaped(page: str) -> None:
    for title in ("Kidney &lt;frames&gt;", "Neck &lt;frames&gt;", "USF-MAE (demo)", "ViT from scratch"):
        assert title in page
    assert "Angles &amp; depths differ." in page and "<frames>" not in page


def test_simulated_data_are_called_simulated(page: str) -> None:
    assert "This study contains simulated data." in page
    assert "Simulated kidneys, Simulated necks" in page
    assert page.count('class="badge"') >= 5


def test_a_study_without_simulated_data_has_no_banner(tmp_path: Path) -> None:
    merged = study().model_dump(mode="json", exclude_none=True)
    for name in ("kidney", "neck"):
        merged["datasets"][name]["access"] = {"host": "folder", "folder": "/data"}
    page = write(tmp_path, settings_from(merged, []))
    assert 'class="banner"' not in page and 'class="badge"' not in page


def test_a_model_without_predictions_is_listed_as_not_run(page: str, root: Path) -> None:
    assert "DenseNet-169 from scratch: not run (weights missing)" in page
    summary = pd.read_csv(root / "results" / "tables" / "kidney_summary.csv").set_index("Model")
    assert set(summary.loc["DenseNet-169 from scratch"]) == {"not run (weights missing)"}
    assert "not run" not in summary.loc["USF-MAE (demo)"].str.cat()


def test_a_dataset_that_is_not_available_leaves_a_note_on_the_sheet(tmp_path: Path) -> None:
    empty = tmp_path / "kidney"
    write_corpus(empty, KIDNEY, np.random.default_rng(0))
    table = pd.read_parquet(empty / "frames.parquet")
    write_table(empty / "frames.parquet", table.iloc[:0])
    np.save(empty / "frames.npy", np.empty((0, SIDE, SIDE), dtype=np.uint8))
    write_table(tmp_path / "duplicates.parquet", duplicates().iloc[:0])
    corpus_samples(tmp_path, ["kidney"], {"kidney"}, tmp_path / "samples")
    duplicate_pairs(tmp_path, ["kidney"], {"kidney"}, tmp_path / "duplicates")
    assert (tmp_path / "samples.pdf").exists() and (tmp_path / "duplicates.pdf").exists()


def test_missing_products_leave_their_part_out(tmp_path: Path) -> None:
    page = write(tmp_path)  # nothing has run
    assert "No result yet." in page and "<img" not in page


def test_every_figure_is_drawn_as_png_and_pdf(page: str, root: Path) -> None:
    figures = root / "results" / "figures"
    images = sorted(figures.glob("*.png"))
    names = {image.stem for image in images}
    kinds = ("roc", "confusion", "folds", "differences", "training")
    assert {f"{task}_{kind}" for task in TASKS for kind in kinds} | {
        "mae_loss",
        "mae_reconstructions",
    } == names
    images += [root / "results" / "corpus" / "demo" / f"{name}.png" for name in ("samples", "duplicates")]
    images += [root / "results" / "explain" / "neck" / "usfmae" / "panels.png"]
    for image in images:
        pixels = np.asarray(Image.open(image).convert("L"))
        assert pixels.std() > 5, f"{image.name} is blank"
        assert image.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_the_same_results_give_the_same_bytes_in_another_process(
    page: str, root: Path, tmp_path: Path
) -> None:
    inputs = tmp_path / "settings.json"
    inputs.write_text(json.dumps(study().model_dump(mode="json", exclude_none=True)))
    code = (
        "import json, sys; from pathlib import Path; from usfmae.settings import settings_from;"
        "from usfmae.report.page import write_report;"
        "s, results, out = sys.argv[1:]; out = Path(out);"
        "s = settings_from(json.loads(Path(s).read_text()), []);"
        "write_report(s, Path(results), out / 'report.html', out / 'figures', out / 'tables')"
    )
    results, again = root / "results", tmp_path / "again"
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code, inputs, results, again], check=True, env=environment)
    first = [
        *(results / "figures").iterdir(),
        *(results / "tables").iterdir(),
        results / "report" / "report.html",
    ]
    for file in first:
        folder = again if file.suffix == ".html" else again / file.parent.name
        assert (folder / file.name).read_bytes() == file.read_bytes(), file.name


def test_the_headline_prefers_the_holdout_and_gives_interval_and_n() -> None:
    row = {"model": "a", "metric": "auc", "n_frames": 40, "n_subjects": 10, "n_folds": 4}
    pooled = row | {"role": "test", "estimate": "pooled", "value": 0.9, "lower": 0.8, "upper": 0.95}
    holdout = row | {
        "role": "holdout",
        "estimate": "mean of fold models",
        "value": 0.8,
        "lower": 0.7,
        "upper": 0.88,
    }
    titles = {"a": "A", "b": "B"}
    assert best_model(pd.DataFrame([pooled, holdout]), "auc", titles) == (
        "A reaches AUC 0.80 (0.70–0.88) on the independent hold-out "
        "(40 frames of 10 subjects, mean of 4 fold models)."
    )
    better = pooled | {"model": "b", "value": 0.93}
    assert best_model(pd.DataFrame([pooled, better]), "auc", titles).startswith(
        "B reaches AUC 0.93 (0.80–0.95) on "
    )


@pytest.mark.parametrize(
    ("difference", "p", "verdict"),
    [(0.1, 0.01, "is better"), (-0.1, 0.01, "is worse"), (0.1, 0.06, "no difference is shown")],
)
def test_the_foundation_model_is_called_better_only_with_evidence(
    difference: float, p: float, verdict: str
) -> None:
    both = {
        "model_a": "usfmae",
        "model_b": "vit_scratch",
        "role": "test",
        "n_pairs": 4,
        "difference": difference,
    }
    t = both | {
        "test": "corrected resampled t",
        "lower": -0.1,
        "upper": 0.2,
        "p": p,
        "smallest_p": 0,
        "p_holm": p,
    }
    signed = both | {"test": "Wilcoxon signed-rank", "p": 0.125, "smallest_p": 0.125, "p_holm": 0.25}
    sentence = foundation_against_scratch(study(), pd.DataFrame([t, signed]), "auc")
    assert verdict in sentence and "no p below 0.125" in sentence


def test_numbers_read_as_a_clinician_expects() -> None:
    assert words.with_interval(0.84, 0.79, 0.881) == "0.84 (0.79–0.88)"
    assert words.with_interval(-0.01, -0.05, 0.03, sign=True) == "−0.01 (−0.05 to +0.03)"
    assert words.with_interval(0.84, float("nan"), float("nan")) == "0.84"
    assert (words.p_value(0.0004), words.p_value(0.0312), words.smallest_p(0)) == (
        "<0.001",
        "0.031",
        "no bound",
    )
    assert words.metric_name("sensitivity_cystic hygroma") == "Sensitivity, cystic hygroma"
    assert words.duration(7384) == "2 h 03 min"
