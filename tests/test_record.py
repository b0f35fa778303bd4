"""What a run leaves on disk: whole files, honest JSON, and one record without a person in it."""

from __future__ import annotations

import getpass
import hashlib
import json
import math
import platform
import re
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from usfmae.record import Run, atomic, flatten, sha256, write_json, write_table


def test_a_file_that_could_not_be_written_whole_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(OSError, match="disk full"), atomic(target) as temporary:
        temporary.write_text("half")
        raise OSError("disk full")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_appears_under_its_name_only_when_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "frames.npy"
    with atomic(target) as temporary:
        assert (temporary.parent, temporary.suffix) == (target.parent, ".npy")
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


def test_a_written_file_has_the_same_rights_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    write_json(tmp_path / "ours.json", {})
    assert (tmp_path / "ours.json").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_json_has_null_where_there_is_no_number(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"auc": math.nan, "loss": [np.float32("nan"), np.inf], "n": np.int64(3)})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"auc": None, "loss": [None, None], "n": 3}


def test_json_is_the_same_text_for_the_same_content(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": Path("x/y"), "ä": (1, True)})
    write_json(tmp_path / "b.json", {"ä": [1, True], "b": "x/y"})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert "ä" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_a_table_is_written_by_the_ending_of_its_name(tmp_path: Path) -> None:
    table = pd.DataFrame({"frame_id": ["a", "b"], "value": [0.5, None]})
    write_table(tmp_path / "t.csv", table)
    write_table(tmp_path / "t.parquet", table)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv"), table, check_dtype=False)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), table, check_dtype=False)


def test_a_digest_is_sha256_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"ultrasound")
    assert sha256(tmp_path / "x") == hashlib.sha256(b"ultrasound").hexdigest()


def test_nested_settings_become_flat_keys() -> None:
    flat = flatten({"training": {"epochs": 3, "betas": [0.9, 0.95]}, "title": "x", "augmentation": {}})
    assert flat == {"training.epochs": 3, "training.betas": [0.9, 0.95], "title": "x"}


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Text of a run record of the user `zaphod` on the host `heartofgold`."""
    for variable in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(variable, "zaphod")
    monkeypatch.setenv("HOSTNAME", "heartofgold")
    for module, name in ((socket, "gethostname"), (socket, "getfqdn"), (platform, "node")):
        monkeypatch.setattr(module, name, lambda *_: "heartofgold")
    monkeypatch.setattr(getpass, "getuser", lambda: "zaphod")
    project = tmp_path / "zaphod" / "study"
    inside, outside = project / "results/pretrain/demo", tmp_path / "zaphod" / "weights.safetensors"
    inside.mkdir(parents=True)
    (inside / "encoder.safetensors").write_bytes(b"weights")
    outside.write_bytes(b"others")
    run = Run("pretrain", inside, wildcards={"recipe": "demo"}, parameters={"training": {"epochs": 3}})
    run.finish(
        metrics={"validation_loss": math.nan},
        counts={"train": 7},
        inputs=[outside],
        outputs=[inside / "encoder.safetensors"],
        simulated=True,
    )
    return (inside / "run.json").read_text(encoding="utf-8")


def test_a_run_record_has_the_keys_of_the_contract(record: str, project: Path) -> None:
    contract = (project / "docs/contracts.md").read_text(encoding="utf-8").split("## The run record")[1]
    rows = re.findall(r"^\| (`.+?) \|", contract, flags=re.MULTILINE)
    promised = {key for row in rows for key in re.findall(r"`(\w+)`", row)}
    assert set(json.loads(record)) == promised


def test_a_run_record_says_what_was_run_on_what(record: str) -> None:
    said = json.loads(record)
    assert said["key"] == "pretrain/demo"
    assert said["parameters"] == {"training.epochs": 3}
    assert said["metrics"] == {"validation_loss": None}
    assert said["simulated"] is True
    digest = hashlib.sha256(b"weights").hexdigest()
    assert said["outputs"] == {"results/pretrain/demo/encoder.safetensors": digest}
    assert said["seconds"] >= 0 < said["peak_memory_mb"]
    assert said["environment"]["packages"]["torch"][0].isdigit()


def test_a_run_record_names_neither_user_nor_host_nor_home(record: str) -> None:
    assert "zaphod" not in record
    assert "heartofgold" not in record
    assert json.loads(record)["inputs"].keys() == {"weights.safetensors"}


def test_a_run_outside_the_results_is_refused(tmp_path: Path) -> None:
    run = Run("pretrain", tmp_path / "elsewhere", wildcards={}, parameters={})
    with pytest.raises(ValueError, match="below a folder called results"):
        run.finish(metrics={})
