"""OpenUS-46 through Snakemake: what cannot be had is a result, and what a person brings is taken up."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from miniatures import archives_by_hand, write_miniature

from workflow import planned, run_snakemake, snakemake

OVERLAY = """
corpora:
  few: { datasets: [simulated_breast, us105, ubpd, kidney_us], size: 32 }
datasets:
  simulated_breast: { access: { subjects: { benign: 4, malignant: 4 }, frames_per_subject: 2 } }
study: { tasks: [], models: [vit_scratch], reference: vit_scratch, corpora: [few], explain: { models: [] } }
"""


def run(folder: Path, *words: str) -> str:
    return snakemake(folder, *words, configfile=folder / "few.yaml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of a simulated dataset and three that a person must bring, none of which is there."""
    folder = tmp_path_factory.mktemp("few")
    (folder / "few.yaml").write_text(OVERLAY, encoding="utf-8")
    run(folder, "corpus")
    return folder


def test_a_dataset_that_is_not_there_is_a_result_and_the_rest_goes_on(folder: Path) -> None:
    fetched = json.loads((folder / "resources/kidney_us/fetched.json").read_text(encoding="utf-8"))
    assert fetched["status"] == "unavailable"
    assert "resources/kidney_us/archives" in fetched["reason"] and "\n" not in fetched["reason"]
    assert pd.read_parquet(folder / "results/corpus/few/kidney_us/frames.parquet").empty
    table = pd.read_csv(folder / "results/corpus/few/availability.csv").set_index("dataset")["status"]
    # Of us105 and ubpd no licence is stated, and this corpus does not name `unknown`.
    assert table.to_dict() == {"simulated_breast": "available", "kidney_us": "unavailable"}
    assert planned(run(folder, "corpus", "-n")) == {}


def test_a_corrected_word_of_the_registry_makes_no_audit_stale(folder: Path) -> None:
    corrected = (
        "datasets={kidney_us: {overlaps: {simulated_breast: {expected: none, note: x}}, counts: {files: 3}}, "
    )
    corrected += "us105: {licence: {name: no licence stated}}}"
    assert planned(run(folder, "corpus", "-n", "--config", corrected)) == {}


def test_placing_the_files_makes_that_dataset_alone_stale(folder: Path) -> None:
    release = folder / "made/kidney_us"
    found = write_miniature("kidney_us", release)
    archives_by_hand("kidney_us", release, folder / "resources/kidney_us/archives")
    expected = {"fetch_dataset": 1, "curate_dataset": 1, "audit_corpus": 1, "corpus": 1}
    assert planned(run(folder, "corpus")) == expected
    assert planned(run(folder, "corpus", "-n")) == {}
    table = pd.read_csv(folder / "results/corpus/few/availability.csv").set_index("dataset")
    assert table["status"]["kidney_us"] == "available"
    assert table["files"]["kidney_us"] == len(found.frames)


def test_a_file_that_changed_on_disk_is_found_by_verify(folder: Path) -> None:
    assert "is as it was fetched" in run(folder, "verify")
    broken = next((folder / "resources/simulated_breast").rglob("breast_0001_0.png"))
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-1] + b"?")
    done = run_snakemake(folder, "verify", configfile=folder / "few.yaml")
    broken.write_bytes(whole)
    assert done.returncode != 0 and "breast_0001_0.png has changed" in done.stdout
