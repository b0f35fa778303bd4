"""The simulated release: what it holds, that it is reproducible, and that its faults are those it lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from usfmae.corpus.simulation.release import write_release

KIDNEYS = {"normal": 3, "urinary_tract_dilation": 2, "multicystic_dysplastic": 2}


def release(folder: Path, **changes) -> Path:
    arguments: dict[str, Any] = {
        "anatomy": "kidney",
        "subjects": KIDNEYS,
        "frames_per_subject": 3,
        "difficulty": 0.5,
        "seed": 1,
        "defects": True,
    }
    write_release(folder, **(arguments | changes))
    return folder


def labels(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "labels.csv", keep_default_na=False)


def pixels(folder: Path, file: str) -> np.ndarray:
    return np.asarray(Image.open(folder / "images" / file))


def digest(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release(tmp_path_factory.mktemp("damaged"))


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release(tmp_path_factory.mktemp("intact"), defects=False)


@pytest.fixture(scope="module")
def defects(damaged: Path) -> dict[str, list[str]]:
    return json.loads((damaged / "defects.json").read_text())


def test_a_release_without_defects_has_a_row_and_a_mask_for_each_image(intact):
    table = labels(intact)
    assert list(table.columns) == ["file", "subject", "class", "scanner"]
    assert len(table) == 3 * sum(KIDNEYS.values())
    assert set(table.file) == {path.name for path in (intact / "images").iterdir()}
    assert table.groupby("class").subject.nunique().to_dict() == KIDNEYS
    assert len(table[["subject", "class", "scanner"]].drop_duplicates()) == sum(KIDNEYS.values())
    assert not (intact / "defects.json").exists()
    for file in table.file:
        mask = np.asarray(Image.open(intact / "masks" / file.replace(".png", "_mask.png")))
        assert mask.shape == pixels(intact, file).shape
        assert set(np.unique(mask)) <= {0, 255}
        assert Image.open(intact / "images" / file).mode == "L"


def test_the_release_says_that_it_is_simulated(intact):
    assert "SIMULATED" in (intact / "README.txt").read_text()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(damaged, tmp_path):
    assert digest(damaged) == digest(release(tmp_path / "again"))
    other = digest(release(tmp_path / "other", seed=2))
    assert digest(damaged)["images/kidney_0001_0.png"] != other["images/kidney_0001_0.png"]


def test_defects_change_only_the_files_they_name(damaged, intact, defects):
    touched = {
        *defects["overlays"],
        *defects["corrupt"],
        defects["exact_duplicate"][1],
        defects["near_duplicate"][1],
    }
    whole, broken = digest(intact / "images"), digest(damaged / "images")
    assert {name for name in broken if broken[name] != whole.get(name)} == touched
    assert set(whole) <= set(broken)


def test_the_corrupt_file_cannot_be_decoded(damaged, defects):
    (file,) = defects["corrupt"]
    with pytest.raises(OSError, match="truncated"):
        Image.open(damaged / "images" / file).load()


def test_the_exact_duplicate_has_the_same_bytes_under_another_subject(damaged, defects):
    original, copy = defects["exact_duplicate"]
    assert (damaged / "images" / original).read_bytes() == (damaged / "images" / copy).read_bytes()
    subject = labels(damaged).set_index("file").subject
    assert subject[original] != subject[copy]


def test_the_near_duplicate_shows_the_same_picture_in_other_pixels_under_another_subject(damaged, defects):
    original, copy = defects["near_duplicate"]
    first, second = pixels(damaged, original), pixels(damaged, copy)
    assert first.shape != second.shape
    resized = np.asarray(Image.fromarray(second).resize(first.shape[::-1], Image.Resampling.BICUBIC))
    assert np.corrcoef(first.ravel(), resized.ravel())[0, 1] > 0.95
    subject = labels(damaged).set_index("file").subject
    assert subject[original] != subject[copy]
    mask = Image.open(damaged / "masks" / copy.replace(".png", "_mask.png"))
    assert mask.size == second.shape[::-1]


def test_overlays_burn_white_into_the_listed_frames(damaged, intact, defects):
    for file in defects["overlays"]:
        changed = pixels(damaged, file) != pixels(intact, file)
        assert 0.002 < changed.mean() < 0.06
        assert (pixels(damaged, file)[changed] > 200).mean() > 0.3


def test_one_image_has_no_row_and_one_row_has_no_image(damaged, defects):
    rows, images = set(labels(damaged).file), {path.name for path in (damaged / "images").iterdir()}
    assert sorted(images - rows) == defects["missing_row"]
    assert sorted(rows - images) == defects["missing_file"]


def test_a_sweep_mixes_anatomies_and_tells_no_class(tmp_path):
    subjects = {"kidney": 2, "neck": 2, "breast": 2}
    folder = release(tmp_path, anatomy="sweep", subjects=subjects, frames_per_subject=1, defects=False)
    table = labels(folder)
    assert (table["class"] == "").all()
    assert table.scanner.str.split("-").str[0].value_counts().to_dict() == {
        "convex": 2,
        "micro": 2,
        "linear": 2,
    }


def test_progress_wraps_the_subjects(tmp_path):
    seen: list[int] = []

    def progress(items, *, total, description):
        assert "neck" in description
        for item in items:
            seen.append(total)
            yield item

    subjects = {"normal": 1, "cystic_hygroma": 1}
    release(
        tmp_path, anatomy="neck", subjects=subjects, frames_per_subject=1, defects=False, progress=progress
    )
    assert seen == [2, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anatomy": "liver"}, "kidney"),
        ({"subjects": {"normal": 1, "stone": 1}, "defects": False}, "stone"),
        ({"anatomy": "sweep", "subjects": {"liver": 4}}, "liver"),
        ({"subjects": {"normal": 1}}, "2 subjects and 8 frames"),
    ],
)
def test_an_impossible_release_is_refused_with_what_would_do(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        release(tmp_path, **changes)
