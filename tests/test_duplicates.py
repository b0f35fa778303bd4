"""Duplicates: copies are found however they were made, and what they tie is never split."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from conftest import Curated
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from usfmae.corpus.audit.duplicates import find_pairs
from usfmae.corpus.audit.groups import groups
from usfmae.corpus.audit.run import read_thumbnails
from usfmae.corpus.curated import read_corpus
from usfmae.corpus.curation.frames import curate
from usfmae.corpus.simulation.anatomy import draw_subject
from usfmae.corpus.simulation.scene import draw_frame
from usfmae.settings.datasets import Dataset
from usfmae.settings.study import Corpus, Duplicates


def found_in(folders: list[Path]) -> pd.DataFrame:
    return find_pairs(*read_corpus(folders), read_thumbnails(folders), Duplicates())


def pairs_of(curated: Curated) -> pd.DataFrame:
    return found_in([curated.folder])


def test_the_planted_copies_are_found_and_nothing_else(kidneys: Curated) -> None:
    found = pairs_of(kidneys)
    by_kind = {
        kind: sorted(part[["frame_a", "frame_b"]].to_numpy().ravel()) for kind, part in found.groupby("kind")
    }
    expected = {
        kind: sorted(f"kidneys/images/{name}#0" for name in kidneys.planted[f"{kind}_duplicate"])
        for kind in ("exact", "near")
    }
    assert by_kind == expected
    assert found["across_subjects"].all()
    assert (found["correlation"] >= 0.7).all()


def test_subjects_that_share_a_picture_are_one_group_and_the_others_are_alone(kidneys: Curated) -> None:
    table, _ = read_corpus([kidneys.folder])
    grouped = groups(table, pairs_of(kidneys))
    assert grouped["frame_id"].tolist() == table["frame_id"].tolist()
    of_file = grouped.set_index(table["source"].str.split("/").str[-1])["group"]
    tied = set()
    for kind in ("exact_duplicate", "near_duplicate"):
        original, copy = kidneys.planted[kind]
        assert of_file[original] == of_file[copy]
        tied |= {of_file[original]}
    subjects = grouped.groupby("group")["subject"].nunique()
    assert (subjects.drop(list(tied)) == 1).all()
    assert grouped.groupby("subject")["group"].nunique().max() == 1


def curated_folder(folder: Path, pictures: dict[str, Image.Image], table: str = "") -> list[Path]:
    """Curates pictures as dataset `mine`; with `table`, a CSV of file, subject and label."""
    folder.mkdir()
    for name, picture in pictures.items():
        picture.save(folder / name)
    entry = {
        "title": "mine",
        "anatomy": "kidney",
        "access": {"host": "folder", "folder": str(folder)},
        "licence": {"name": "unknown"},
        "citation": "none",
        "include": ["*.png"],
    }
    if table:
        (folder / "table.csv").write_text(table)
        entry["table"] = {"file": "table.csv", "frame": "file", "subject": "subject", "label": "label"}
    (folder / "fetched.json").write_text(json.dumps({"status": "available", "root": "."}))
    corpus = Corpus(datasets=["mine"], size=64)
    curate("mine", Dataset.model_validate(entry), corpus, folder / "fetched.json", folder / "out/mine")
    return [folder / "out/mine"]


def simulated(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(draw_frame(draw_subject("kidney", "normal", 0.5, rng), rng)[0])


def test_a_picture_that_was_stored_again_is_the_same_picture(tmp_path: Path) -> None:
    picture = simulated(1)
    pictures = {"a.png": picture, "b.png": picture.convert("RGB"), "c.png": simulated(2)}
    (pair,) = found_in(curated_folder(tmp_path / "r", pictures)).itertuples()
    assert (pair.frame_a, pair.frame_b, pair.kind) == ("mine/a.png#0", "mine/b.png#0", "exact")


def test_a_picture_under_two_labels_is_reported(tmp_path: Path) -> None:
    table = "file,subject,label\na.png,1,normal\nb.png,1,dilated\nc.png,2,\n"
    pictures = dict.fromkeys(("a.png", "b.png", "c.png"), simulated(1))
    found = found_in(curated_folder(tmp_path / "r", pictures, table))
    seen = {
        (row.frame_a[5], row.frame_b[5]): (row.labels_differ, row.across_subjects)
        for row in found.itertuples()
    }
    assert seen == {("a", "b"): (True, False), ("a", "c"): (False, True), ("b", "c"): (False, True)}


def test_a_dataset_that_could_not_be_had_leaves_every_other_its_own_frames(
    kidneys: Curated, tmp_path: Path
) -> None:
    """Its array is empty, and stands before those that the rows belong to."""
    planted = kidneys.planted["near_duplicate"][0]
    copy = ImageOps.expand(Image.open(kidneys.release / "images" / planted), 6)
    mine = curated_folder(tmp_path / "r", {"copy.png": copy})
    nothing = tmp_path / "nothing/absent"
    (tmp_path / "fetched.json").write_text(json.dumps({"status": "unavailable", "root": None}))
    curate("absent", kidneys.dataset, kidneys.corpus, tmp_path / "fetched.json", nothing)
    columns = ["frame_a", "frame_b", "kind", "correlation"]
    expected = found_in([kidneys.folder, *mine])[columns]
    assert "mine/copy.png#0" in set(expected.loc[expected["kind"] == "near", "frame_b"])
    for folders in ([nothing, kidneys.folder, *mine], [kidneys.folder, nothing, *mine]):
        pd.testing.assert_frame_equal(found_in(folders)[columns], expected)


def test_a_picture_in_two_datasets_is_found(kidneys: Curated, tmp_path: Path) -> None:
    original = kidneys.planted["near_duplicate"][0]
    copy = Image.open(kidneys.release / "images" / original)
    folders = [kidneys.folder, *curated_folder(tmp_path / "r", {"copy.png": copy})]
    found = found_in(folders)
    assert ("mine/copy.png#0", "exact") in set(zip(found["frame_b"], found["kind"], strict=True))


@st.composite
def tied_corpus(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int]]]:
    """(subject of each frame, pairs of frames)."""
    subjects = draw(st.lists(st.integers(0, 8), min_size=1, max_size=20))
    frame = st.integers(0, len(subjects) - 1)
    return subjects, draw(st.lists(st.tuples(frame, frame), max_size=12))


@settings(max_examples=60, deadline=None)
@given(tied_corpus())
def test_a_group_is_all_that_subjects_and_copies_tie_directly_or_through_others(
    corpus: tuple[list[int], list[tuple[int, int]]],
) -> None:
    subjects, ties = corpus
    names = [f"mine/{subject}" for subject in subjects]
    frame_ids = [f"mine/{i}.png#0" for i in range(len(names))]
    table = pd.DataFrame({"frame_id": frame_ids, "dataset": "mine", "subject": names})
    pairs = pd.DataFrame([(frame_ids[a], frame_ids[b]) for a, b in ties], columns=["frame_a", "frame_b"])

    together = {name: {name} for name in names}  # closure by repeated union
    for _ in names:
        for a, b in ties:
            union = together[names[a]] | together[names[b]]
            for name in union:
                together[name] = together[name] | union
    expected = [min(together[name]) for name in names]
    assert groups(table, pairs)["group"].tolist() == expected
