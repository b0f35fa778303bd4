"""The MLflow UI in a headless browser: it opens on a synced store and shows runs side by side."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.test_tracking import MEAN, runs_in, write_results
from tests.workflow import ROOT, snakemake
from usfmae.tracking import sync

TINY = ROOT / "tests/data/tiny.yaml"
CHROMIUM = shutil.which("chromium")
MEANS = (MEAN, MEAN.replace("usfmae", "densenet169"))


@contextmanager
def server(folder: Path, store: str) -> Iterator[str]:
    """An MLflow server on a free port of this machine alone; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += [
        "--workers",
        "1",
        "--backend-store-uri",
        store,
        "--artifacts-destination",
        str(folder / "served"),
    ]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    address = f"http://127.0.0.1:{port}"
    with open(folder / "server.log", "w+") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            until = time.monotonic() + 90
            while True:
                assert process.poll() is None and time.monotonic() < until, (
                    folder / "server.log"
                ).read_text()
                try:
                    urllib.request.urlopen(f"{address}/health", timeout=2).close()
                    break
                except OSError:
                    time.sleep(0.5)
            yield address
        finally:
            process.terminate()
            process.wait(timeout=30)


def look(url: str, profile: Path, name: str) -> str:
    """The page's DOM after its scripts ran; a screenshot too where USFMAE_SCREENSHOTS names a folder."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--no-first-run", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]
    command += ["--window-size=1600,1200", "--virtual-time-budget=30000"]

    def browse(*options: str) -> str:
        own = f"--user-data-dir={profile / options[0].lstrip('-').split('=')[0]}"
        done = subprocess.run([*command, own, *options, url], capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr
        return done.stdout

    folder = os.environ.get("USFMAE_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        browse(f"--screenshot={Path(folder).resolve() / name}.png")
    return browse("--dump-dom")


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, MlflowClient]]:
    """Address of the server, page of the kidney task in it, and a client of its store."""
    root = tmp_path_factory.mktemp("ui")
    results = write_results(root)
    page = sync(results)["pages"]["finetune/kidney"]
    store = f"sqlite:///{results}/mlflow/mlflow.db"
    with server(root, store) as address:
        yield address, page, MlflowClient(store)


def test_the_page_of_a_task_opens_on_its_runs(ui: tuple[str, str, MlflowClient], tmp_path: Path) -> None:
    address, page, _ = ui
    seen = look(address + page, tmp_path, "mlflow-runs")
    for text in ("finetune/kidney", "usfmae · demo", "densenet169 · demo"):
        assert text in seen


def test_the_charts_of_a_task_carry_the_metrics(ui: tuple[str, str, MlflowClient], tmp_path: Path) -> None:
    address, page, _ = ui
    seen = look(f"{address}{page}&compareRunsMode=CHART", tmp_path, "mlflow-charts")
    for text in ("usfmae · demo", "densenet169 · demo", "test_auc"):
        assert text in seen


def test_models_stand_side_by_side_in_the_compare_view(
    ui: tuple[str, str, MlflowClient], tmp_path: Path
) -> None:
    address, _, client = ui
    runs = [runs_in(client)[key] for key in MEANS]
    ids = urllib.parse.quote(json.dumps([run.info.run_id for run in runs]))
    experiments = urllib.parse.quote(json.dumps([runs[0].info.experiment_id]))
    page = look(f"{address}/#/compare-runs?runs={ids}&experiments={experiments}", tmp_path, "mlflow-compare")
    for text in ("usfmae · demo", "densenet169 · demo", "test_auc", "0.85", "0.65", "training.epochs"):
        assert text in page


def test_a_tracking_server_takes_the_same_runs_and_keeps_those_of_others(tmp_path: Path) -> None:
    ours, others = write_results(tmp_path / "ours"), write_results(tmp_path / "others")
    with server(tmp_path, f"sqlite:///{tmp_path}/server.db") as address:
        digests = sync(ours, address)["runs"]
        assert sync(others, address)["deleted"] == 0
        again = sync(ours, address)
        assert (again["written"], again["deleted"], again["runs"]) == (0, 0, digests)
    assert not (ours / "mlflow/mlflow.db").exists()
    assert list((tmp_path / "served").rglob("report.html")), "the artifacts lie at the server"


def test_the_store_of_a_study_that_ran_shows_its_models_side_by_side(tmp_path: Path) -> None:
    study = "study={tasks: [neck], models: [usfmae_demo, vit_scratch], explain: {models: []}}"
    # Configuration files first: what --config says wins over them.
    snakemake(tmp_path, "track", "--config", study, configfile=TINY)
    store = f"sqlite:///{tmp_path}/results/mlflow/mlflow.db"
    runs = runs_in(MlflowClient(store))
    means = [runs[f"finetune/neck/{model}/tiny/fraction-1"] for model in ("usfmae_demo", "vit_scratch")]
    ids = urllib.parse.quote(json.dumps([run.info.run_id for run in means]))
    experiments = urllib.parse.quote(json.dumps([means[0].info.experiment_id]))
    with server(tmp_path, store) as address:
        page = look(
            f"{address}/#/compare-runs?runs={ids}&experiments={experiments}", tmp_path, "mlflow-study"
        )
    for text in ("usfmae_demo · tiny", "vit_scratch · tiny", "test_auc"):
        assert text in page
