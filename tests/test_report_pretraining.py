"""The pretraining part of the report: curves, pictures over the epochs, the grid, speed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_results import fill, history, write
from fake_study import study
from matplotlib.figure import Figure
from PIL import Image

from usfmae.record import write_table
from usfmae.report import figures_training
from usfmae.report.figures_training import WATCHED, pretraining_curves, reconstructions
from usfmae.report.pretraining_section import grid_table, speed
from usfmae.report.products import Products
from usfmae.report.style import save

GRID = pd.DataFrame(
    {
        "setting": ["slow", "slow", "fast", "fast"],
        "learning_rate": [3e-4, 3e-4, 1e-3, 1e-3],
        "weight_decay": [0.05] * 4,
        "fold": [0, 1, 0, 1],
        "train_loss": [0.5, 0.5, 0.3, 0.3],
        "validation_loss": [0.6, 0.5, 0.4, np.nan],
    }
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("report")
    fill(folder / "results")
    return folder / "results"


@pytest.fixture
def table() -> pd.DataFrame:
    figures = {"embedding_rank": np.linspace(2, 9, 6), "embedding_spread": np.linspace(0.1, 0.5, 6)}
    return history(np.random.default_rng(0), **figures)


@pytest.fixture
def titles(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the panels of each figure that is saved are called: by title, or by the axis on their left."""
    found: list[list[str]] = []

    def note(figure: Figure, path: Path) -> None:
        found.append([axes.get_title("left") or axes.get_ylabel() for axes in figure.axes])
        save(figure, path)

    monkeypatch.setattr(figures_training, "save", note)
    return found


def test_each_watched_figure_has_a_panel_and_a_lacking_one_has_none(
    table: pd.DataFrame, tmp_path: Path, titles: list[list[str]]
) -> None:
    bare = table.drop(columns=list(WATCHED)).assign(validation_loss=np.nan)
    rank = bare.assign(embedding_rank=table["embedding_rank"])
    for each in (table, rank, rank.assign(embedding_rank=np.nan), bare):
        pretraining_curves(each, tmp_path / "loss", simulated=False)
    shown = [panels[1:] for panels in titles]  # the first panel has the losses
    assert shown == [list(WATCHED.values()), [WATCHED["embedding_rank"]], [], []]


def test_a_single_epoch_is_drawn_as_points(table: pd.DataFrame, tmp_path: Path) -> None:
    pretraining_curves(table.iloc[:1], tmp_path / "one", simulated=False)
    pixels = np.asarray(Image.open(tmp_path / "one.png").convert("RGB")).astype(int)
    coloured = np.ptp(pixels, axis=2) > 60
    assert coloured.sum() > 300


@pytest.mark.parametrize(("epochs", "shown"), [(1, [0]), (2, [0, 1]), (12, [0, 4, 7, 11])])
def test_reconstructions_are_shown_at_the_first_some_and_the_last_epoch(
    epochs: int, shown: list[int], tmp_path: Path, titles: list[list[str]]
) -> None:
    frames = np.full((2, 8, 8), 0.5, dtype=np.float32)
    over_epochs = np.zeros((epochs, 2, 8, 8), dtype=np.uint8)
    np.savez(
        tmp_path / "r.npz", original=frames, masked=frames, epochs=range(epochs), over_epochs=over_epochs
    )
    reconstructions(tmp_path / "r.npz", tmp_path / "r", simulated=False)
    rows = [name for name in titles[0] if name]
    assert rows == ["original", "masked", *(f"epoch {epoch}" for epoch in shown)]


def test_the_grid_has_a_row_a_setting_with_the_mean_of_its_folds_and_the_chosen_marked() -> None:
    shown = grid_table(GRID, "slow")
    assert shown["Validation loss"].tolist() == ["0.5500", "0.4000"]
    assert shown["Folds"].tolist() == ["2 of 2", "1 of 2"]
    assert shown["Chosen"].tolist() == ["chosen", ""]
    assert shown["Learning rate"].tolist() == ["0.0003", "0.001"]
    assert set(grid_table(GRID, None)["Chosen"]) == {""}


def test_the_speed_is_one_sentence_of_what_is_known(table: pd.DataFrame) -> None:
    assert speed(table, "H200") == (
        "Median epoch: 1,234 images a second on H200, 0.4 % of the time spent waiting for frames, 37 % of "
        "the device's measured rate of matrix products. Largest memory: 1.5 GB. 1 step skipped, because the "
        "loss was not finite."
    )
    few = table[["epoch", "images_per_second"]]
    assert speed(few, "cpu") == "Median epoch: 1,234 images a second on cpu."
    assert speed(table.assign(utilisation=np.nan, skipped_steps=0), "cpu").endswith("Largest memory: 1.5 GB.")
    assert speed(table[["epoch"]], "cpu") == ""


def test_the_page_shows_grid_speed_and_the_chosen_setting(results: Path) -> None:
    page = write(results.parent)
    grid = pd.read_csv(results / "tables/mae_grid.csv", dtype=str, keep_default_na=False)
    chosen = json.loads((results / "pretrain/mae/grid.json").read_text())
    assert len(grid) == 2 and "1,234 images a second on cpu" in page
    rates = grid.set_index("Chosen")["Learning rate"]
    assert rates["chosen"] == f"{chosen['learning_rate']:g}"
    settings = pd.read_csv(results / "tables/mae_settings.csv").set_index("Setting")["Value"]
    assert float(settings["training.learning_rate"]) == chosen["learning_rate"]


def test_the_runs_of_the_grid_count_among_the_recorded_runs(results: Path) -> None:
    runs = Products(study(), results).runs()
    assert [run["stage"] for run in runs].count("pretrain") == 5  # 2 settings x 2 folds, and the final run


def test_a_recipe_that_holds_no_frame_back_is_shown_with_training_frames(
    results: Path, tmp_path: Path
) -> None:
    mae = tmp_path / "results/pretrain/mae"
    shutil.copytree(results / "pretrain/mae", mae)
    (mae / "grid.csv").unlink()
    table = pd.read_parquet(mae / "history.parquet")
    write_table(mae / "history.parquet", table[["epoch", "train_loss"]].assign(validation_loss=np.nan))
    record = json.loads((mae / "run.json").read_text())
    (mae / "run.json").write_text(json.dumps(record | {"counts": {"train": 35, "validation": 0}}))
    page = write(tmp_path)
    assert "Training frames. 75%" in page and "no frame is held back" in page
    assert "nan" not in page.split('id="pretraining"')[1].split("<details>")[0].split("base64,")[0]
    assert "Median epoch" not in page and "The grid" not in page
