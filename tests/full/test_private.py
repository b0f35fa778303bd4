"""A study of a person's own DICOM files, with secrets and names planted around it: none of them gets out. And
every file that the study makes is in MLflow."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from stand_in_tracking import refusing
from test_own_data import overlay, study_of
from test_readers_dicom import save
from tracked_study import artifact, open_store, runs_in

from usfmae import record
from usfmae.corpus.simulation.release import write_release
from workflow import ROOT, run_snakemake, snakemake

USER, PASSWORD, KAGGLE, TOKEN = "zaphodb", "hunter2pass", "0123kaggle4567", "hf_planted8901"
PATIENT, NUMBER, BIRTH = "Beeblebrox", "MRN4711007", "19520311"
#: In a file's name, which the workflow keeps: docs/tracking.md says so.
NAMED = "scan_of_Trillian"


@dataclass
class Study:
    folder: Path
    home: Path
    config: Path
    environment: dict[str, str]
    said: str
    """What Snakemake printed."""

    @property
    def results(self) -> Path:
        return self.folder / "results"


def write_clinic(folder: Path, scratch: Path) -> None:
    """DICOM files that name a patient each, and a table with pseudonyms."""
    write_release(
        scratch,
        anatomy="neck",
        subjects={"normal": 8, "cystic_hygroma": 8},
        frames_per_subject=1,
        difficulty=0.2,
        seed=9,
        defects=False,
    )
    folder.mkdir(parents=True)
    rows = []
    for i, row in pd.read_csv(scratch / "labels.csv").iterrows():
        grey = np.asarray(Image.open(scratch / "images" / Path(row["file"]).name).convert("L"))
        name = f"{NAMED if i == 0 else f'IM{i:04d}'}.dcm"
        tags = {"PatientName": f"{PATIENT}^Number{i}", "PatientID": NUMBER, "PatientBirthDate": BIRTH}
        save(folder / name, grey.astype(np.uint16), bits=8, **tags)
        rows.append({"image": name, "patient": f"s{row['subject']}", "diagnosis": row["class"]})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """The whole study, trained and first tracked while the address of a dead server holds a password."""
    root = tmp_path_factory.mktemp("private")
    home = root / "home" / USER
    (home / ".kaggle").mkdir(parents=True)
    (home / ".kaggle/kaggle.json").write_text(json.dumps({"username": USER, "key": KAGGLE}))
    write_clinic(home / "data", root / "scratch")
    example = yaml.safe_load((ROOT / "config/examples/own_data.yaml").read_text(encoding="utf-8"))
    example["tasks"]["my_task"] |= {
        "classes": {"normal": ["normal"], "hygroma": ["cystic_hygroma"]},
        "positive": "hygroma",
        "split": {"kind": "grouped", "folds": 2, "validation": 0.3},
    }
    example["corpora"]["mine"] = {"datasets": ["my_clinic"], "size": 24}
    example["study"] |= study_of("my_task", ["vit_scratch", "resnet18_scratch"])
    folder = home / "study"
    folder.mkdir()
    config = overlay(folder, **example)
    environment = {
        "HOME": str(home),
        "USER": USER,
        "LOGNAME": USER,
        "KAGGLE_USERNAME": USER,
        "KAGGLE_KEY": KAGGLE,
        "HF_TOKEN": TOKEN,
        "MY_DATA": str(home / "data"),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    with refusing() as address:
        secret = address.replace("://", f"://{USER}:{PASSWORD}@")
        failed = run_snakemake(folder, configfile=config, MLFLOW_TRACKING_URI=secret, **environment)
    assert failed.returncode != 0 and "does not open" in failed.stdout, failed.stdout
    logs = [path.read_text() for path in (folder / "logs").rglob("*.log")]
    assert sum("does not take live figures" in log for log in logs) == 4, "every training was told"
    kept = folder / "logs of the dead server"
    (folder / "logs").rename(kept)
    said = failed.stdout + snakemake(folder, configfile=config, **environment)
    yield Study(folder, home, config, environment, said)


def texts(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file below a folder as text; of compressed tables, what is in them too."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        text = path.read_bytes().decode("latin-1")
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
            text += table.to_csv() + str(table.attrs)
        yield path, text


def places(study: Study, word: str) -> list[str]:
    """Files of the results, the store among them, and of the logs in which a word stands."""
    folders = [study.results, *study.folder.glob("logs*")]
    return [
        str(path.relative_to(study.folder))
        for folder in folders
        for path, text in texts(folder)
        if word in text
    ]


@pytest.mark.parametrize("secret", [PASSWORD, KAGGLE, TOKEN])
def test_no_secret_is_in_results_store_logs_or_what_snakemake_prints(study: Study, secret: str) -> None:
    assert places(study, secret) == []
    assert secret not in study.said


@pytest.mark.parametrize("word", [PATIENT, NUMBER, BIRTH])
def test_no_name_number_or_birthday_of_a_dicom_header_gets_out(study: Study, word: str) -> None:
    assert word.encode() in next((study.home / "data").glob("*.dcm")).read_bytes(), "they are in the files"
    assert places(study, word) == []
    assert word not in study.said


def test_neither_user_nor_home_is_in_results_and_store_but_for_its_own_addresses(study: Study) -> None:
    database = "results/mlflow/mlflow.db"
    found = [place for place in places(study, USER) if place.startswith("results") and place != database]
    assert found == []
    client = open_store(study.results)
    for experiment in client.search_experiments():
        assert USER not in str(experiment.tags)
    for run in runs_in(client).values():
        assert USER not in str((run.info.run_name, run.data.tags, run.data.params, run.inputs))


def test_the_logs_of_the_jobs_name_neither_user_nor_home(study: Study) -> None:
    assert [place for place in places(study, USER) if place.startswith("logs")] == []


def test_the_name_of_a_file_stays_in_the_tables_of_frames(study: Study) -> None:
    """It is how a frame is found again; docs/tracking.md says that it is not removed."""
    found = [place for place in places(study, NAMED) if not place.startswith("results/mlflow")]
    assert "results/corpus/mine/my_clinic/frames.parquet" in found
    assert not [place for place in found if place.endswith((".html", ".log"))]


def test_every_file_of_a_study_that_ran_is_in_mlflow_by_copy_or_digest(study: Study) -> None:
    listed, copies = {}, set()
    for run in runs_in(open_store(study.results)).values():
        if (listing := artifact(run, "artifacts.json")).exists():
            for name, entry in json.loads(listing.read_text()).items():
                listed[entry["sha256"]] = entry
                if entry["copied"]:
                    assert record.sha256(artifact(run, name)) == entry["sha256"]
                    copies.add(entry["sha256"])
    files = {
        Path(folder, name)
        for folder, _, names in os.walk(study.results)
        if study.results / "mlflow" not in (Path(folder), *Path(folder).parents)
        for name in names
        if not name.startswith(".")  # Snakemake's own marks
    }
    assert len(files) > 60
    assert [path for path in files if record.sha256(path) not in listed] == []
    by_digest = {path.suffix for path in files if record.sha256(path) not in copies}
    assert by_digest <= {".npy", ".safetensors"}


def test_a_study_that_was_moved_needs_one_command(study: Study) -> None:
    """The last test here: it moves the study."""
    synced = json.loads((study.results / "mlflow/synced.json").read_text())
    moved = study.folder.rename(study.home / "moved study")
    config = moved / study.config.name
    snakemake(moved, "track", "--forcerun", "track", configfile=config, **study.environment)
    again = json.loads((moved / "results/mlflow/synced.json").read_text())
    assert again["runs"] == synced["runs"] and again["written"] == len(again["runs"])
    found = runs_in(open_store(moved / "results"))
    assert found.keys() == synced["runs"].keys()
    page = artifact(found["report"], "report/report.html")
    assert page.is_relative_to(moved) and record.sha256(page) == record.sha256(
        moved / "results/report/report.html"
    )
