"""What could not be had is tried again when a person asks for it, and takes nothing else along."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from stand_in import Fault, stand_in

from usfmae.corpus.download.fetch import fetch, retry
from usfmae.settings.access import Download
from usfmae.settings.datasets import Dataset
from workflow import planned, snakemake

URL = "https://data.example.org/scans.zip"
DOWN = "https://data.example.org/down.zip"
DATASET = {
    "title": "A release",
    "anatomy": "mixed",
    "access": {"host": "http", "files": [{"name": "scans.zip", "url": URL}]},
    "licence": {"name": "CC-BY-4.0", "use": "open"},
    "citation": "none",
    "include": ["**/*.png"],
}
BY_HAND = DATASET | {"access": {"host": "folder", "account": "a form"}}


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    from PIL import Image

    picture = tmp_path / "1.png"
    Image.linear_gradient("L").save(picture)
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        archive.write(picture, "images/1.png")
    return tmp_path / "scans.zip"


def test_what_still_cannot_be_had_keeps_its_file_and_what_is_here_is_not_asked_for(
    tmp_path: Path, scans: Path
) -> None:
    down = DATASET | {"access": {"host": "http", "files": [{"name": "down.zip", "url": DOWN}]}}
    entries = {"here": DATASET, "down": down, "form": BY_HAND, "never asked for": DATASET}
    releases = {name: Dataset.model_validate(entry) for name, entry in entries.items()}
    with stand_in({URL: scans, DOWN: scans}, {DOWN: [Fault("status", 404)] * 2}) as server:
        network = Download(mirrors=server.mirrors)
        for name in ("here", "down", "form"):
            fetch(name, releases[name], tmp_path / name, network)
        files = {name: tmp_path / name / "fetched.json" for name in ("here", "down", "form")}
        before = {name: (file.read_bytes(), file.stat().st_mtime_ns) for name, file in files.items()}
        asked = len(server.seen)
        tried = retry(releases, tmp_path, network)
        assert tried.keys() == {"down", "form"} and len(server.seen) == asked + 1
        assert "is not there (404)" in str(tried["down"]) and "only a person can fetch it" in str(
            tried["form"]
        )
        assert before == {name: (file.read_bytes(), file.stat().st_mtime_ns) for name, file in files.items()}
        assert retry(releases, tmp_path, network)["down"] is None
    assert json.loads(files["down"].read_text(encoding="utf-8"))["status"] == "available"
    assert not (tmp_path / "never asked for").exists()


def test_what_has_come_since_is_taken_up_and_nothing_else_becomes_stale(tmp_path: Path, scans: Path) -> None:
    """Through Snakemake: a host that is down, and is back."""
    study = {"tasks": [], "models": ["vit_scratch"], "reference": "vit_scratch", "explain": {"models": []}}
    simulated = {"subjects": {"benign": 4, "malignant": 4}, "frames_per_subject": 2}
    config = {
        "datasets": {"scans": DATASET, "simulated_breast": {"access": simulated}},
        "corpora": {"few": {"datasets": ["scans", "simulated_breast"], "size": 32}},
        "study": study | {"corpora": ["few"]},
        "download": {"attempts": 1, "mirrors": {"https://data.example.org": "http://127.0.0.1:9"}},
    }
    file = tmp_path / "few.yaml"

    def run(*words: str) -> str:
        file.write_text(json.dumps(config), encoding="utf-8")
        return snakemake(tmp_path, *words, configfile=file)

    run("corpus")
    reason = json.loads((tmp_path / "resources/scans/fetched.json").read_text(encoding="utf-8"))["reason"]
    assert "cannot be reached, 2 times: `snakemake retry` later" in reason
    assert "scans is still unavailable: " in run("retry")
    assert planned(run("corpus", "-n")) == {}
    with stand_in({URL: scans}) as server:
        config["download"]["mirrors"] = server.mirrors
        said = run("retry")
        assert "scans is here now" in said and "1 of 1 that were unavailable are here now" in said
    assert planned(run("corpus")) == {"curate_dataset": 1, "audit_corpus": 1, "corpus": 1}
    assert planned(run("corpus", "-n")) == {}
