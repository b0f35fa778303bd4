"""Live metrics: a server shows epochs while a training runs, and no server can slow or end a training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import small_finetuning
import torch
from fake_corpus import make_corpus, training
from small_training import HERE, make_work
from stand_in_tracking import answering, hanging, refusing
from test_pretrain import run as pretraining
from torch import Tensor

import usfmae.tracking_store  # noqa: F401  here: importing MLflow takes seconds and is not what is timed
from usfmae import tracking_live, tracking_live_run
from usfmae.record import Run
from usfmae.tracking_address import opened, without_password
from usfmae.tracking_live import LAST_WAIT, live
from usfmae.training.loop import fit

EPOCHS = 4
#: Seconds that this machine may be slower in one of two runs of a second.
SLACK = 4.0
BAD: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "down": refusing,
    "hanging": hanging,
    "endless": lambda: answering(200, drip=True),
    "broken": lambda: answering(500),
    "full": lambda: answering(507),
    "another": lambda: answering(404),
}


def trained(folder: Path) -> tuple[dict[str, Tensor], float]:
    """(weights, seconds) of a tiny training that tells its epochs."""
    run = Run("pretrain", folder / "results/pretrain/tiny", wildcards={}, parameters={"epochs": EPOCHS})
    (folder / "results").mkdir(parents=True, exist_ok=True)  # as the corpus has left it
    work = make_work()
    started = time.monotonic()
    with live(run) as tell:
        fit(work, training(epochs=EPOCHS), seed=3, description="test", at=HERE, tell=tell)
    return work.model.state_dict(), time.monotonic() - started


@pytest.mark.parametrize("kind", BAD)
def test_a_server_in_trouble_neither_slows_nor_changes_a_training_and_costs_one_line(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    weights, seconds = trained(tmp_path)
    before = dict(os.environ)
    capfd.readouterr()
    with BAD[kind]() as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address.replace("://", "://somebody:hunter2@"))
        same, taken = trained(tmp_path)
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
    said = capfd.readouterr().err
    assert taken < seconds + LAST_WAIT + SLACK
    assert weights.keys() == same.keys() and all(torch.equal(weights[key], same[key]) for key in weights)
    about = [line for line in said.splitlines() if "MLflow" in line or "mlflow" in line or "urllib3" in line]
    assert len(about) == 1, said
    assert address in about[0] and "snakemake track" in about[0]
    assert "FileNotFoundError" not in about[0], "it is the server that is in trouble"
    assert "hunter2" not in said and "somebody" not in said
    assert dict(os.environ) == before, "the password and the short timeouts are gone again"


def test_a_hanging_server_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    program = (
        "import sys, time; sys.path[:0] = ['tests']\n"
        "from test_tracking_live import Path, tracking_live, trained\n"
        "tracking_live.CLIENT['MLFLOW_HTTP_REQUEST_TIMEOUT'] = '60'\n"
        f"trained(Path({str(tmp_path)!r})); print(time.time())"
    )
    with hanging() as address:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "MLFLOW_TRACKING_URI": address},
            cwd=Path(__file__).resolve().parents[1],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
    # A busy machine takes many seconds to end a process; a call that is waited for would take the minute.
    assert time.time() - float(done.stdout.split()[-1]) < 45
    assert done.stderr.count("it is too slow") == done.stderr.count("snakemake track") == 1


def test_telling_returns_at_once_however_many_epochs_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking_live, "WAITING", 5)
    run = Run("pretrain", tmp_path / "results/pretrain/tiny", wildcards={}, parameters={})
    with hanging() as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        started = time.monotonic()
        with live(run) as tell:
            for epoch in range(1000):
                tell({"epoch": epoch, "train_loss": 1.0})
            assert time.monotonic() - started < 1
    assert capsys.readouterr().err.count("it is too slow") == 1


@pytest.mark.parametrize("uri", ["", "sqlite:///x.db", "/somewhere", "file:///somewhere"])
def test_only_a_server_is_told_anything(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_live, "_Sender", lambda *_: pytest.fail("a thread for no server"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    trained(tmp_path)


def test_of_several_processes_the_first_alone_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking_live, "_Sender", lambda *_: pytest.fail("a second writer"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    run = Run("pretrain", tmp_path / "results/pretrain/tiny", wildcards={}, parameters={})
    with live(run, first=False) as tell:
        tell({"epoch": 0})


class Heard:
    """What a sender would be told."""

    runs: dict[str, list[Mapping[str, Any]]] = {}
    ends: dict[str, str] = {}

    def __init__(self, run: Run, address: str) -> None:
        self.key = run.key

    def tell(self, row: Mapping[str, Any]) -> None:
        self.runs.setdefault(self.key, []).append(dict(row))

    def close(self, status: str) -> None:
        self.ends[self.key] = status


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> type[Heard]:
    monkeypatch.setattr(tracking_live, "_Sender", Heard)
    monkeypatch.setattr(Heard, "runs", {})
    monkeypatch.setattr(Heard, "ends", {})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    return Heard


def test_pretraining_and_fine_tuning_tell_every_epoch_of_their_final_training(
    tmp_path: Path, heard: type[Heard]
) -> None:
    corpus = small_finetuning.split_corpus(tmp_path)
    out = small_finetuning.run(corpus, how=small_finetuning.recipe(epochs=3))
    told = heard.runs["finetune/neck/model/fraction-1/seed-0/fold-0"]
    pd.testing.assert_frame_equal(pd.DataFrame(told), pd.read_parquet(out / "history.parquet"))
    out = pretraining(make_corpus(tmp_path / "other", ["neck", "kidney"]))
    told = heard.runs["pretrain/tiny"]
    pd.testing.assert_frame_equal(pd.DataFrame(told), pd.read_parquet(out / "history.parquet"))
    assert set(heard.ends.values()) == {"FINISHED"}


def test_a_resumed_training_tells_the_epochs_from_before_first(tmp_path: Path) -> None:
    told: list[int] = []

    def cut(epoch: int, step: int) -> None:
        if (epoch, step) == (2, 1):
            os.kill(os.getpid(), signal.SIGTERM)

    def fitted(during: Callable[[int, int], None], tell: Callable[[Any], None]) -> None:
        work = make_work(during)
        recipe = training(epochs=EPOCHS)
        fit(work, recipe, seed=3, description="t", at=HERE, checkpoints=tmp_path / "state", tell=tell)

    with pytest.raises(SystemExit):
        fitted(cut, lambda _row: None)
    fitted(lambda _epoch, _step: None, lambda row: told.append(row["epoch"]))
    assert told == list(range(EPOCHS))


def test_how_a_training_ended_is_told(tmp_path: Path, heard: type[Heard]) -> None:
    run = Run("pretrain", tmp_path / "results/pretrain/tiny", wildcards={}, parameters={})
    for error, status in ((SystemExit(75), "KILLED"), (SystemExit(1), "FAILED"), (ValueError(), "FAILED")):
        with pytest.raises(type(error)), live(run):
            raise error
        assert heard.ends[run.key] == status


@pytest.mark.parametrize(
    ("uri", "address", "user"),
    [
        ("https://me:p%40ss@host:5000/ml", "https://host:5000/ml", ("me", "p@ss")),
        ("http://:secret@host", "http://host", ("", "secret")),
        ("http://host", "http://host", (None, None)),
        ("postgresql://me:secret@host/db", "postgresql://me:secret@host/db", (None, None)),
    ],
)
def test_a_password_in_the_address_of_a_server_goes_where_mlflow_reads_it(
    uri: str, address: str, user: tuple[str | None, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    with opened(uri) as found:
        assert found == address
        assert tuple(map(os.environ.get, names)) == user
    assert not set(names) & os.environ.keys()
    assert "secret" not in without_password(
        f"no answer from {uri}, sorry"
    ) and "p%40" not in without_password(uri)


def test_a_password_with_a_slash_is_not_printed_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:pa/secret@127.0.0.1:9")
    run = Run("pretrain", tmp_path / "results/pretrain/tiny", wildcards={}, parameters={})
    with live(run) as tell:
        tell({"epoch": 0, "train_loss": 1.0})
    said = capsys.readouterr().err
    assert "snakemake track" in said and "secret" not in said and "pa/" not in said


def test_after_one_failed_call_the_end_is_still_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a training that ended would show as running for a month."""
    calls: list[tuple[list[int], str | None]] = []

    class Faulty:
        def __init__(self, run: Run, address: str) -> None:
            pass

        def send(self, rows: list[Mapping[str, Any]], status: str | None) -> None:
            calls.append(([row["epoch"] for row in rows], status))
            if len(calls) == 1:
                raise ConnectionError("for a moment")

    monkeypatch.setattr(tracking_live_run, "LiveRun", Faulty)
    monkeypatch.setattr(tracking_live, "PAUSE", 0.0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    run = Run("pretrain", tmp_path / "results/pretrain/tiny", wildcards={}, parameters={})
    with live(run) as tell:
        for epoch in range(2):
            tell({"epoch": epoch})
            wait_until = time.monotonic() + 10
            while len(calls) <= epoch and time.monotonic() < wait_until:
                time.sleep(0.01)
    assert calls == [([0], None), ([1], None), ([], "FINISHED")]
