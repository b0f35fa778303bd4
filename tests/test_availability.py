"""What the corpus says of the datasets it names."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from usfmae.corpus.audit.availability import availability
from usfmae.settings.datasets import Dataset


def dataset(use: str = "open", **counts: int) -> Dataset:
    return Dataset.model_validate(
        {
            "title": "A release",
            "anatomy": "liver",
            "access": {"host": "folder"},
            "licence": {"name": "a licence", "use": use},
            "citation": "Somebody",
            "counts": counts,
        }
    )


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    entries = {
        "whole": dataset(files=2, subjects=1),
        "partly": dataset(files=3),
        "gated": dataset(),
        "closed": dataset("unknown"),
    }
    for name in ("whole", "partly", "gated"):
        gone = name == "gated"
        fetched = {
            "status": "unavailable" if gone else "available",
            "reason": "needs a form" if gone else None,
        }
        (tmp_path / "resources" / name).mkdir(parents=True)
        (tmp_path / "resources" / name / "fetched.json").write_text(json.dumps(fetched))
        (tmp_path / name).mkdir()
        frames = {
            "source": ["a.png", "b.mp4", "b.mp4", "c.png"],
            "subject": ["s", "s", "s", "other"],
            "drop_reason": [None, None, "unreadable: cut", "file missing"],
        }
        pd.DataFrame(frames, dtype="string").to_parquet(tmp_path / name / "frames.parquet")
    used = ["whole", "partly", "gated"]
    return availability(entries, used, tmp_path, tmp_path / "resources").set_index("dataset")


def test_files_and_subjects_are_counted_against_the_published_numbers(table: pd.DataFrame) -> None:
    assert tuple(table.loc["whole", ["files_found", "subjects_found", "differs"]]) == (2, 1, False)
    assert table.loc["partly", "differs"]
    assert pd.isna(table.loc["partly", "subjects_published"])


def test_what_cannot_be_had_keeps_its_reason_and_counts_nothing(table: pd.DataFrame) -> None:
    assert tuple(table.loc["gated", ["status", "reason"]]) == ("unavailable", "needs a form")
    assert pd.isna(table.loc["gated", "files_found"])


def test_a_licence_that_the_corpus_does_not_use_is_said(table: pd.DataFrame) -> None:
    assert table.loc["closed", "status"] == "left out"
    assert "unknown" in table.loc["closed", "reason"]
