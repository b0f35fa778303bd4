"""Every figure that the workflow draws: the width of a journal's column or page, letters that can be read,
fonts that a press takes, colours that everybody can tell apart, and the simulated mark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_results import fill, write
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy import stats

from usfmae.record import write_table
from usfmae.report import figures_comparisons, style
from usfmae.report.figures_curves import areas_table, roc_curves
from usfmae.report.figures_results import confusion_matrices

#: Machado, Oliveira and Fernandes 2009 (IEEE Trans. Vis. Comput. Graph. 15:1291), severity 1, linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
}


@dataclass(frozen=True)
class Drawn:
    """What is known of a figure as it was written: widths in mm, sizes in points."""

    width: float
    texts: list[tuple[str, float, bool]]
    """Words, size, and whether they lie within the figure."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Drawn]:
    """The figures of a whole made-up study, by their PNG file."""
    root = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        found = watch(patch)
        fill(root / "results")
        write_table(root / "results/statistics/ranks.csv", ranks(["usfmae", "vit_scratch", "resnet18"], 6))
        write(root)
    return found


def watch(patch: pytest.MonkeyPatch) -> dict[Path, Drawn]:
    """Fills with each figure that is written from now on, by its PNG file."""
    found: dict[Path, Drawn] = {}
    targets: list[Path] = []
    savefig, atomic = Figure.savefig, style.atomic

    def named(path: Path) -> AbstractContextManager[Path]:
        targets.append(path)
        return atomic(path)

    def looked_at(figure: Figure, path: Path, **options: Any) -> None:
        if targets[-1].suffix == ".png":
            found[targets[-1]] = look(figure)
        savefig(figure, path, **options)

    patch.setattr(style, "atomic", named)
    patch.setattr(Figure, "savefig", looked_at)
    return found


def look(figure: Figure) -> Drawn:
    frame, texts = figure.bbox.padded(1), []
    ticks = {label: tick for axes in figure.findobj(Axes) for label, tick in tick_labels(axes)}
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if text.get_visible() and text.get_text().strip() and ticks.get(text, True):
            x0, y0, x1, y1 = text.get_window_extent().extents
            inside = bool(frame.contains(x0, y0) and frame.contains(x1, y1))
            texts.append((text.get_text(), text.get_fontsize(), inside))
    return Drawn(25.4 * figure.get_figwidth(), texts)


def tick_labels(axes: Artist) -> Iterator[tuple[Text, bool]]:
    """Each label of a tick, and whether it is drawn: not on hidden axes, not beyond the limits."""
    assert isinstance(axes, Axes)
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            shown = axes.axison and low <= tick.get_loc() <= high
            yield tick.label1, shown
            yield tick.label2, shown


def ranks(models: list[str], n_tasks: int, mean: list[float] | None = None) -> pd.DataFrame:
    """`ranks.csv` of models in this order."""
    n = len(models)
    q = stats.studentized_range.ppf(0.95, n, np.inf) / np.sqrt(2)
    return pd.DataFrame(
        {
            "model": models,
            "mean_rank": mean or np.linspace(1.2, n - 0.2, n),
            "n_tasks": n_tasks,
            "n_models": n,
            "statistic": 7.1,
            "p": 0.03,
            "critical_difference": q * np.sqrt(n * (n + 1) / (6 * n_tasks)),
            "note": "Ranks of the mean over the folds.",
        }
    )


def test_every_kind_of_figure_is_looked_at(drawn: dict[Path, Drawn]) -> None:
    kinds = {file.stem.partition("_")[2] or file.stem for file in drawn}
    assert {
        *("roc", "precision_recall", "confusion", "folds", "differences", "training", "reliability"),
        *("label_efficiency", "loss", "reconstructions", "embedding", "samples", "duplicates", "panels"),
        "difference",  # critical_difference
    } <= kinds


def test_a_figure_is_a_column_or_a_page_wide(drawn: dict[Path, Drawn]) -> None:
    assert {round(figure.width, 3) for figure in drawn.values()} == {85, 180}


def test_no_letter_is_below_six_points_in_print(drawn: dict[Path, Drawn]) -> None:
    small = {(name, text) for name, figure in drawn.items() for text, size, _ in figure.texts if size < 6}
    assert not small


def test_no_word_is_cut_off_at_the_edge(drawn: dict[Path, Drawn]) -> None:
    cut = {(name, text) for name, figure in drawn.items() for text, _, inside in figure.texts if not inside}
    assert not cut


def test_every_figure_of_simulated_data_says_so(drawn: dict[Path, Drawn]) -> None:
    for name, figure in drawn.items():  # every dataset of this study is simulated, but for one of the corpus
        assert any("SIMULATED" in text for text, _, _ in figure.texts), name


def test_fonts_are_embedded_as_truetype(drawn: dict[Path, Drawn]) -> None:
    for name, figure in drawn.items():
        content = name.with_suffix(".pdf").read_bytes()
        assert b"/Type3" not in content and b"/CIDFontType2" in content, name
        (box,) = set(re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) [\d.]+ \]", content))
        assert float(box) / 72 * 25.4 == pytest.approx(figure.width, abs=0.01)


def lab(colours: list[str], blindness: str) -> np.ndarray:
    """CIELAB `(n, 3)` of colours as somebody with this colour blindness sees them (D65)."""
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = (linear @ np.array(BLINDNESS[blindness]).T).clip(0, 1)
    xyz = linear @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    ratio = xyz / [0.95047, 1, 1.08883]
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def closest(colours: list[str], blindness: str) -> float:
    """The least distance of two of the colours, in CIELAB's units: 2.3 is just noticeable."""
    return float(min(np.linalg.norm(a - b) for a, b in combinations(lab(colours, blindness), 2)))


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_everybody_can_tell_the_palette_apart(blindness: str) -> None:
    assert closest(list(style.PALETTE), blindness) > 10
    assert closest(["#2ca02c", "#d62728"], "none") > 100  # a red and a green of like lightness …
    assert closest(["#8c8c2c", "#d6a428"], "none") > 10
    assert closest(["#2ca02c", "#c0602c"], "deuteranopia") < 30  # … are hard to tell for one in twelve men


def test_colour_and_line_together_tell_28_models_apart_and_colour_and_marker_49_datasets() -> None:
    assert len({(style.colour(i), style.line(i)) for i in range(28)}) == 28
    assert len({(style.colour(i), style.marker(i)) for i in range(49)}) == 49


def test_ten_models_and_eight_classes_still_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on MMOTU-2D: long names, eight classes, a hold-out, ten models."""
    looked = watch(monkeypatch)
    titles = {f"m{i}": f"A pretrained model, corrected, variant {i}" for i in range(10)}
    classes = [f"mucinous_cystadenoma_{i}" for i in range(8)]
    x = np.linspace(0, 1, 11)
    roc = pd.concat(
        pd.DataFrame(
            {
                "model": model,
                "role": role,
                "class": name,
                "specificity_complement": x,
                "sensitivity": x**0.5,
                "lower": x,
                "upper": x**0.3,
                "auc": 0.7,
            }
        )
        for role in ("test", "holdout")
        for name in classes
        for model in titles
    )
    roc_curves(roc, titles, "m0", tmp_path / "roc", simulated=True)
    pairs = product(titles, ("test", "holdout"), classes, classes)
    confusion = pd.DataFrame(pairs, columns=["model", "role", "label", "predicted"]).assign(frames=3.0)
    confusion_matrices(confusion, classes, titles, tmp_path / "confusion", simulated=True)
    assert len(looked) == 2
    for figure in looked.values():
        assert [text for text, size, inside in figure.texts if not inside or size < 6] == []
    table = areas_table(roc, None, titles)
    assert table.shape == (16, 12) and set(table[titles["m3"]]) == {"0.70"}


def test_models_are_tied_whose_mean_ranks_lie_within_the_critical_difference() -> None:
    """Demšar 2006, section 3.2.2: four algorithms on 14 data sets, critical difference 1.25."""
    assert ranks(list("abcd"), 14)["critical_difference"].iloc[0] == pytest.approx(1.25, abs=0.005)
    tied = figures_comparisons.tied(np.array([2.000, 2.107, 2.750, 3.143]), 1.25)
    assert tied == [(0, 3)]
    assert figures_comparisons.tied(np.array([1.0, 2.0, 2.5, 4.0]), 1.25) == [(0, 1), (1, 2)]
    assert figures_comparisons.tied(np.array([1.0, 2.0, 3.0]), 1.0) == []


def test_the_forest_shows_the_reference_against_each_model_in_the_primary_metric_alone() -> None:
    base = {"role": "test", "metric": "auc", "difference": 0.1, "lower": 0.0, "upper": 0.2, "p_holm": 0.5}
    rows = [
        {**base, "model_a": "ours", "model_b": "b", "test": "corrected resampled t"},
        {**base, "model_a": "ours", "model_b": "b", "test": "subject-cluster bootstrap, pooled"},
        {**base, "model_a": "c", "model_b": "b", "test": "corrected resampled t"},
        {**base, "model_a": "ours", "model_b": "b", "test": "corrected resampled t", "metric": "f1_macro"},
        {**base, "model_a": "ours", "model_b": "b", "test": "DeLong, clustered by subject"},
        {**base, "model_a": "ours", "model_b": "c", "test": "corrected resampled t", "lower": np.nan},
    ]
    shown = figures_comparisons.forest_rows(pd.DataFrame(rows), "ours", "auc")
    assert list(shown.index) == [0, 1]


def test_too_few_tasks_give_a_sentence_instead_of_a_diagram(tmp_path: Path) -> None:
    few = ranks(["usfmae", "vit_scratch"], 2).assign(critical_difference=np.nan, note="No test: here are 2.")
    write_table(tmp_path / "results/statistics/ranks.csv", few)
    page = write(tmp_path)
    assert "No critical-difference diagram. No test: here are 2." in page
    assert not (tmp_path / "results/figures/critical_difference.png").exists()
