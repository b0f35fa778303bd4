"""docs/compare-runs.md: its filters and its Python give the right runs on a store that `track` filled."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import mlflow
import pytest
from tracked_study import fold, write_results

from usfmae import record
from usfmae.tracking import sync

PAGE = Path(__file__).resolve().parents[1] / "docs/compare-runs.md"
TEXT = PAGE.read_text(encoding="utf-8")
CODE = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)[0]
MEANS = ["finetune/kidney/usfmae/demo/fraction-1.0", "finetune/kidney/densenet169/demo/fraction-1.0"]


def keys(table: Any) -> list[str]:
    return [] if table.empty else list(table["tags.usfmae.key"])


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Each name of the page's Python, run where a study lies; one fold is odd: slow, unclean, of Slurm."""
    results = write_results(tmp_path_factory.mktemp("study"))
    odd = fold(results, "usfmae", 1) / "run.json"
    changes = {"slurm": {"job": "4711", "node": "n1"}, "seconds": 4000.0}
    found = json.loads(odd.read_text()) | changes | {"git": {"commit": "beef", "clean": False}}
    record.write_json(odd, found)
    sync(results)
    before = mlflow.get_tracking_uri()
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(results.parent)
        try:
            exec(compile(CODE, str(PAGE), "exec"), names)
        finally:
            mlflow.set_tracking_uri(before)
    return names


def folds(model: str, *numbers: int) -> set[str]:
    return {f"finetune/kidney/{model}/demo/fraction-1.0/seed-0/fold-{number}" for number in numbers}


def test_the_lines_of_the_page_answer_its_questions(answers: dict[str, Any]) -> None:
    assert keys(answers["means"]) == MEANS, "best first"
    assert set(keys(answers["folds"])) == folds("usfmae", 0, 1)
    assert keys(answers["first"]) == [*folds("usfmae", 0), *folds("densenet169", 0)]
    assert set(keys(answers["bad"])) == folds("densenet169", 1)
    assert set(keys(answers["recipe"])) == set(MEANS)
    odd = folds("usfmae", 1)
    assert set(keys(answers["changed"])) == set(keys(answers["job"])) == set(keys(answers["long"])) == odd
    assert len(answers["commit"]) == 8 and not odd & set(keys(answers["commit"]))
    assert len(answers["simulated"]) == 10 and keys(answers["live"]) == []


def test_every_saved_filter_is_one_of_these_lines() -> None:
    table = re.findall(r"^\|[^|]+\| `+(.+?)`+ \|$", TEXT, re.MULTILINE)
    assert len(table) == 11
    assert [quoted for quoted in table if f'filter_string="{quoted}"' not in CODE] == []


def test_the_pictures_of_the_page_are_there_and_small() -> None:
    pictures = [PAGE.parent / name for name in re.findall(r"\]\((images/.+?)\)", TEXT)]
    assert len(pictures) == 2
    assert all(picture.stat().st_size < 150_000 for picture in pictures)
