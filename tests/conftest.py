"""Fixtures that several test files share."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from usfmae.settings.datasets import Dataset
from usfmae.settings.study import Corpus


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real ultrasound; without it a test is skipped, and named as not run."""
    folder = os.environ.get("USFMAE_REAL_DATA")
    if not folder:
        pytest.skip("USFMAE_REAL_DATA is not set")
    return Path(folder)


@dataclass(frozen=True)
class Curated:
    """A simulated release with planted defects, fetched and curated as the workflow does it."""

    dataset: Dataset
    corpus: Corpus
    release: Path
    folder: Path  # of frames.npy, masks.npy and frames.parquet
    table: pd.DataFrame
    planted: dict[str, list[str]]  # defects.json


@pytest.fixture(scope="session")
def kidneys(tmp_path_factory: pytest.TempPathFactory) -> Curated:
    """12 subjects of two frames each, at 64 px."""
    from usfmae.corpus.curation.frames import curate
    from usfmae.corpus.download.fetch import fetch

    entry = {
        "title": "Simulated fetal kidneys",
        "anatomy": "kidney",
        "access": {
            "host": "simulated",
            "anatomy": "kidney",
            "subjects": {"normal": 4, "urinary_tract_dilation": 4, "multicystic_dysplastic": 4},
            "frames_per_subject": 2,
            "seed": 1,
        },
        "licence": {"name": "CC0-1.0", "use": "open"},
        "citation": "no patient",
        "include": ["images/*.png"],
        "masks": "masks/{stem}_mask.png",
        "table": {"file": "labels.csv", "frame": "file", "subject": "subject", "label": "class"},
    }
    root = tmp_path_factory.mktemp("kidneys")
    dataset, corpus = Dataset.model_validate(entry), Corpus(datasets=["kidneys"], size=64)
    release, folder = root / "resources/kidneys", root / "results/corpus/demo/kidneys"
    fetch("kidneys", dataset, release)
    table = curate("kidneys", dataset, corpus, release / "fetched.json", folder)
    planted = json.loads((release / "defects.json").read_text(encoding="utf-8"))
    return Curated(dataset, corpus, release, folder, table, planted)


#: The files that take longest. They begin first, so that two processes end at about the same time.
LONGEST = ("test_workflow", "test_own_data", "test_launch", "test_openus46_workflow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first; otherwise the order stays."""
    items.sort(key=lambda item: (*LONGEST, item.path.stem).index(item.path.stem))


def _skipped(config: pytest.Config) -> list[pytest.TestReport]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return list(reporter.stats.get("skipped", [])) if reporter else []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With CI=true a skipped test is a failure: a check that did not run has shown nothing."""
    if os.environ.get("CI") == "true" and _skipped(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line names what was not run, and why; the cases of one test are counted."""
    named = [
        (report.nodeid.split("::")[-1].partition("[")[0], report.longrepr[2]) for report in _skipped(config)
    ]
    not_run = [
        f"{name}, {n} cases ({why})" if n > 1 else f"{name} ({why})"
        for (name, why), n in Counter(named).items()
    ]
    if not_run:
        print("\nnot run:", "; ".join(not_run))
