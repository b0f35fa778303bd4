"""The pictures of docs/figures.md, from the products of the demo.

    make demo
    python -m benchmarks.gallery [results]

One figure of each kind, at most 840 pixels wide, into docs/figures/. The demo has too few tasks to rank
models, and one share of the training subjects: these two figures are drawn from made-up numbers by the same
functions, and marked as simulated like all others.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import stats

from usfmae.record import atomic
from usfmae.report import figures_checks, figures_comparisons

OUT = Path(__file__).parents[1] / "docs/figures"
WIDTH = 840
#: Picture of the page → where the results hold it; of several files the first is taken.
PICTURES = {
    "samples": "corpus/*/samples.png",
    "duplicates": "corpus/*/duplicates.png",
    "loss": "figures/*_loss.png",
    "reconstructions": "figures/*_reconstructions.png",
    "embedding": "figures/*_embedding.png",
    "roc": "figures/*_roc.png",
    "precision_recall": "figures/*_precision_recall.png",
    "confusion": "figures/*_confusion.png",
    "folds": "figures/*_folds.png",
    "differences": "figures/*_differences.png",
    "reliability": "figures/*_reliability.png",
    "training": "figures/*_training.png",
    "panels": "explain/*/*/panels.png",
    "contact_sheet": "explain/*/*/contact_sheet.png",
    "methods": "figures/*_methods.png",
    "localisation": "figures/*_localisation.png",
    "perturbation": "figures/*_perturbation.png",
}
#: Mostly grey: 256 colours are enough. Elsewhere fewer colours would mix up the models.
PHOTOGRAPHS = ("samples", "duplicates", "panels", "contact_sheet", "methods")
MADE_UP = ("label_efficiency", "critical_difference")
MODELS = {name: f"Model {name}, made up" for name in "ABCDE"}


def main(results: Path, out: Path = OUT) -> None:
    for name, pattern in PICTURES.items():
        found = sorted(results.glob(pattern))
        if not found:
            raise SystemExit(f"{results}/{pattern}: no such file; run the demo first (make demo)")
        shrink(found[0], out / f"{name}.png")
    with tempfile.TemporaryDirectory() as folder:
        draw_made_up(Path(folder))
        for name in MADE_UP:
            shrink(Path(folder) / f"{name}.png", out / f"{name}.png")
    size = sum(file.stat().st_size for file in out.glob("*.png"))
    print(f"{len(PICTURES) + len(MADE_UP)} pictures, {size / 1e6:.2f} MB, in {out}")


def shrink(source: Path, target: Path) -> None:
    """A smaller picture, for a page on a screen."""
    with Image.open(source) as image:
        colour = image.convert("RGB")
    share = min(1.0, WIDTH / colour.width)
    small = colour.resize(
        (round(share * colour.width), round(share * colour.height)), Image.Resampling.LANCZOS
    )
    with atomic(target) as temporary:
        if target.stem in PHOTOGRAPHS:
            small = small.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        small.save(temporary, optimize=True)


def draw_made_up(folder: Path) -> None:
    """The two figures that need several shares of the subjects, or several tasks."""
    subjects = np.array([12.0, 30.0, 60.0, 120.0])
    tables = []
    for place, model in enumerate(list(MODELS)[:3]):
        value = 0.9 - 0.04 * place - (1.2 + 0.6 * place) / subjects
        half = 0.6 / np.sqrt(subjects)
        row = {"model": model, "fraction": subjects / 120, "training_subjects": subjects, "value": value}
        tables.append(pd.DataFrame({**row, "lower": value - half, "upper": value + half, "n_seeds": 3}))
    figures_checks.label_efficiency(
        pd.concat(tables), "AUC", MODELS, folder / "label_efficiency", simulated=True
    )
    tasks, mean = 7, [1.43, 2.43, 2.86, 3.71, 4.57]
    q = stats.studentized_range.ppf(0.95, len(mean), np.inf) / np.sqrt(2)
    difference = q * np.sqrt(len(mean) * (len(mean) + 1) / (6 * tasks))
    ranks = pd.DataFrame({"model": list(MODELS), "mean_rank": mean, "n_tasks": tasks})
    figures_comparisons.critical_difference_diagram(
        ranks.assign(critical_difference=difference), MODELS, folder / "critical_difference", simulated=True
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "results"))
