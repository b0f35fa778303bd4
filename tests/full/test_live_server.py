"""Live metrics on a real MLflow server, and the run of the record that replaces the live one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small_finetuning
from mlflow.entities import Run as Stored
from mlflow.tracking import MlflowClient
from tracked_study import runs_in, write_run
from tracking_server import server

from usfmae import tracking_live
from usfmae.record import Run
from usfmae.tracking import sync
from usfmae.tracking_live import live

ROW = {"epoch": 0, "step": 4, "train_loss": 0.5, "validation_loss": float("nan")}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with server(folder, f"sqlite:///{folder}/server.db") as address:
        yield address


@pytest.fixture
def address(started: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(tracking_live, "LAST_WAIT", 60)  # this machine may be busy
    monkeypatch.setattr(tracking_live, "CLIENT", {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60"})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", started)
    return started


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A finished run."""
    write_run(tmp_path / "results/pretrain/small", "pretrain", {"validation_loss": 0.4}, recipe="small")
    return tmp_path / "results"


def a_run(results: Path) -> Run:
    return Run("pretrain", results / "pretrain/next", wildcards={"recipe": "next"}, parameters={"epochs": 3})


def seen(client: MlflowClient, results: Path, key: str, metric: str) -> Stored:
    """The one run with this key, once it has this metric."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found = runs_in(client, results=results).get(key)
        if found is not None and metric in found.data.metrics:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{key} never had {metric}")


def test_epochs_are_on_the_server_while_the_training_runs(address: str, results: Path) -> None:
    client = MlflowClient(address)
    with live(a_run(results)) as tell:
        tell(ROW)
        run = seen(client, results, "pretrain/next", "epoch/train_loss")
        assert run.info.status == "RUNNING" and run.data.tags["usfmae.live"] == "true"
        assert run.data.params == {"recipe": "next", "epochs": "3"} and run.info.run_name == "pretrain/next"
        assert "epoch/validation_loss" not in run.data.metrics
        assert sync(results, address)["deleted"] == 0, "`track` beside it leaves it alone"
        tell(ROW | {"epoch": 1, "train_loss": 0.4})
    run = runs_in(client, results=results)["pretrain/next"]
    assert run.info.status == "FINISHED"
    points = client.get_metric_history(run.info.run_id, "epoch/train_loss")
    assert [(point.step, point.value) for point in points] == [(0, 0.5), (1, 0.4)]


def test_a_training_that_is_started_again_has_one_live_run(address: str, results: Path) -> None:
    client = MlflowClient(address)
    with pytest.raises(SystemExit), live(a_run(results)) as tell:
        tell(ROW)
        raise SystemExit(75)
    first = runs_in(client, results=results)["pretrain/next"]  # two of one key fail there
    assert first.info.status == "KILLED"
    with live(a_run(results)) as tell:
        tell(ROW)
    assert runs_in(client, results=results)["pretrain/next"].info.run_id != first.info.run_id
    assert runs_in(client, deleted=True, results=results)["pretrain/next"].info.run_id == first.info.run_id


def test_the_run_of_the_record_takes_the_place_of_the_live_one(address: str, tmp_path: Path) -> None:
    corpus = small_finetuning.split_corpus(tmp_path)
    results = corpus.parents[1]
    small_finetuning.run(corpus, how=small_finetuning.recipe(epochs=3))
    key = "finetune/neck/model/fraction-1/seed-0/fold-0"
    client = MlflowClient(address)
    before = runs_in(client, results=results)[key]
    assert before.data.tags["usfmae.live"] == "true"
    steps = client.get_metric_history(before.info.run_id, "epoch/train_loss")
    assert [point.step for point in steps] == [0, 1, 2]
    counts: dict[str, Any] = sync(results, address)
    after = runs_in(client, results=results)
    assert counts["deleted"] == 1 and after.keys() == counts["runs"].keys()
    assert "usfmae.live" not in after[key].data.tags
    assert after[key].data.metrics["epoch/train_loss"] == before.data.metrics["epoch/train_loss"]
    assert after[key].data.params.items() >= before.data.params.items()
    gone = runs_in(client, deleted=True, results=results)
    assert gone[key].info.run_id == before.info.run_id
    assert gone[key].data.tags["usfmae.superseded"] == "true"
    again = sync(results, address)
    assert (again["written"], again["deleted"]) == (0, 0)


def test_a_live_run_that_nobody_ended_is_cleared_away_after_a_month(
    address: str, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(address)
    with live(a_run(results)) as tell:
        tell(ROW)
    monkeypatch.setattr("usfmae.tracking_store.LIVE_DAYS", 0)
    assert sync(results, address)["deleted"] == 1
    assert "pretrain/next" not in runs_in(client, results=results)
