"""Maps as figures: which frames they show, in which words, and that none is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_results import write_explanation

from usfmae.report import panels
from usfmae.report.explain_section import faithfulness_table
from usfmae.report.panels import Maps, contact_sheet, draw_panels, read_maps


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out: Path = tmp_path_factory.mktemp("explained") / "results" / "explain" / "neck" / "usfmae"
    out.mkdir(parents=True)
    write_explanation(out, np.random.default_rng(0))
    return out


def many(found: Maps, n: int) -> Maps:
    """The explanation with `n` frames, each of another brightness."""
    rows = np.arange(n) % len(found.selection)
    inputs = np.stack([np.full(found.inputs.shape[1:], i, np.uint8) for i in range(n)])
    maps = {name: each[rows] for name, each in found.maps.items()}
    return Maps(found.selection.iloc[rows].reset_index(drop=True), maps, inputs, found.masks[rows])


@pytest.mark.parametrize("n", [1, 6, 7, 40])
def test_the_contact_sheet_holds_every_frame_once(folder: Path, n: int) -> None:
    found = many(read_maps(folder), n)
    figure = contact_sheet(found, "all")
    cells = [axes for axes in figure.axes if axes.images]
    assert [int(axes.images[0].get_array()[0, 0]) for axes in cells] == list(range(n))
    for axes, row in zip(cells, range(n), strict=True):
        frame = found.selection.iloc[row]
        assert axes.get_title(loc="left") == (f"{frame['cell']}: {frame['label']}, p {frame['score']:.2f}")
        width = found.inputs.shape[2]
        under_map = axes.images[1].get_array()
        assert not under_map[:, :width].any()
        np.testing.assert_array_equal(under_map[:, width:], found.maps["score_cam"][row])
        assert bool(axes.collections) == frame["has_mask"]  # its outline


def test_panels_name_the_cell_the_score_and_where_the_threshold_cuts(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(panels, "save", lambda figure, out: drawn.append(figure))
    draw_panels(folder, tmp_path / "panels", simulated=True, title="USF-MAE, neck")
    (figure,) = drawn
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    cells = [text for text in words if text.startswith(("true", "false"))]
    assert cells == ["true negative", "false negative", "true negative", "true positive"]  # the four shown
    assert "label: normal\npredicted: normal\nits probability: 0.900\nneeded: above 0.600" in words
    assert "label: hygroma\npredicted: hygroma\nits probability: 0.600\nneeded: 0.400" in words
    assert words.count("no mask") == 1
    assert any("SIMULATED DATA" in text.get_text() for text in figure.texts)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["input", "Score-CAM map", "overlay", "outline of the mask"]
    assert any("each map stretched" in axes.get_xlabel() for axes in figure.axes)  # the scale bar


def test_the_table_has_a_row_for_each_method_and_measure_and_none_for_what_does_not_apply(
    folder: Path,
) -> None:
    shown = faithfulness_table(pd.read_csv(folder / "faithfulness.csv"))
    assert list(shown["Method"].unique()) == ["Score-CAM", "Attention rollout"] and len(shown) == 6
    first = shown.iloc[0]
    assert first["Value (95 % interval)"] == "0.60 (0.20–0.90)" and first["Frames"] == "5"
    assert set(shown["Verdict"]) == {"unclear", "better than the blob"}
