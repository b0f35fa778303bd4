"""What the audit counts of the datasets that a corpus uses."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from usfmae.corpus.audit.availability import availability


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    for name in ("told", "untold", "gated"):
        gone = name == "gated"
        fetched = {
            "status": "unavailable" if gone else "available",
            "reason": "needs a form" if gone else None,
            "files": [{"path": p} for p in ("a.png", "b.mp4", "broken.png", "mask.png", "README.TXT")],
        }
        (tmp_path / "resources" / name).mkdir(parents=True)
        (tmp_path / "resources" / name / "fetched.json").write_text(json.dumps(fetched))
        (tmp_path / name).mkdir()
        sources = ["a.png", "b.mp4", "b.mp4", "broken.png", "c.png"]
        subjects = [f"{name}/{s if name == 'untold' else 's'}" for s in sources]
        frames = pd.DataFrame({"source": sources, "subject": subjects}, dtype="string")
        frames["frames_in_source"] = [1, 40, 40, 0, 0]
        frames["drop_reason"] = pd.array([None, None, "blank", "unreadable: cut", "file missing"], "string")
        frames.to_parquet(tmp_path / name / "frames.parquet")
    return availability(["told", "untold", "gated"], tmp_path, tmp_path / "resources").set_index("dataset")


def test_files_subjects_and_frames_are_counted_as_they_lie_on_disk(table: pd.DataFrame) -> None:
    assert tuple(table.loc["told", ["status", "files", "subjects", "frames"]]) == ("available", 3, 1, 41)


def test_frames_that_were_never_asked_for_and_files_without_a_frame_are_counted(table: pd.DataFrame) -> None:
    # 40 frames in the video, two of them asked for; the mask.
    assert tuple(table.loc["told", ["not_sampled", "other_files"]]) == (38, 1)


def test_subjects_that_the_release_does_not_tell_are_unknown_and_not_as_many_as_files(
    table: pd.DataFrame,
) -> None:
    assert table.loc["untold", "files"] == 3
    assert pd.isna(table.loc["untold", "subjects"])


def test_what_cannot_be_had_keeps_its_reason_and_counts_nothing(table: pd.DataFrame) -> None:
    assert tuple(table.loc["gated", ["status", "reason"]]) == ("unavailable", "needs a form")
    assert table.loc["gated", "files":"other_files"].isna().all()
