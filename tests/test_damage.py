"""A byte that changed on disk is found where the file is next read, and the sentence says what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import Curated

from usfmae.corpus.audit.run import read_thumbnails
from usfmae.corpus.curated import open_array
from usfmae.evaluation.predictions import read_predictions
from usfmae.models.checkpoints import CheckpointError, load_weights, save_weights
from usfmae.record import Run, read_table, write_table
from usfmae.training.batches import FrameStore

RUN = "results/finetune/neck/usfmae/demo/fraction-1/seed-0/fold-0"


def change_a_byte(path: Path, place: float = 0.6) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)


@pytest.fixture
def curated(kidneys: Curated, tmp_path: Path) -> Path:
    """A copy of the curated dataset, to be damaged."""
    folder = tmp_path / "kidneys"
    folder.mkdir()
    for path in kidneys.folder.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run with predictions and weights, and its record."""
    folder = tmp_path / RUN
    record = Run("finetune", folder, wildcards={}, parameters={})
    outputs = [folder / "predictions.parquet", folder / "model.safetensors"]
    rows = 200
    columns = {"frame_id": [f"f{i}" for i in range(rows)], "probability_a": [i / rows for i in range(rows)]}
    write_table(outputs[0], pd.DataFrame(columns))
    save_weights(outputs[1], {"weight": torch.arange(100.0)})
    record.finish(metrics={}, outputs=outputs)
    return folder


def test_what_nobody_changed_is_read(curated: Path, run: Path) -> None:
    assert len(FrameStore([curated])) == len(read_thumbnails([curated])) > 0
    assert len(read_predictions([run / "predictions.parquet"])) == 200
    assert len(load_weights(run / "model.safetensors")["weight"]) == 100


@pytest.mark.parametrize("name", ["frames.npy", "masks.npy", "thumbnails.npy"])
def test_a_changed_array_of_a_corpus_is_named_with_what_to_do(curated: Path, name: str) -> None:
    change_a_byte(curated / name)
    with pytest.raises(ValueError, match=rf"{name}: its content is not what was curated .* Delete {curated}"):
        open_array(curated, name)


def test_training_never_begins_on_frames_of_which_one_byte_changed(curated: Path) -> None:
    FrameStore([curated])  # what was checked once in a process is checked again when the file changes
    change_a_byte(curated / "frames.npy")
    with pytest.raises(ValueError, match=r"frames\.npy: its content is not what was curated"):
        FrameStore([curated])


def test_a_changed_page_of_a_table_is_refused_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table(path, pd.DataFrame({"value": [i / 7 for i in range(5000)]}))
    change_a_byte(path, 0.5)
    pd.read_parquet(path)  # without looking at the checksum the wrong figure would be taken
    with pytest.raises(OSError, match="CRC"):
        read_table(path)


def test_a_corpus_without_digests_is_taken_as_it_is(curated: Path) -> None:
    table = pd.read_parquet(curated / "frames.parquet")
    table.attrs = {}
    table.to_parquet(curated / "frames.parquet")
    change_a_byte(curated / "frames.npy")
    assert len(FrameStore([curated])) > 0


def test_statistics_refuse_predictions_that_their_run_did_not_write(run: Path) -> None:
    path = run / "predictions.parquet"
    table = pd.read_parquet(path)
    write_table(path, table.assign(probability_a=table["probability_a"].replace(0.5, 0.6)))
    with pytest.raises(ValueError, match=rf"{path}: its content is not what its run wrote .* Delete {run}"):
        read_predictions([path])


def test_weights_that_their_run_did_not_write_are_refused(run: Path) -> None:
    change_a_byte(run / "model.safetensors", 0.9)
    with pytest.raises(CheckpointError, match=r"its content is not what its run wrote"):
        load_weights(run / "model.safetensors")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"outputs": 3}', '"text"'])
def test_a_damaged_run_record_is_named(run: Path, content: str) -> None:
    (run / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"run\.json: not a whole run record"):
        read_predictions([run / "predictions.parquet"])


def test_a_file_that_the_record_does_not_name_or_without_a_record_is_taken_as_it_is(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"outputs": {}}))
    change_a_byte(run / "model.safetensors", 0.9)
    assert len(load_weights(run / "model.safetensors")) == 1
    (run / "run.json").unlink()
    assert len(read_predictions([run / "predictions.parquet"])) == 200
