"""The report's part on a corpus: what was counted, beside what the registry says; and what to cite."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_results import write, write_corpus
from fake_study import KIDNEY, NECK, study

from usfmae.record import write_table
from usfmae.report.figures_corpus import worst_first
from usfmae.report.tables_corpus import curation_table
from usfmae.settings import Settings, settings_from

AVAILABILITY = pd.DataFrame(
    {
        "dataset": ["kidney", "neck", "scans"],
        "status": ["available", "available", "unavailable"],
        "reason": ["", "", "needs a form"],
        "files": pd.array([40, 39, None], dtype="Int64"),
        "subjects": pd.array([10, None, None], dtype="Int64"),
        "frames": pd.array([40, 39, None], dtype="Int64"),
    }
)
OVERLAPS = pd.DataFrame(
    [("kidney", "neck", 1, 2, 3, 2, 3), ("neck", "neck", 0, 1, 1, 2, 2)],
    columns=[
        *("dataset_a", "dataset_b", "exact_pairs", "near_pairs", "across_subjects"),
        *("frames_of_a", "frames_of_b"),
    ],
)


def settings(**entries: dict[str, Any]) -> Settings:
    """The study of the other tests with `closed`, of an unknown licence, and further keys of datasets."""
    merged = study().model_dump(mode="json", exclude_none=True)
    closed = {"licence": {"name": "unknown", "use": "unknown"}, "title": "Closed"}
    merged["datasets"]["closed"] = merged["datasets"]["scans"] | closed
    merged["corpora"]["demo"]["datasets"].append("closed")
    for name, keys in entries.items():
        merged["datasets"][name] |= keys
    return settings_from(merged, [])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of two datasets that were curated and a third that could not be had."""
    folder: Path = tmp_path_factory.mktemp("report")
    corpus = folder / "results/corpus/demo"
    for name, classes in {"kidney": KIDNEY, "neck": NECK, "scans": [None]}.items():
        write_corpus(corpus / name, classes, np.random.default_rng(0))
    gone = corpus / "scans/frames.parquet"
    write_table(gone, pd.read_parquet(gone).iloc[:0])
    write_table(corpus / "availability.csv", AVAILABILITY)
    write_table(corpus / "overlaps.csv", OVERLAPS)
    return folder


def table(root: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(root / f"results/tables/{name}.csv", dtype=str, keep_default_na=False).set_index(
        "Dataset"
    )


def verdicts(root: Path, **entries: dict[str, Any]) -> dict[tuple[str, str], str]:
    write(root, settings(**entries))
    found = table(root, "demo_overlaps")
    return dict(zip(zip(found.index, found["And"], strict=True), found["Verdict"], strict=True))


def said(expected: str = "shared", note: str = "by name", **more: Any) -> dict[str, Any]:
    return {"expected": expected, "note": note, **more}


def test_an_expectation_is_confirmed_refuted_or_cannot_be_checked(root: Path) -> None:
    words = {
        "kidney": {"neck": said(note="resized"), "kidney": said(note="clips")},
        "neck": {"kidney": said()},
        "scans": {"neck": said("unknown"), "elsewhere": said("none")},
    }
    assert verdicts(root, **{name: {"overlaps": overlaps} for name, overlaps in words.items()}) == {
        ("elsewhere", "scans"): "not checkable",
        ("kidney", "kidney"): "refuted, none found",
        ("kidney", "neck"): "confirmed, 2 frames; confirmed, 3 frames",
        ("neck", "neck"): "not expected",
        ("neck", "scans"): "not checkable",  # nothing of scans is there
    }
    row = table(root, "demo_overlaps").loc["kidney"].set_index("And").loc["neck"]
    assert (row["Said before"], row["Frames of the second"]) == ("resized by name", "3")


@pytest.mark.parametrize(
    ("overlap", "verdict"),
    [
        (said(frames=3), "confirmed, 3 of 3 frames"),
        (said(frames=999), "confirmed in part, 3 of 999 frames"),
        (said("none"), "refuted, 3 frames"),
        (said("unknown"), "found, 3 frames"),
    ],
)
def test_what_was_found_is_held_against_what_and_how_much_was_expected(
    root: Path, overlap: dict[str, Any], verdict: str
) -> None:
    assert verdicts(root, neck={"overlaps": {"kidney": overlap}})["kidney", "neck"] == verdict


def test_nothing_found_confirms_that_none_was_expected(root: Path) -> None:
    found = verdicts(root, kidney={"overlaps": {"kidney": said("none")}})
    assert found["kidney", "kidney"] == "confirmed, none found"
    found = verdicts(root, kidney={"overlaps": {"kidney": said("unknown")}})
    assert found["kidney", "kidney"] == "none found"


def test_copies_that_lie_on_one_side_of_the_official_split_do_not_confirm_that_it_leaks(root: Path) -> None:
    found = verdicts(root, neck={"overlaps": {"neck": said(across_splits=True)}})
    assert found["neck", "neck"] == "refuted, none found across the official parts"
    file = root / "results/corpus/demo/overlaps.csv"
    before = pd.read_csv(file)
    write_table(file, before.assign(across_splits=2))
    found = verdicts(root, neck={"overlaps": {"neck": said(across_splits=True)}})
    write_table(file, before)
    assert found["neck", "neck"].startswith("confirmed, ")


def test_a_corrected_word_changes_the_verdict_without_an_audit(root: Path) -> None:
    assert verdicts(root) == {("kidney", "neck"): "not expected", ("neck", "neck"): "not expected"}
    corrected = verdicts(root, neck={"overlaps": {"neck": said()}})
    assert corrected["neck", "neck"].startswith("confirmed, ")


def test_a_count_that_differs_from_the_published_one_is_shown_and_an_unknown_is_not_compared(
    root: Path,
) -> None:
    write(root, settings(kidney={"counts": {"files": 40}}, neck={"counts": {"files": 41, "subjects": 12}}))
    found = table(root, "demo_counts")
    assert list(found.index) == ["Simulated necks"]
    assert tuple(found.iloc[0]) == ("41", "39", "12", "unknown", "unknown", "39", "")


def test_a_label_that_not_as_many_files_bear_as_published_is_shown(root: Path) -> None:
    published = {"labels": {"normal": 20, "hygroma": 30}}  # 20 of each are there
    write(root, settings(neck={"counts": published}, scans={"counts": published}))
    assert table(root, "demo_counts")["Labels found"].to_dict() == {"Simulated necks": "hygroma 20 of 30"}


def test_what_the_corpus_lacks_is_named_with_its_reason(root: Path) -> None:
    assert "What the corpus lacks: 2 of 4 datasets." in write(root, settings())
    found = table(root, "demo_lacks")
    assert found["Status"].to_dict() == {"DICOM samples": "unavailable", "Closed": "left out"}
    assert found.loc["DICOM samples", "Why"] == "needs a form"
    assert "licence unknown" in found.loc["Closed", "Why"]


def test_licence_and_bibtex_are_those_of_the_datasets_that_were_used(root: Path) -> None:
    page = write(root, settings(kidney={"doi": "10.1000/kidney"}))
    text = (root / "results/tables/citations.bib").read_text(encoding="utf-8")
    assert re.findall(r"@misc\{(\w+),", text) == ["kidney", "neck"]
    assert list(table(root, "licences").index) == ["Simulated kidneys", "Simulated necks"]
    assert "doi = {10.1000/kidney}" in text and "doi = {10.1000/kidney}" in page


def test_a_task_whose_images_could_not_be_had_says_so_in_place_of_results(tmp_path: Path) -> None:
    gone = AVAILABILITY[AVAILABILITY["dataset"] == "neck"]
    gone = gone.assign(status="unavailable", reason="a form must be signed")
    write_table(tmp_path / "results/corpus/demo/availability.csv", gone)
    page = write(tmp_path)
    neck = page.split('id="task-neck"')[1].split("</section>")[0]
    assert "not run (data missing): Simulated necks, a form must be signed" in neck
    assert "weights missing" not in neck
    kidney = page.split('id="task-kidney"')[1].split("</section>")[0]
    assert "data missing" not in kidney


def test_what_was_never_looked_at_stands_beside_what_was_dropped() -> None:
    curation = pd.DataFrame({"dataset": ["clips", "stills"], "finding": "kept", "frames": [30, 8]})
    counts = {"dataset": ["clips", "stills"], "not_sampled": [970, None], "other_files": [0, 0]}
    shown = curation_table(curation, pd.DataFrame(counts)).set_index("Dataset")
    assert list(shown.columns) == ["Kept", "Frames not sampled"]
    assert shown["Frames not sampled"].to_dict() == {"clips": "970", "stills": "0"}


def test_the_pairs_to_look_at_are_those_that_leak_and_are_least_alike() -> None:
    pairs = pd.DataFrame(
        [("same subject", False, 0.5), ("equal", True, 1.0), ("doubtful", True, 0.51), ("sure", True, 0.9)],
        columns=["frame_a", "across_subjects", "correlation"],
    ).assign(labels_differ=False, frame_b="b")
    assert worst_first(pairs)["frame_a"].tolist() == ["doubtful", "sure", "equal", "same subject"]
